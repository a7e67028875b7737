import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from multirate import data
from multirate.data.npy import read_array, read_arrays, read_header
from multirate.errors import DataError


def header(shape, kind="'<f4'", version=1):
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


KINDS = arrays.boolean_dtypes() | arrays.integer_dtypes(endianness="?") | arrays.floating_dtypes(sizes=(16, 32, 64))
ARRAYS = KINDS.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=4, max_side=4)))


@pytest.mark.slow
@given(ARRAYS, st.booleans())
def test_an_array_comes_back_as_numpy_wrote_it(array, fortran):
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, order="F" if fortran else "C"))
    size = buffer.tell()
    buffer.seek(0)
    found = read_header(buffer)
    found.check(size)
    np.testing.assert_array_equal(read_array(buffer, found), array, strict=True)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_an_archive_come_back_and_others_are_left_out(tmp_path, save):
    mine = {"x": np.arange(6.0).reshape(2, 3), "bits": np.eye(3, dtype=bool)}
    save(tmp_path / "a.npz", **mine, names=np.array(["a"]), objects=np.array([{}]), pairs=np.zeros(2, "c8,f4"))
    read = read_arrays(tmp_path / "a.npz")
    assert read.keys() == mine.keys()
    for name, array in mine.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


LIES = {
    "more rows than the file has": header("(99999999999, 5)"),
    "more numbers than a machine counts": header("(9223372036854775807, 2)"),
    "a negative axis": header("(-1, 5)"),
    "a truth value as an axis": header("(True, 5)"),
    "a fraction of an axis": header("(1.5, 5)"),
    "no type": header("(12, 5)", "'nothing'"),
    "objects": header("(12, 5)", "'|O'"),
    "rows without numbers": header("(99999999999, 0)"),
    "nested brackets": header("(" * 300 + ")" * 300),
    "a string that does not end": header("(12, 5), '''"),
    "an endless header": b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f" + b" " * 50_000,
    "a later version": header("(12, 5)", version=9),
    "half of a header": header("(12, 5)")[:30],
    "only a name": b"\x93NUMPY",
}


@pytest.mark.parametrize("memory_limit", [0, 1024])
@pytest.mark.parametrize("content", LIES.values(), ids=LIES.keys())
def test_a_header_that_lies_is_one_clear_error(tmp_path, content, memory_limit):
    (tmp_path / "a.npy").write_bytes(content + bytes(40))
    with pytest.raises(DataError, match=r"a\.npy"):
        data.load(tmp_path / "a.npy", memory_limit=memory_limit)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content + bytes(40))
    with pytest.raises(DataError, match=r"a\.npz"):
        data.load(tmp_path / "a.npz")


def test_numbers_too_large_for_float32_warn_of_nothing(tmp_path):
    values = np.full((12, 5), 2.0).astype(">f8")
    values[3] = np.frombuffer(b"\xff\xf4" + b"\x12" * 6, ">f8")[0]  # a signalling NaN
    np.save(tmp_path / "a.npy", values)
    for memory_limit in (0, 1024):
        with pytest.raises(DataError, match="NaN"):
            data.load(tmp_path / "a.npy", memory_limit=memory_limit)


@pytest.mark.slow
def test_an_archive_that_unpacks_to_far_more_than_it_has_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(header("(17825792, 1)"))
        for _ in range(17):
            file.write(bytes(1 << 22))
    with pytest.raises(DataError, match=r"a\.npz"):
        data.load(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="unpacks to more than 67,108,864 bytes"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_an_array_twice_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.ones((12, 2)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", buffer.getvalue())
        archive.writestr("x.npy", buffer.getvalue())
    with pytest.raises(ValueError, match="x twice"):
        read_arrays(tmp_path / "a.npz")
