import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from multirate.data import load
from multirate.data.catalog import DATA_SETS
from multirate.data.cifar10 import read_batches
from multirate.errors import DataError

GENERATOR = np.random.default_rng(0)
PER_BATCH = 4
NAMES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
# One byte for the class, then 1,024 for each of red, green and blue.
RECORDS = {name: GENERATOR.integers(0, 256, (PER_BATCH, 3073), dtype=np.uint8) for name in NAMES}
for records in RECORDS.values():
    records[:, 0] %= 10
TRAIN = np.concatenate([RECORDS[name] for name in NAMES[:5]])


def members():
    extra = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n", "cifar-10-batches-bin/readme.html": b"<html>"}
    return extra | {f"cifar-10-batches-bin/{name}": RECORDS[name].tobytes() for name in reversed(NAMES)}


def pack(path, contents, mode="w:gz"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with an archive of the canonical structure, but 4 records a batch: 17, 3 and 4 examples."""
    examples = {"train": 17, "validation": 3, "test": 4}
    monkeypatch.setitem(DATA_SETS, "cifar10", replace(DATA_SETS["cifar10"], examples=examples))
    pack(tmp_path / "cifar10" / "cifar-10-binary.tar.gz", members())
    return tmp_path


@pytest.mark.parametrize(
    ("split", "records"), [("train", TRAIN[:17]), ("validation", TRAIN[17:]), ("test", RECORDS["test_batch.bin"])]
)
def test_splits_are_records_of_the_batches_in_order(small, split, records):
    source = load("cifar10", split, data_dir=small)
    assert (source.name, source.split, source.shape, source.likelihood) == ("cifar10", split, (3, 32, 32), "gaussian")
    assert source.labels.tolist() == records[:, 0].tolist()
    images = source.batch(torch.arange(len(source)))
    for image, record in zip(images, records, strict=True):
        for channel, row, column in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (2, 31, 31)):
            assert image[channel, row, column] == np.float32(record[1 + 1024 * channel + 32 * row + column]) / 255
    whole = (small / "cifar10" / "cifar-10-binary.tar.gz").read_bytes()
    assert source.details["files"] == {"cifar-10-binary.tar.gz": hashlib.sha256(whole).hexdigest()}


def test_the_published_sizes_are_those_of_the_splits():
    assert DATA_SETS["cifar10"].examples == {"train": 45_000, "validation": 5_000, "test": 10_000}


def test_names_in_the_archive_are_never_paths_on_disk(tmp_path):
    evil = {f"{place}{NAMES[0]}": b"evil" for place in ("../", "/", "cifar-10-batches-bin/../../", "other/")}
    path = pack(tmp_path / "made.tar.gz", {**evil, **members()})
    before = sorted(tmp_path.rglob("*"))
    images, _ = read_batches(path, tuple(NAMES[:1]), PER_BATCH)
    assert np.array_equal(images.reshape(PER_BATCH, -1), RECORDS[NAMES[0]][:, 1:])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_is_not_followed(tmp_path):
    path = tmp_path / "made.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo(f"cifar-10-batches-bin/{NAMES[0]}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DataError, match=r"holds no whole cifar-10-batches-bin/data_batch_1.bin"):
        read_batches(path, tuple(NAMES[:1]), PER_BATCH)


BAD = {
    "missing batch": (lambda m: m.pop(f"cifar-10-batches-bin/{NAMES[2]}"), "holds no whole .*data_batch_3.bin"),
    "short batch": (lambda m: m.update({f"cifar-10-batches-bin/{NAMES[1]}": bytes(3073)}), "has 3,073 bytes, not 12,2"),
    "class 10": (lambda m: m.update({f"cifar-10-batches-bin/{NAMES[1]}": bytes([10]) * 12_292}), "holds class 10"),
    "empty": (lambda m: m.clear(), "holds no whole"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_an_archive_of_another_structure_is_refused(tmp_path, change, message):
    contents = members()
    change(contents)
    path = pack(tmp_path / "made.tar.gz", contents)
    with pytest.raises(DataError, match=message) as caught:
        read_batches(path, tuple(NAMES[:5]), PER_BATCH)
    assert str(path) in str(caught.value)
    assert "fetch it again" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 0.01, 0.5, 0.99, 0.9999])
def test_a_truncated_archive_is_one_clear_error(tmp_path, keep):
    path = pack(tmp_path / "made.tar.gz", members())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(DataError, match="truncated or corrupt") as caught:
        read_batches(path, tuple(NAMES[:5]), PER_BATCH)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_found_by_the_checksum_of_the_stream(tmp_path):
    path = pack(tmp_path / "made.tar.gz", members())
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DataError, match="truncated or corrupt"):
        read_batches(path, tuple(NAMES[:5]), PER_BATCH)


@pytest.mark.parametrize("content", [b"text", None])
def test_what_is_no_archive_is_one_clear_error(tmp_path, content):
    path = tmp_path / "made.tar.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="missing, truncated or corrupt"):
        read_batches(path, tuple(NAMES[:1]), PER_BATCH)
