import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from multirate.data import load
from multirate.data.imagefiles import image_files, zip_files
from multirate.data.mapped import MappedSource
from multirate.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")
COLOUR = np.random.default_rng(0).integers(0, 256, (20, 12, 16, 3), dtype=np.uint8)


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def pack(path, members, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def unpacked(folder, members):
    for name, content in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def all_of(source):
    return source.batch(torch.arange(len(source)))


FLAT = {f"{i:02}.png": png(pixels) for i, pixels in enumerate(COLOUR)}
CLASSES = {f"{'ab'[i % 2]}/{i:02}.png": png(pixels) for i, pixels in enumerate(COLOUR)}
ODD_ORDER = {f"a{'-/'[i % 2]}{i:02}/x.png": png(pixels) for i, pixels in enumerate(COLOUR)}
PARTS = {f"{('train', 'val', 'test')[i % 3]}/{i % 2}/{i:02}.png": png(pixels) for i, pixels in enumerate(COLOUR)}
TRAIN_AND_TEST = {f"{'train' if i < 15 else 'test'}/{i:02}.png": png(pixels) for i, pixels in enumerate(COLOUR)}
TREES = {"flat": FLAT, "classes": CLASSES, "odd": ODD_ORDER, "parts": PARTS, "train and test": TRAIN_AND_TEST}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [512, 0])
@pytest.mark.parametrize("top", ["", "pets/"])
@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
def test_an_archive_equals_the_folder_that_it_was_made_of(tmp_path, tree, top, limit):
    folder = unpacked(tmp_path / "pets", tree)
    members = {top + name: content for name, content in reversed(tree.items())}
    noise = {top: b"", "__MACOSX/._00.png": b"no image", top + ".hidden.png": b"no image", top + "notes.txt": b"none"}
    archive = pack(tmp_path / "packed" / "pets.zip", {name: c for name, c in noise.items() if name} | members)
    for split in SPLITS:
        one, other = load(folder, split), load(archive, split, memory_limit=limit)
        assert torch.equal(all_of(one), all_of(other))
        assert one.details["sha256"] == other.details["sha256"]
        for name in ("name", "split", "shape", "likelihood", "value_range"):
            assert getattr(one, name) == getattr(other, name)
        assert isinstance(other, MappedSource) == (limit == 0)


def test_an_archive_with_nothing_but_train_is_cut(tmp_path):
    path = pack(tmp_path / "pets.zip", {f"train/{name}": content for name, content in FLAT.items()})
    assert [len(load(path, split)) for split in SPLITS] == [16, 2, 2]


def test_folders_within_a_part_are_no_parts(tmp_path):
    members = {f"train/{('train', 'test')[i % 2]}/{i:02}.png": png(pixels) for i, pixels in enumerate(COLOUR)}
    folder, archive = unpacked(tmp_path / "pets", members), pack(tmp_path / "pets.zip", members)
    assert (
        [len(load(folder, split)) for split in SPLITS] == [len(load(archive, split)) for split in SPLITS] == [16, 2, 2]
    )


def test_names_in_an_archive_are_never_paths_on_disk(tmp_path):
    evil = {f"{place}evil.png": b"evil" for place in ("../", "a/../../", "a/./.././")}
    path = pack(tmp_path / "made" / "pets.zip", {**evil, **FLAT, "/absolute.png": png(COLOUR[0])})
    before = sorted(tmp_path.rglob("*"))
    with image_files(path) as (files, parts):
        read = [files.open(number).read() for number in parts["train"]]
    assert sorted(read) == sorted([*FLAT.values(), png(COLOUR[0])])
    assert sorted(tmp_path.rglob("*")) == before


def test_names_that_windows_wrote_have_folders_too(tmp_path):
    path = pack(tmp_path / "pets.zip", PARTS)
    path.write_bytes(
        path.read_bytes().replace(b"train/", b"train\\").replace(b"val/", b"val\\").replace(b"test/", b"test\\")
    )
    assert [len(load(path, split)) for split in SPLITS] == [7, 7, 6]


