"""Arrays of numbers from MATLAB files of level 5, the format of ``save -v7`` and ``-v6``, and nothing else from them.

SciPy's reader is not used here: it can be brought to crash the whole process by a damaged file. This one knows numeric
arrays alone, checks every length before it uses it, and never looks into objects, functions, cells and structures.
Format: MathWorks, "MAT-File Format", chapter 1.
"""

import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirate.errors import DataError
from multirate.reading import read_file

_HEADER = 128
_HEAD = 4096
_MATRIX, _COMPRESSED = 14, 15
_INT32, _UINT32 = 5, 6
_COMPLEX = 0x0800

# Codes of the numbers as they are stored, and of the classes that they have in MATLAB.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_OTHER = {1: "cells", 2: "structures", 3: "objects", 4: "characters", 5: "a sparse array"}


class _DamageError(Exception):
    """A length or a code that cannot be right."""


class _Variable(NamedTuple):
    name: str
    kind: int
    shape: tuple[int, ...]
    start: int

    def __str__(self) -> str:
        kind = np.dtype(_CLASSES[self.kind]).name if self.kind in _CLASSES else _OTHER.get(self.kind, "something else")
        return f"{self.name} of {' x '.join(map(str, self.shape))} {kind}"


def read_matlab(path: Path, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """Read arrays of numbers by their names.

    Args:
        path: the file.
        wanted: shape that each of them must have.

    Returns:
        The arrays, read-only, of the class that they have in MATLAB, in column-major order as they are stored.

    Raises:
        DataError: if the file is missing, truncated or corrupt, of another format, or a variable is missing, no real
            array of numbers, or of another shape.
    """
    again = "remove it and fetch it again"
    try:
        content = read_file(path)
        order = _byte_order(content)
        found: dict[str, NDArray[Any]] = {}
        seen = []
        data, start = memoryview(content), _HEADER
        while start < len(data):
            code, body, start = _element(data, start, order)
            if code in (_COMPRESSED, _MATRIX):
                variable = _variable(_unzipped(body, _HEAD, order) if code == _COMPRESSED else body, order)
                seen.append(str(variable))
                if wanted.get(variable.name) == variable.shape and variable.kind in _CLASSES:
                    whole = _whole(body, variable, order) if code == _COMPRESSED else body
                    found[variable.name] = _numbers(whole, variable, order)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; {again}") from error
    except (_DamageError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is truncated, corrupt or no MATLAB file of level 5 ({error}); {again}") from error
    for name, shape in wanted.items():
        if name not in found:
            held = ", ".join(seen[:5]) or "no variables"
            raise DataError(f"{path} holds {held}; {name} of {' x '.join(map(str, shape))} was expected; {again}")
    return found


def _byte_order(content: bytes) -> str:
    version, mark = content[_HEADER - 4 : _HEADER - 2], content[_HEADER - 2 : _HEADER]
    if (version, mark) == (b"\x00\x01", b"IM"):
        return "<"
    if (version, mark) == (b"\x01\x00", b"MI"):
        return ">"
    raise _DamageError("it has another header")


def _element(data: memoryview, start: int, order: str) -> tuple[int, memoryview, int]:
    """Return an element's code and content, and where the next one begins."""
    (code,) = struct.unpack_from(f"{order}I", data, start)
    if code >> 16:
        # A small one: its size beside its code, its content in the same eight bytes.
        code, size, begin, end = code & 0xFFFF, code >> 16, start + 4, start + 8
    else:
        (size,) = struct.unpack_from(f"{order}I", data, start + 4)
        begin = start + 8
        end = begin + size if code == _COMPRESSED else begin + size + -size % 8
    if begin + size > min(end, len(data)):
        raise _DamageError("an element is longer than its place")
    return code, data[begin : begin + size], end


def _unzipped(body: memoryview, limit: int, order: str) -> memoryview:
    """Return the beginning of an array's content, at most ``limit`` bytes."""
    content = memoryview(zlib.decompressobj().decompress(body, limit))
    (code,) = struct.unpack_from(f"{order}I", content)
    if code != _MATRIX:
        raise _DamageError("a variable is no array")
    return content[8:]


def _whole(body: memoryview, variable: _Variable, order: str) -> memoryview:
    """Return all of an array's content, never more than its numbers can need."""
    stream = zlib.decompressobj()
    content = memoryview(stream.decompress(body, _HEAD + 8 * math.prod(variable.shape)))
    if not stream.eof:
        raise _DamageError(f"{variable.name} does not end where it should")
    _, whole, _ = _element(content, 0, order)
    return whole


def _variable(head: memoryview, order: str) -> _Variable:
    """Read class, shape and name, with which every array begins."""
    flag_code, flags, start = _element(head, 0, order)
    shape_code, shape, start = _element(head, start, order)
    _, name, start = _element(head, start, order)
    if flag_code != _UINT32 or len(flags) != 8 or shape_code != _INT32 or len(shape) % 4:
        raise _DamageError("an array has no class or no shape")
    (flag,) = struct.unpack_from(f"{order}I", flags)
    sizes = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    return _Variable(bytes(name).decode("ascii", "replace"), -1 if flag & _COMPLEX else flag & 0xFF, sizes, start)


def _numbers(body: memoryview, variable: _Variable, order: str) -> NDArray[Any]:
    """Read the numbers of an array, which may be stored in fewer bytes than their class has."""
    code, stored, _ = _element(body, variable.start, order)
    if code not in _STORED:
        raise _DamageError(f"{variable.name} holds no numbers")
    kind = np.dtype(f"{order}{_STORED[code]}")
    if len(stored) != kind.itemsize * math.prod(variable.shape):
        raise _DamageError(
            f"{variable.name} has {len(stored):,} bytes for {' x '.join(map(str, variable.shape))} numbers"
        )
    values = np.frombuffer(stored, dtype=kind).astype(_CLASSES[variable.kind], copy=False)
    return values.reshape(variable.shape, order="F")
