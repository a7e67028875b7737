import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from multirate.data import load
from multirate.data.catalog import DATA_SETS
from multirate.data.celeba import read_partition
from multirate.errors import DataError, UsageError

EXAMPLES = {"train": 3, "validation": 2, "test": 1}
PARTITION = "000001.jpg 0\n000002.jpg 1\n000003.jpg 0\n000004.jpg 2\n000005.jpg 1\n000006.jpg 0\n"
IN_SPLIT = {"train": [0, 2, 5], "validation": [1, 4], "test": [3]}

# What the 148x148 square in the middle holds: one colour each; around it, another.
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 3), dtype=np.uint8)


def face(colour, width=178, height=218):
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[:] = 255 - colour
    pixels[35:183, 15:163] = colour
    return pixels


def jpeg(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=100, subsampling=0)
    return stream.getvalue()


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Write the two files as they are published, of six faces; arguments change them. Return their folder."""
    monkeypatch.setitem(DATA_SETS, "celeba", replace(DATA_SETS["celeba"], examples=EXAMPLES))

    def write(partition=PARTITION, **members):
        (tmp_path / "list_eval_partition.txt").write_text(partition)
        contents = {f"{i + 1:06}": jpeg(face(colour)) for i, colour in enumerate(COLOURS)} | members
        with zipfile.ZipFile(tmp_path / "img_align_celeba.zip", "w") as archive:
            archive.writestr("img_align_celeba/", b"")
            for name, content in contents.items():
                if content is not None:
                    archive.writestr(f"img_align_celeba/{name}.jpg", content)
        return tmp_path

    return write


@pytest.mark.parametrize("split", EXAMPLES)
def test_splits_are_those_of_the_partition_and_show_the_centre_square(make, split):
    source = load("celeba", split, data_dir=make())
    assert (source.name, source.split, source.shape, source.likelihood) == ("celeba", split, (3, 64, 64), "gaussian")
    images = source.batch(torch.arange(len(source)))
    expected = torch.from_numpy(COLOURS[IN_SPLIT[split]]).float() / 255
    assert len(images) == EXAMPLES[split]
    # Nothing of the frame is in it: JPEG's blocks across the edge leave a few gray levels, well below the contrast.
    assert (images - expected[:, :, None, None]).abs().mean() < 0.02
    assert (images[:, :, 4:-4, 4:-4] - expected[:, :, None, None]).abs().max() < 0.02
    assert source.details["resize"] == "centre square of 148 to 64, bicubic"


def test_crop_and_size_can_be_chosen(make):
    folder = make()
    source = load("celeba", "test", data_dir=folder, crop=178, size=89)
    image = source.batch(torch.tensor([0]))[0]
    assert source.shape == (3, 89, 89)
    assert (image[:, 40, 2] - torch.from_numpy(255 - COLOURS[3]).float() / 255).abs().max() < 0.02
    assert load("celeba", "test", data_dir=folder, crop=20, size=20).shape == (3, 20, 20)


def test_images_are_decoded_once(make, cache, monkeypatch):
    folder = make()
    first = load("celeba", "train", data_dir=folder)
    prepared = {path: path.stat().st_mtime_ns for path in (cache / "prepared").iterdir()}
    assert {path.suffix for path in prepared} == {".npy", ".json"}
    monkeypatch.setattr("multirate.data.images.Decoder.chunks", lambda self: pytest.fail("decoded again"))
    again = load("celeba", "train", data_dir=folder)
    mapped = load("celeba", "train", data_dir=folder, memory_limit=0)
    order = torch.tensor([2, 0, 1])
    assert torch.equal(first.batch(order), again.batch(order))
    assert torch.equal(first.batch(order), mapped.batch(order))
    assert mapped.details["storage"] == "mapped"
    assert {path: path.stat().st_mtime_ns for path in (cache / "prepared").iterdir()} == prepared


def test_published_sizes_add_up():
    assert sum(DATA_SETS["celeba"].examples.values()) == 202_599


@pytest.mark.parametrize("download", [True, False])
def test_missing_files_are_asked_of_the_user(tmp_path, download):
    with pytest.raises(
        DataError, match=r"celeba needs img_align_celeba.zip .*get it by hand from https://mmlab"
    ) as caught:
        load("celeba", data_dir=tmp_path, download=download)
    assert str(tmp_path / "celeba") in str(caught.value)


BAD_ARCHIVES = {
    "a missing face": ({"000003": None}, "holds no img_align_celeba/000003.jpg"),
    "half size": ({"000003": jpeg(face(COLOURS[0], 89, 109))}, r"is \(89, 109\), not \(178, 218\) pixels"),
    "no picture": ({"000003": b"text"}, "no readable PNG or JPEG"),
    "half a picture": ({"000003": jpeg(face(COLOURS[0]))[:900]}, "truncated or corrupt"),
    "an empty picture": ({"000003": b""}, "no readable PNG or JPEG"),
}


@pytest.mark.parametrize(("members", "message"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES.keys())
def test_an_archive_of_other_images_is_refused_and_leaves_nothing(make, cache, members, message):
    with pytest.raises(DataError, match=message) as caught:
        load("celeba", "train", data_dir=make(**members))
    assert "img_align_celeba" in str(caught.value)
    assert list(cache.rglob("*.*")) == []


@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_truncated_archive_is_one_clear_error(make, keep):
    path = make() / "img_align_celeba.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(DataError, match="truncated or no zip archive"):
        load("celeba", data_dir=path.parent)


BAD_PARTITIONS = {
    "empty": ("", "has {'train': 0,"),
    "cut": (PARTITION[:-13], "'train': 2"),
    "within a line": (PARTITION[:-3], "line 6: '000006.jpg' is not like"),
    "part 3": (PARTITION.replace("6.jpg 0", "6.jpg 3"), "line 6: '000006.jpg 3' is not like"),
    "a path": (PARTITION.replace("000006.jpg", "../006.jpg"), "line 6"),
    "twice": (PARTITION.replace("000006", "000001"), "each once"),
    "no text": ("é" * 20, "no text"),
}


@pytest.mark.parametrize(("text", "message"), BAD_PARTITIONS.values(), ids=BAD_PARTITIONS.keys())
def test_a_partition_of_another_structure_is_refused(tmp_path, text, message):
    path = tmp_path / "list_eval_partition.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_partition(path, EXAMPLES)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_may_end_in_any_way(tmp_path, end):
    path = tmp_path / "list_eval_partition.txt"
    path.write_bytes(PARTITION.replace("\n", end).encode())
    assert read_partition(path, EXAMPLES)["validation"] == ["000002.jpg", "000005.jpg"]


@pytest.mark.parametrize("options", [{"crop": 0}, {"size": 2.5}, {"size": None}, {"memory_limit": -1}, {"crop": True}])
def test_an_option_that_cannot_be_right_is_refused(make, options):
    with pytest.raises(UsageError, match=next(iter(options))):
        load("celeba", data_dir=make(), **options)


def test_a_crop_larger_than_the_image_is_refused(make):
    with pytest.raises(DataError, match="is 178x218, smaller than crop=200"):
        load("celeba", data_dir=make(), crop=200)