def test_members_are_found_by_their_names(tmp_path):
    with zip_files(pack(tmp_path / "pets.zip", CLASSES)) as files:
        assert [files.open(number).read() for number in files.numbers(["b/03.png", "a/00.png"])] == [
            CLASSES["b/03.png"],
            CLASSES["a/00.png"],
        ]
        with pytest.raises(DataError, match=r"pets.zip holds no b/00.png"):
            files.numbers(["b/00.png"])


def test_a_stamp_changes_with_the_file(tmp_path):
    def stamps(path):
        with image_files(path) as (files, parts):
            return [files.stamp(number) for number in parts["train"]]

    folder = unpacked(tmp_path / "pets", FLAT)
    first = stamps(folder)
    assert stamps(folder) == first
    os.utime(folder / "03.png", ns=(1, 1))
    assert [a == b for a, b in zip(first, stamps(folder), strict=True)] == [i != 3 for i in range(20)]
    one = stamps(pack(tmp_path / "one.zip", FLAT))
    two = stamps(pack(tmp_path / "two.zip", FLAT | {"03.png": FLAT["03.png"][:-1] + b"x"}))
    assert [a == b for a, b in zip(one, two, strict=True)] == [i != 3 for i in range(20)]


def test_images_that_changed_are_decoded_again(tmp_path):
    folder = unpacked(tmp_path / "pets", FLAT)
    before = all_of(load(folder, memory_limit=0))
    for i, pixels in enumerate(COLOUR):
        (folder / f"{i:02}.png").write_bytes(png(255 - pixels))
    assert torch.allclose(all_of(load(folder, memory_limit=0)), 1 - before)


def encrypted(path):
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := content.find(mark, place + 1)) >= 0:
            content[place + offset] |= 1
    path.write_bytes(content)


def corrupted(path):
    path.write_bytes(path.read_bytes().replace(b"IDAT", b"IDXT"))


BAD_MEMBERS = {
    "encrypted": (encrypted, "truncated or corrupt .*encrypted"),
    "corrupt": (corrupted, "truncated or corrupt .*Bad CRC-32"),
}


@pytest.mark.parametrize(("change", "message"), BAD_MEMBERS.values(), ids=BAD_MEMBERS.keys())
def test_a_member_that_cannot_be_read_is_named(tmp_path, change, message):
    path = pack(tmp_path / "pets.zip", FLAT)
    change(path)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert f"{path}: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "no readable PNG"), (b"text", "no readable PNG"), (FLAT["00.png"][:90], "truncated")]
)
def test_a_member_that_is_no_image_is_named(tmp_path, content, message):
    members = {f"{part}/{i}.png": content for part in SPLITS for i in range(2)}
    path = pack(tmp_path / "pets.zip", members)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert "pets.zip: train/0.png" in str(caught.value)


def test_a_member_too_large_for_an_image_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("multirate.data.imagefiles._LIMIT", 100)
    with pytest.raises(DataError, match="more than an image"):
        load(pack(tmp_path / "pets.zip", FLAT))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_unpacks_to_more_than_it_declares_is_not_unpacked(tmp_path, kind):
    path = pack(tmp_path / "bomb.zip", {f"{i}.png": bytes(1 << 21) for i in range(10)}, compression=kind)
    content = bytearray(path.read_bytes())
    start = 0
    while (start := content.find(b"PK\x01\x02", start)) >= 0:
        content[start + 24 : start + 28] = struct.pack("<I", 100)
        start += 46
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"bomb.zip: \d.png is truncated or corrupt"):
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 19


@pytest.mark.parametrize("keep", [0, 0.5, 0.999])
def test_a_truncated_archive_is_one_clear_error(tmp_path, keep):
    path = pack(tmp_path / "pets.zip", FLAT)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(DataError, match="truncated or no zip archive") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_an_archive_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"pets.zip holds no PNG or JPEG images"):
        load(pack(tmp_path / "pets.zip", {"notes.txt": b"none"}))
    with pytest.raises(UsageError, match="key='x' is for files of arrays"):
        load(pack(tmp_path / "pets.zip", FLAT), key="x")


