"""The published file of dSprites, read as a stream: its three gigabytes of pixels are never in memory at once."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirate.data.dsprites_render import FACTORS, SIDE
from multirate.data.npy import read_header
from multirate.data.unpacking import ZIP_UNREADABLE
from multirate.errors import DataError
from multirate.reading import open_file

_AGAIN = "remove it and fetch it again"
_CHUNK = 512


def grid_factors(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the factors of images by their place in the grid, of which the last factor runs first.

    Args:
        rows: from 0 to 737,279, ``[N]``.

    Returns:
        Index of each factor's value, in order of :data:`~multirate.data.dsprites_render.FACTORS`, ``[N, 6]``.
    """
    return np.stack(np.unravel_index(rows, tuple(FACTORS.values())), axis=1).astype(np.int64)


def read_packed(path: Path, count: int) -> Iterator[NDArray[np.uint8]]:
    """Read the images of the published ``.npz`` file, some at a time.

    Of its arrays only ``latents_classes`` (which must be the factor grid in its order) and ``imgs`` are read;
    ``metadata``, a pickled object, never is.

    Args:
        path: the file.
        count: images that it must hold: bytes 0 and 1, ``[count, 64, 64]``.

    Yields:
        Images as packed bits, in the order of ``numpy.packbits``, ``[up to 512, 512]``.

    Raises:
        DataError: if the file is missing, truncated, corrupt or of another structure, if need be after some images.
    """
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            start = 0
            for classes in _read(archive, path, "latents_classes", (count, len(FACTORS)), "iu"):
                if not np.array_equal(classes, grid_factors(np.arange(start, start + len(classes)))):
                    raise DataError(f"{path}: latents_classes is not the grid of all factors in its order; {_AGAIN}")
                start += len(classes)
            for images in _read(archive, path, "imgs", (count, SIDE, SIDE), "u"):
                if images.max() > 1:
                    raise DataError(f"{path}: imgs has a pixel of {images.max()}, not 0 or 1; {_AGAIN}")
                yield np.packbits(images.reshape(len(images), -1).view(np.bool_), axis=1)
    except ZIP_UNREADABLE as error:
        raise DataError(f"{path} is missing, truncated or corrupt ({error}); {_AGAIN}") from error


def _read(
    archive: zipfile.ZipFile, path: Path, name: str, shape: tuple[int, ...], kinds: str
) -> Iterator[NDArray[Any]]:
    """Yield an array of the archive in pieces of some rows, checked for its type, its size and its checksum."""
    if f"{name}.npy" not in archive.namelist():
        raise DataError(f"{path} holds no array {name}, but {', '.join(archive.namelist()[:5]) or 'nothing'}; {_AGAIN}")
    if archive.getinfo(f"{name}.npy").compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"{name} is not compressed by deflate")
    with ExitStack() as stack:
        stream = stack.enter_context(archive.open(f"{name}.npy"))
        found, fortran, kind, _ = read_header(stream)
        if found != shape or fortran or kind.kind not in kinds or (kinds == "u" and kind.itemsize != 1):
            wanted = f"{' x '.join(map(str, shape))} {'bytes' if kinds == 'u' else 'integers'}"
            order = ", in Fortran's order" if fortran else ""
            raise DataError(f"{path}: {name} is {' x '.join(map(str, found))} {kind}{order}, not {wanted}; {_AGAIN}")
        width = kind.itemsize * math.prod(shape[1:])
        for start in range(0, shape[0], _CHUNK):
            rows = min(_CHUNK, shape[0] - start)
            content = stream.read(rows * width)
            if len(content) < rows * width:
                raise DataError(f"{path}: {name} ends after {start + len(content) // width:,} rows; {_AGAIN}")
            yield np.frombuffer(content, dtype=kind).reshape(rows, *shape[1:])
        if stream.read(1):
            raise DataError(f"{path}: {name} is longer than its header says; {_AGAIN}")
