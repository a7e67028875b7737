import pickle
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from multirate.data.matlab import read_matlab
from multirate.errors import DataError

GENERATOR = np.random.default_rng(0)
ARRAY = GENERATOR.integers(0, 256, (5, 4, 3, 7), dtype=np.uint8)
KINDS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
SHAPES = ((1, 1), (1, 2), (3, 1), (1, 5), (2, 3), (4, 3, 2), (3, 2, 2, 5))


def element(code, content, order="<"):
    """An element by the definition of the format: code and size, content, zeros up to a multiple of eight bytes."""
    return struct.pack(f"{order}II", code, len(content)) + content + bytes(-len(content) % 8)


def file_of(*elements, order="<", version=0x0100):
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}HH", version, 0x4D49) + b"".join(elements)


def matrix(name, values, kind, order="<"):
    """A uint8 array whose numbers are stored as another kind."""
    return element(
        14,
        element(6, struct.pack(f"{order}II", kind, 0), order)
        + element(5, struct.pack(f"{order}{values.ndim}i", *values.shape), order)
        + element(1, name.encode(), order)
        + element(4, values.astype(f"{order}u2").tobytes(order="F"), order),
        order,
    )


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_that_scipy_wrote_are_read_as_they_were(tmp_path, kind, compressed):
    path = tmp_path / "made.mat"
    arrays = {f"a{i}": (GENERATOR.random(shape) * 200 - 50).astype(kind) for i, shape in enumerate(SHAPES)}
    more = {"text": "abc", "cells": np.array(["a", 1], dtype=object), "z": 1j, "record": {"a": 1}, "flag": True}
    savemat(path, more | arrays, do_compression=compressed)
    read = read_matlab(path, {name: array.shape for name, array in arrays.items()})
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


@pytest.mark.parametrize("order", "<>")
def test_numbers_stored_in_another_kind_and_either_byte_order_are_read(tmp_path, order):
    path = tmp_path / "made.mat"
    values = GENERATOR.integers(0, 200, (3, 2), dtype=np.uint16)
    path.write_bytes(file_of(matrix("first", values, 6, order), matrix("second", values + 1, 9, order), order=order))
    read = read_matlab(path, {"first": (3, 2), "second": (3, 2)})
    np.testing.assert_array_equal(read["first"], values.astype(float), strict=True)
    np.testing.assert_array_equal(read["second"], (values + 1).astype(np.uint8), strict=True)


class Evil:
    """Pickles to a call."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def zipped(content):
    return element(15, content)[: 8 + len(content)]


BODY = matrix("a", ARRAY.astype(np.uint16), 9)
HUGE = element(14, element(6, bytes([9] + [0] * 7)) + element(5, struct.pack("<4i", 5, 4, 3, 7)) + element(1, b"a"))
NO_MATLAB = {
    "nothing": b"",
    "a header alone, cut": file_of()[:100],
    "text": b"text" * 100,
    "pickle": pickle.dumps(Evil()) + bytes(200),
    "level 4": struct.pack("<5i", 0, 1, 1, 0, 2) + b"a\0" + bytes(8) + bytes(200),
    "version 7.3": file_of(version=0x0200) + bytes(400),
    "half a tag": file_of(b"\x0e\0\0"),
    "a size beyond the end": file_of(struct.pack("<II", 14, 1 << 31)),
    "a small element with a large size": file_of(struct.pack("<II", 14 | 9 << 16, 0)),
    "zipped text": file_of(zipped(zlib.compress(b"text" * 10))),
    "zipped nothing": file_of(zipped(zlib.compress(b""))),
    "not zipped": file_of(zipped(b"text" * 10)),
    "no numbers": file_of(HUGE),
    "too few numbers": file_of(
        matrix("a", ARRAY, 9).replace(struct.pack("<4i", *ARRAY.shape), struct.pack("<4i", 5, 4, 3, 8))
    ),
    "zipped, without its end": file_of(zipped(zlib.compress(BODY)[:-3])),
    "zipped, longer than its numbers": file_of(zipped(zlib.compress(BODY + bytes(1 << 16)))),
}


@pytest.mark.parametrize("content", NO_MATLAB.values(), ids=NO_MATLAB.keys())
def test_what_is_no_matlab_file_of_level_5_is_one_clear_error(tmp_path, content):
    path = tmp_path / "made.mat"
    path.write_bytes(content)
    shape = (5, 4, 3, 8) if b"\x05\0\0\0\x04\0\0\0\x03\0\0\0\x08" in content else ARRAY.shape
    with pytest.raises(
        DataError, match=r"truncated, corrupt or no MATLAB file of level 5 \(.*fetch it again"
    ) as caught:
        read_matlab(path, {"a": shape})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*absent.mat"):
        read_matlab(tmp_path / "absent.mat", {})


def test_a_whole_zipped_array_is_read(tmp_path):
    path = tmp_path / "made.mat"
    path.write_bytes(file_of(zipped(zlib.compress(BODY))))
    np.testing.assert_array_equal(read_matlab(path, {"a": ARRAY.shape})["a"], ARRAY, strict=True)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "made.mat"
    path.write_bytes(file_of(zipped(zlib.compress(BODY + bytes(1 << 25), 1))))
    tracemalloc.start()
    with pytest.raises(DataError, match="does not end where it should"):
        read_matlab(path, {"a": ARRAY.shape})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("compressed", [True, False])
def test_damage_anywhere_is_one_clear_error_or_harmless(tmp_path, compressed):
    path = tmp_path / "made.mat"
    wanted = {"X": ARRAY.shape, "y": (7, 1)}
    savemat(path, {"X": ARRAY, "y": np.arange(7.0)[:, None]}, do_compression=compressed)
    whole = path.read_bytes()
    for keep in np.linspace(0, len(whole) - 8, 20).astype(int):
        path.write_bytes(whole[:keep])
        with pytest.raises(DataError, match="fetch it again"):
            read_matlab(path, wanted)
    places = [
        *range(124, 330, 3),
        *GENERATOR.integers(330, len(whole) - 90, 10),
        *range(len(whole) - 90, len(whole), 3),
    ]
    for place in places:
        for flip in (0xFF,) if place % 2 else (0x01,):
            damaged = bytearray(whole)
            damaged[place] ^= flip
            path.write_bytes(damaged)
            try:
                read = read_matlab(path, wanted)
            except DataError as error:
                message = str(error)
                assert str(path) in message
            else:
                assert {name: array.shape for name, array in read.items()} == wanted
