"""Rows of a ``.npy`` file that stays on disk."""

import os
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirate.data.npy import read_header
from multirate.errors import DataError
from multirate.reading import open_file

_LOCK = threading.Lock()

# Bytes that are copied at a time: reading needs little more memory than what is returned.
_BLOCK = 1 << 22


class RowFile:
    """An array in a ``.npy`` file, read row by row.

    The rows are not read through a memory map: a fault on a map may bring in megabytes around a row of kilobytes, and a
    file that is cut while it is in use would end the process.

    Args:
        path: the file.

    Raises:
        ValueError: if the file is truncated, no array, or an array of Python objects, which are never loaded.
        OSError: if it cannot be opened or is no plain file.
    """

    def __init__(self, path: Path) -> None:
        with open_file(path) as file:
            header = read_header(file)
            header.check(os.fstat(file.fileno()).st_size)
            descriptor = os.dup(file.fileno())
        self.path = path
        self.shape = header.shape
        self.dtype = header.dtype
        self.is_by_rows = not header.fortran
        self.row_bytes = header.row_bytes
        self._offset = header.offset
        self._descriptor = descriptor
        weakref.finalize(self, os.close, self._descriptor)

    def __reduce__(self) -> tuple[type["RowFile"], tuple[Path]]:
        return RowFile, (self.path,)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Copy rows into memory.

        Args:
            rows: their numbers, in any order.

        Returns:
            ``[len(rows), ...]``, writable.

        Raises:
            DataError: if the file was cut in the meantime.
        """
        values = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        step = max(1, _BLOCK // max(1, self.row_bytes))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            first, last = int(part.min()), int(part.max())
            if last - first < 4 * len(part):
                values[start : start + step] = self._array(self._bytes(first, last - first + 1))[part - first]
            else:
                values[start : start + step] = self._array(b"".join([self._bytes(row, 1) for row in part.tolist()]))
        return values

    def _bytes(self, first: int, count: int) -> bytes:
        """Read rows that follow each other."""
        wanted, start = count * self.row_bytes, self._offset + first * self.row_bytes
        content = _read_at(self._descriptor, wanted, start)
        while len(content) < wanted:
            more = _read_at(self._descriptor, wanted - len(content), start + len(content))
            if not more:
                raise DataError(f"{self.path} became shorter while it was read; write it again, then start again")
            content += more
        return content

    def _array(self, content: bytes) -> NDArray[Any]:
        count = len(content) // max(1, self.row_bytes)
        return np.frombuffer(content, dtype=self.dtype).reshape(count, *self.shape[1:])


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    with _LOCK:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)
