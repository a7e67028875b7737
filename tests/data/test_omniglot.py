import hashlib
import io
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from multirate.data import load
from multirate.data.omniglot import read_drawings, shrink
from multirate.errors import DataError

STEM = "images_background"
DRAWINGS = np.random.default_rng(0).random((4, 105, 105)) < 0.2
PATHS = [
    f"{STEM}/{a}/character{c:02}/0001_0{d}.png" for a, c, d in (("A", 1, 1), ("A", 1, 2), ("A", 2, 1), ("B", 1, 1))
]
BITS = {
    "train": (17_280, "03d7598896a5b6967c8421afcc6d6c1c8aef2f2db1b1532f1097590e5911d27d"),
    "validation": (2_000, "6677f5fefd3544c51605712f8241999b2cc0cbfedc3ef8d2f15f4563a893a7c0"),
    "test": (13_180, "827c6cbed67c22438411f2786415a4d63ee950354589cec9eac8b34a5f33680f"),
}


def png(ink, mode="1"):
    stream = io.BytesIO()
    Image.fromarray(np.where(ink, 0, 255).astype(np.uint8)).convert(mode).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def archive(tmp_path):
    def make(members):
        path = tmp_path / "made.zip"
        with zipfile.ZipFile(path, "w") as file:
            for name, content in members.items():
                file.writestr(name, content)
        return path

    return make


def good(mode="1"):
    return {name: png(ink, mode) for name, ink in zip(PATHS, DRAWINGS, strict=True)}


def slow_shrink(ink):
    """Area average by splitting every old pixel into 4x4 and every new one into 15x15 of the same small squares."""
    fine = np.kron(ink, np.ones((4, 4), dtype=int))
    return np.array([[fine[15 * i : 15 * i + 15, 15 * j : 15 * j + 15].sum() for j in range(28)] for i in range(28)])


def test_shrinking_is_the_exact_area_average():
    gray = shrink(DRAWINGS)
    assert gray.dtype == np.uint8
    np.testing.assert_array_equal(gray, [slow_shrink(ink) for ink in DRAWINGS])
    assert shrink(np.ones((1, 105, 105), dtype=bool)).min() == 225
    np.testing.assert_array_equal(gray.sum((1, 2)), 16 * DRAWINGS.sum((1, 2)))


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_drawings_are_read_in_order_of_their_paths_with_ink_as_1(archive, mode):
    members = dict(reversed(good(mode).items()))
    ink, digest = read_drawings(archive(members), STEM, 4)
    np.testing.assert_array_equal(ink, DRAWINGS)
    assert digest == hashlib.sha256(np.packbits(DRAWINGS).tobytes()).hexdigest()


def test_other_members_are_passed_over_and_nothing_is_unpacked(archive, tmp_path):
    evil = {
        f"../../{STEM}/A/character01/0001_01.png": b"evil",
        f"/{STEM}/A/character01/0001_01.png": b"evil",
        "__MACOSX/._0001_01.png": b"",
        f"{STEM}/": b"",
        f"{STEM}/../../../evil.png": b"evil",
    }
    path = archive({**evil, **good()})
    before = sorted(tmp_path.rglob("*"))
    ink, _ = read_drawings(path, STEM, 4)
    np.testing.assert_array_equal(ink, DRAWINGS)
    assert sorted(tmp_path.rglob("*")) == before


BAD_MEMBERS = {
    "one missing": (lambda m: m.pop(PATHS[0]), "holds 3 drawings, not 4"),
    "another size": (lambda m: m.update({PATHS[1]: png(DRAWINGS[0, :50])}), "is 105x50, not 105x105"),
    "no picture": (lambda m: m.update({PATHS[1]: b"text"}), "is no readable PNG"),
    "half a picture": (lambda m: m.update({PATHS[1]: m[PATHS[1]][:200]}), "is no readable PNG"),
    "another format": (lambda m: m.update({PATHS[1]: b"GIF89a"}), "is no readable PNG"),
    "a huge member": (lambda m: m.update({PATHS[1]: bytes(100_000)}), "too large for a drawing"),
}


@pytest.mark.parametrize(("change", "message"), BAD_MEMBERS.values(), ids=BAD_MEMBERS.keys())
def test_a_zip_with_wrong_drawings_is_one_clear_error(archive, change, message):
    members = good()
    change(members)
    with pytest.raises(DataError, match=message):
        read_drawings(archive(members), STEM, 4)


def test_a_damaged_zip_is_one_clear_error(archive, tmp_path):
    path = archive(good())
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text", whole.replace(b"IDAT", b"IDXT")):
        path.write_bytes(content)
        with pytest.raises(DataError, match="truncated or corrupt"):
            read_drawings(path, STEM, 4)
    with pytest.raises(DataError, match="missing"):
        read_drawings(tmp_path / "absent.zip", STEM, 4)


@pytest.mark.slow
@pytest.mark.parametrize("split", BITS)
def test_omniglot_is_fixed_to_the_bit(data_dir, split):
    size, digest = BITS[split]
    source = load("omniglot", split, data_dir=data_dir, download=False)
    images = source.batch(torch.arange(len(source)))
    assert images.shape == (size, 1, 28, 28)
    assert (source.name, source.split, source.likelihood) == ("omniglot", split, "bernoulli")
    assert hashlib.sha256(np.packbits(images.numpy().astype(bool)).tobytes()).hexdigest() == digest
    assert 0.07 < images.mean() < 0.09


@pytest.mark.slow
def test_omniglot_bits_agree_with_its_gray_values(data_dir):
    bits, gray = (
        load("omniglot", "test", data_dir=data_dir, download=False, binarize=how) for how in ("static", "none")
    )
    assert gray.likelihood == "gaussian"
    x, p = (source.batch(torch.arange(len(source))).double() for source in (bits, gray))
    assert (p.min(), p.max()) == (0, 1)
    assert abs(x.mean() - p.mean()) < 4 * (p * (1 - p)).mean().div(p.numel()).sqrt()
    assert not x[p == 0].any()
    assert x[p == 1].all()


def test_a_drawing_that_says_it_has_billions_of_pixels_is_one_clear_error(archive):
    content = bytearray(png(DRAWINGS[0]))
    content[16:24] = b"\x7f\xff\xff\xff\x00\x00\x00\x08"
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path = archive(good() | {PATHS[1]: bytes(content)})
    with pytest.raises(DataError, match="no readable PNG"):
        read_drawings(path, STEM, 4)
