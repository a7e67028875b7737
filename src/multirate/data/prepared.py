"""Images that were decoded once: arrays of bytes in the cache, read by rows."""

import glob
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirate.data import download
from multirate.data.mapped import Survey
from multirate.data.progress import progress_bar
from multirate.data.rows import RowFile
from multirate.data.space import check_space
from multirate.errors import DataError
from multirate.files import read_json, write_json
from multirate.plain import from_plain

# Part of every key: to be raised when the same options come to mean other pixels.
_VERSION = 1

_ABANDONED = 3600.0


@dataclass(frozen=True)
class _Record:
    """What is kept beside an array."""

    sha256: str
    survey: Survey


def prepared_rows(
    name: str, key: Any, shape: tuple[int, ...], chunks: Callable[[], Iterator[NDArray[np.uint8]]]
) -> tuple[RowFile, str, Survey]:
    """Return an array from the cache, making it first if it is not there.

    It is written piece by piece, never held in memory as a whole, to a temporary name in the folder ``prepared`` of the
    cache, and takes its name once it is whole. Removing that folder costs time alone.

    Args:
        name: of the data, for the file's name and for messages.
        key: all that the pixels depend on, as JSON values: which files, and how they are decoded.
        shape: of the array, ``[N, ...]``.
        chunks: decodes the examples, in order, some at a time.

    Returns:
        The array, on disk; the sha256 of its bytes; and its survey.

    Raises:
        DataError: if the disk has no room for it or cannot be written; and whatever ``chunks`` raises.
    """
    digest = hashlib.sha256(json.dumps([_VERSION, shape, key]).encode()).hexdigest()
    folder = download.cache_folder() / "prepared"
    path = folder / f"{name}-{digest[:16]}.npy"
    ready = _ready(path, shape)
    if ready is not None:
        return ready
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remedy = "set XDG_CACHE_HOME to a folder on another disk"
        check_space(folder, int(np.prod(shape)), f"preparing {name}", remedy)
        record = _write(path, shape, chunks(), name)
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; free some space there, or set XDG_CACHE_HOME to another "
            "folder"
        ) from error
    return RowFile(path), record["sha256"], Survey(**record["survey"])


def _ready(path: Path, shape: tuple[int, ...]) -> tuple[RowFile, str, Survey] | None:
    """Return what was prepared before, or None if it is absent or damaged."""
    with suppress(OSError, EOFError, ValueError, KeyError, TypeError, DataError):
        file, record = RowFile(path), from_plain(_Record, read_json(path.with_suffix(".json")))
        whole = re.fullmatch(r"[0-9a-f]{64}", record.sha256) and 0 <= record.survey.low <= record.survey.high <= 255
        if whole and file.shape == shape and file.dtype == np.uint8 and file.is_by_rows:
            return file, record.sha256, record.survey
    return None


def _remove_abandoned(path: Path) -> None:
    """Remove what processes that were killed left of the same array: nobody has written to it for an hour."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()


def _write(path: Path, shape: tuple[int, ...], chunks: Iterator[NDArray[np.uint8]], name: str) -> dict[str, Any]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    _remove_abandoned(path)
    digest, surveys = hashlib.sha256(), []
    try:
        with temporary.open("wb") as file, progress_bar(f"preparing {name}", shape[0]) as advance:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            start = file.tell()
            for chunk in chunks:
                content = np.ascontiguousarray(chunk).tobytes()
                file.write(content)
                digest.update(content)
                surveys.append(Survey.of(chunk))
                advance(len(chunk))
            if file.tell() != start + int(np.prod(shape)):
                raise ValueError(f"{name}: the pieces do not add up to {shape}")
            file.flush()
            os.fsync(file.fileno())
        record = {"sha256": digest.hexdigest(), "survey": asdict(Survey.joined(surveys))}
        write_json(path.with_suffix(".json"), record)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    return record
