"""Gzip files and tar archives as streams that no damage makes endless: what they unpack to is bounded."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from multirate.reading import open_file

# What the operating system, gzip and tar raise on files that are missing, cut or altered.
UNREADABLE = (OSError, EOFError, ValueError, OverflowError, zlib.error, tarfile.TarError)

# The same of zip archives.
ZIP_UNREADABLE = (
    *(OSError, EOFError, ValueError, OverflowError, KeyError, IndexError, RuntimeError, struct.error, zlib.error),
    zipfile.BadZipFile,
)

# What is packed may become so many bytes, and beyond that so many times its own size.
FREE_BYTES = 1 << 26
LARGEST_RATIO = 100

_PIECE = 1 << 16
_BLOCK = 1 << 22


def allowance(packed: int) -> int:
    """Return how many bytes so many packed ones may unpack to."""
    return max(FREE_BYTES, LARGEST_RATIO * packed)


def text_allowance(packed: int) -> int:
    """Return how many bytes of text, which takes longer to read, so many packed ones may unpack to."""
    return max(1 << 21, 30 * packed)


def open_unzipped(path: Path, stack: ExitStack, limit: Callable[[int], int] = allowance) -> BinaryIO:
    """Open a plain file, gzipped or not, as the stream of what it holds.

    Args:
        path: the file; gzip is recognised by its first two bytes.
        stack: to which everything that is opened belongs.
        limit: how many bytes so many packed ones may unpack to.

    Raises:
        OSError: if it cannot be opened or is no plain file; in reading, one of ``UNREADABLE``, also if it unpacks to
            more than it may.
    """
    file = stack.enter_context(open_file(path))
    size = os.fstat(file.fileno()).st_size
    zipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    stream = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file))) if zipped else file
    return io.BufferedReader(Bounded(stream, limit(size) if zipped else size), _PIECE)


def open_tar(path: Path, stack: ExitStack) -> tarfile.TarFile:
    """Open a tar archive, gzipped or not, for going through its members once, in order.

    Args:
        path: the archive.
        stack: to which everything that is opened belongs.

    Raises:
        OSError: as :func:`open_unzipped`; then and in reading, one of ``UNREADABLE``.
    """
    return stack.enter_context(tarfile.open(fileobj=open_unzipped(path, stack), mode="r|"))


def read_up_to(stream: IO[bytes], count: int) -> bytes:
    """Read so many bytes, or all if there are fewer; memory is taken as they come, not as they are announced.

    Args:
        stream: to read.
        count: how many bytes.
    """
    pieces = []
    while count > 0 and (piece := stream.read(min(count, _BLOCK))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


class Bounded(io.RawIOBase):
    """A stream that ends in an error rather than give more than a bound, or be read on and on at its end.

    Args:
        stream: to read.
        limit: the most bytes that it may give.
    """

    _PATIENCE = 64

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._given = 0
        self._empty = 0

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read some bytes.

        Raises:
            EOFError: if the stream gives more than it may, or has ended long before.
        """
        content = self._stream.read(min(len(buffer), _PIECE))
        self._given += len(content)
        self._empty = 0 if content else self._empty + 1
        if self._given > self._limit:
            raise EOFError(f"it unpacks to more than {self._limit:,} bytes, for which it has to be unpacked by hand")
        if self._empty > self._PATIENCE:
            raise EOFError("it ends too early")
        buffer[: len(content)] = content
        return len(content)
