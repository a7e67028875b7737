"""The idx format of the MNIST files: big-endian header, then bytes."""

import hashlib
import math
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from multirate.data.unpacking import UNREADABLE, open_unzipped, read_up_to
from multirate.errors import DataError

_BYTES = 0x08
_LIMIT = 1 << 30


def read_idx(
    path: str | Path, shape: tuple[int | None, ...], *, sha256: str | None = None
) -> tuple[NDArray[np.uint8], str]:
    """Read an idx file of unsigned bytes, gzipped or not, and check all that can be checked.

    Args:
        path: the file; gzip is recognised by its first two bytes.
        shape: the sizes that the header must give; None for an axis of any size.
        sha256: checksum of the file's content after unzipping, where it is known.

    Returns:
        The array, read-only, and the checksum of the content.

    Raises:
        DataError: if the file is missing, not idx, of another shape, truncated, longer than its header says, corrupt,
            over 1 GiB, or not the content that the checksum names.
    """
    path = Path(path)
    try:
        with ExitStack() as stack:
            file = open_unzipped(path, stack)
            header, sizes = _header(file, path, shape)
            count = math.prod(sizes)
            # One byte more than there should be: it reaches the end of the gzip stream, whose checksum is tested there.
            body = read_up_to(file, count + 1)
    except FileNotFoundError as error:
        raise DataError(f"no file {path}; fetch it again") from error
    except UNREADABLE as error:
        raise DataError(f"{path} is truncated or corrupt ({error}); remove it and fetch it again") from error
    if len(body) != count:
        state = "truncated" if len(body) < count else "longer than its header says"
        raise DataError(
            f"{path} is {state}: {count:,} bytes expected for shape {list(sizes)}; remove it and fetch it again"
        )
    digest = hashlib.sha256(header)
    digest.update(body)
    found = digest.hexdigest()
    if sha256 is not None and found != sha256:
        raise DataError(
            f"{path} holds other data than the canonical file (sha256 of its content is {found[:12]}..., "
            f"not {sha256[:12]}...); remove it and fetch it again"
        )
    return np.frombuffer(body, dtype=np.uint8).reshape(sizes), found


def _header(file: BinaryIO, path: Path, shape: tuple[int | None, ...]) -> tuple[bytes, tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _BYTES or magic[3] != len(shape):
        raise DataError(
            f"{path} is not an idx file of bytes with {len(shape)} axes: it begins with {magic.hex() or 'nothing'}, "
            f"not {bytes((0, 0, _BYTES, len(shape))).hex()}"
        )
    packed = file.read(4 * len(shape))
    if len(packed) < 4 * len(shape):
        raise DataError(f"{path} is truncated: it ends within its header; remove it and fetch it again")
    sizes = struct.unpack(f">{len(shape)}I", packed)
    if any(want not in (None, got) for want, got in zip(shape, sizes, strict=True)) or math.prod(sizes) > _LIMIT:
        wanted = " x ".join("any" if n is None else str(n) for n in shape)
        raise DataError(f"{path} holds {' x '.join(map(str, sizes))} bytes; {wanted}, at most 1 GiB, was expected")
    return magic + packed, sizes
