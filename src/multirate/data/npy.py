"""NumPy's array files: the header is checked before a byte of the array is read, and Python objects never are."""

import ast
import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirate.data.source import NUMERIC_KINDS
from multirate.data.unpacking import allowance, read_up_to
from multirate.reading import open_file

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
# What Python's parser and NumPy raise on text that is no header.
_NO_HEADER = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, IndexError, KeyError)


class Header(NamedTuple):
    """What a header says.

    Args:
        shape: of the array.
        fortran: whether the first axis runs first.
        dtype: of the numbers.
        offset: where the array begins.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one step along the first axis."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check(self, size: int) -> None:
        """Raise ``ValueError`` if the array is of Python objects, or does not fit into a file of so many bytes."""
        if self.dtype.hasobject:
            raise ValueError("it holds Python objects")
        if self.bytes > size - self.offset:
            raise ValueError(f"it is truncated: {self.bytes:,} bytes expected, {max(0, size - self.offset):,} there")


def read_header(stream: IO[bytes]) -> Header:
    """Read the header of an array file.

    Args:
        stream: the file, at its beginning.

    Raises:
        ValueError: if it is no array, or the header is damaged.
    """
    begin = stream.read(8)
    if len(begin) < 8 or not begin.startswith(_MAGIC) or begin[6] not in _LENGTH_BYTES:
        raise ValueError("it holds no array, or several")
    width = _LENGTH_BYTES[begin[6]]
    length = int.from_bytes(stream.read(width), "little")
    if length > _LONGEST_HEADER:
        raise ValueError("its header is too long")
    text = stream.read(length)
    if len(text) < length:
        raise ValueError("it is truncated")
    try:
        said = ast.literal_eval(text.decode("utf-8" if begin[6] == 3 else "latin1").strip())
        if not isinstance(said, dict) or said.keys() != {"descr", "fortran_order", "shape"}:
            raise ValueError("it says something else")
        dtype = np.lib.format.descr_to_dtype(said["descr"])
    except _NO_HEADER as error:
        raise ValueError("its header is damaged") from error
    shape, fortran = said["shape"], said["fortran_order"]
    if not isinstance(shape, tuple) or not all(type(axis) is int and axis >= 0 for axis in shape):
        raise ValueError(f"its shape is {shape!r:.80}")
    if type(fortran) is not bool:
        raise ValueError("its header is damaged")
    return Header(shape, fortran, dtype, 8 + width + length)


def read_array(stream: IO[bytes], header: Header) -> NDArray[Any]:
    """Read the array after its header.

    Args:
        stream: the file, after the header.
        header: of the array.

    Raises:
        ValueError: if it is truncated.
    """
    content = read_up_to(stream, header.bytes)
    flat: NDArray[Any] = np.frombuffer(content, dtype=header.dtype)
    return flat.reshape(header.shape[::-1]).T if header.fortran else flat.reshape(header.shape)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of numbers of an ``.npz`` or ``.npy`` file; one alone is called ``x``.

    Args:
        path: the file; which of the two it is, its first bytes say.

    Returns:
        Arrays by name; those that are no numbers are left out, and not read.

    Raises:
        OSError: if it cannot be opened or is no plain file.
        ValueError: if it is damaged, holds Python objects alone, or unpacks to more than 64 MiB and a hundred times its
            size; and what zipfile raises.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(2) != b"PK":
            file.seek(0)
            header = read_header(file)
            header.check(size)
            return {"x": read_array(file, header)} if header.dtype.kind in NUMERIC_KINDS else {}
        with zipfile.ZipFile(file) as archive:
            return _members(archive, size)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, NDArray[Any]]:
    members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
    if sum(member.file_size for member in members) > allowance(size):
        raise ValueError(f"it unpacks to more than {allowance(size):,} bytes; save it without compression")
    found: dict[str, NDArray[Any]] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name in found or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"it has {name} twice, or compressed otherwise than by deflate")
        with archive.open(member) as stream:
            header = read_header(stream)
            if header.dtype.kind in NUMERIC_KINDS:
                header.check(member.file_size)
                found[name] = read_array(stream, header)
                if stream.read(1):
                    raise ValueError(f"{name} is longer than its header says")
    return found