REAL = {
    "cifar10/cifar10_jpeg_subset.zip": ({}, (3, 32, 32), (9_000, 1_000, 2_000)),
    "celeba/celeba_8k_89x109_jpeg.zip": ({"crop": 74, "size": 64}, (3, 64, 64), (6_400, 800, 800)),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "shape", "counts"), [(n, *rest) for n, rest in REAL.items()], ids=REAL)
def test_real_archives_of_photographs_are_read(data_dir, name, options, shape, counts):
    if not (data_dir / name).is_file():
        pytest.skip(f"{name} is not there")
    sources = [load(data_dir / name, split, **options) for split in SPLITS[1:]]
    assert [len(source) for source in sources] == list(counts[1:])
    for source in sources:
        pixels = all_of(source)
        assert pixels.shape[1:] == shape
        assert 0.3 < pixels.mean() < 0.6
        assert 0.15 < pixels.std() < 0.35
        assert (pixels[:, :, :, 1:] - pixels[:, :, :, :-1]).abs().mean() < 0.06


def altered(path, mark, offset, value):
    """Overwrite bytes of the first header of a zip archive that begins with a mark."""
    content = bytearray(path.read_bytes())
    start = content.index(mark) + offset
    content[start : start + len(value)] = value
    path.write_bytes(content)


HEADERS = {
    "a later version": (b"PK\x01\x02", 6, struct.pack("<H", 69)),
    "an unknown method": (b"PK\x01\x02", 10, struct.pack("<H", 77)),
    "a locked member": (b"PK\x01\x02", 8, struct.pack("<H", 1)),
    "a name that is not UTF-8": (b"PK\x03\x04", 6, struct.pack("<H", 0x800)),
    "an offset beyond the file": (b"PK\x01\x02", 42, b"\xff\xff\xff\x7f"),
    "a directory beyond the file": (b"PK\x05\x06", 12, b"\xff\xff\xff\x7f"),
}


@pytest.mark.parametrize(("mark", "offset", "value"), HEADERS.values(), ids=HEADERS.keys())
def test_headers_that_no_archive_should_have_are_one_clear_error(tmp_path, mark, offset, value):
    members = {f"{i:02}.png": content for i, content in enumerate(FLAT.values())}
    path = pack(tmp_path / "a.zip", members)
    altered(path, mark, offset, value)
    altered(path, b"00.png", 0, b"\xff\xfe.png")
    with pytest.raises(DataError, match=r"a\.zip"):
        load(path)


@pytest.mark.slow
def test_blank_images_that_unpack_to_far_more_than_is_stored_are_refused(tmp_path):
    stream = io.BytesIO()
    Image.new("1", (6000, 6000)).save(stream, "PNG")
    path = pack(tmp_path / "a.zip", {f"{i}.png": stream.getvalue() for i in range(10)})
    with pytest.raises(DataError, match="288,000,000 bytes of pixels, packed into"):
        load(path)
    assert len(load(path, size=4)) == 8
    with pytest.raises(DataError, match="288,000,000 bytes of pixels, packed into"):
        load(unpacked(tmp_path / "folder", {f"{i}.png": stream.getvalue() for i in range(10)}))


def test_a_chunk_that_says_it_has_gigabytes_takes_no_memory(tmp_path):
    content = FLAT["03.png"]
    start = content.index(b"IDAT") - 4
    content = content[:start] + b"\xff\xff\xff\x00" + content[start + 4 :]
    whole = all_of(load(unpacked(tmp_path / "whole", FLAT)))
    folder = unpacked(tmp_path / "folder", FLAT | {"03.png": content})
    tracemalloc.start()
    try:
        assert torch.equal(all_of(load(folder)), whole)
        assert tracemalloc.get_traced_memory()[1] < 1e7
    finally:
        tracemalloc.stop()


def test_a_large_image_is_the_same_in_strips(tmp_path, monkeypatch):
    folder = unpacked(tmp_path / "folder", FLAT)
    whole = all_of(load(folder))
    monkeypatch.setattr("multirate.data.images._STRIP", 48)
    assert torch.equal(all_of(load(folder)), whole)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_an_archive_that_is_no_file_is_not_waited_for(tmp_path, make):
    make(tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"a\.zip"), zip_files(tmp_path / "a.zip"):
        """Never reached."""
