import gzip
import hashlib
import struct

import numpy as np
import pytest

from multirate.data.idx import read_idx
from multirate.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.gz", "a"])
@pytest.mark.parametrize("array", [IMAGES, IMAGES[:, 0, 0]], ids=["images", "labels"])
def test_what_was_written_is_read(write_idx, array, name):
    path = write_idx(array, name)
    content = path.read_bytes() if name == "a" else gzip.decompress(path.read_bytes())

    read, digest = read_idx(path, array.shape)

    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)
    assert digest == hashlib.sha256(content).hexdigest()


def test_an_axis_of_any_size_is_accepted(write_idx):
    assert read_idx(write_idx(IMAGES), (None, 5, 3))[0].shape == (7, 5, 3)


def test_the_right_checksum_passes_and_a_wrong_one_does_not(write_idx):
    path = write_idx(IMAGES)
    _, digest = read_idx(path, IMAGES.shape)

    read_idx(path, IMAGES.shape, sha256=digest)
    with pytest.raises(DataError, match="other data than the canonical file"):
        read_idx(path, IMAGES.shape, sha256="0" * 64)


def damaged(path, change):
    path.write_bytes(change(path.read_bytes()))
    return path


def flip(data, at):
    return data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :]


DAMAGE = {
    "gzip cut in its data": ("a.gz", lambda b: b[: len(b) // 2], "truncated or corrupt"),
    "gzip cut in its last bytes": ("a.gz", lambda b: b[:-4], "truncated or corrupt"),
    "gzip with a flipped byte": ("a.gz", lambda b: flip(b, len(b) // 2), "truncated or corrupt"),
    "gzip with a wrong checksum": ("a.gz", lambda b: flip(b, len(b) - 6), "truncated or corrupt"),
    "plain file cut": ("a", lambda b: b[:-1], "truncated"),
    "plain file with more": ("a", lambda b: b + b"\0", "longer than its header says"),
    "cut in the header": ("a", lambda b: b[:9], "ends within its header"),
    "empty": ("a", lambda b: b"", "begins with nothing"),
    "wrong magic": ("a", lambda b: b"\1" + b[1:], "not an idx file"),
    "floats": ("a", lambda b: b"\0\0\x0d\x03" + b[4:], "not an idx file"),
    "other number of axes": ("a", lambda b: b"\0\0\x08\x01" + b[4:], "not an idx file"),
    "web page": ("a", lambda b: b"<!DOCTYPE html>", "not an idx file"),
}


@pytest.mark.parametrize(("name", "change", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_one_clear_error(write_idx, name, change, message):
    path = damaged(write_idx(IMAGES, name), change)

    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, IMAGES.shape)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_shape_is_refused(write_idx):
    with pytest.raises(DataError, match="holds 7 x 5 x 3 bytes; 8 x 5 x 3"):
        read_idx(write_idx(IMAGES), (8, 5, 3))


def test_absurd_sizes_are_refused_before_anything_is_read(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1))
    with pytest.raises(DataError, match="at most 1 GiB"):
        read_idx(path, (None, None, None))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no file .*absent"):
        read_idx(tmp_path / "absent", (1,))
