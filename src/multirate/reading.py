"""Files from outside, which may hold anything: plain files alone, of bounded size; JSON without surprises."""

import errno
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

JSON_BYTES = 1 << 24
DEEPEST = 64

_PARTS = 200_000


def open_file(path: str | Path) -> BufferedReader:
    """Open a plain file for reading.

    Args:
        path: the file.

    Raises:
        OSError: if it cannot be opened, or is a folder, a pipe, a device or a socket, of which none is waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def read_file(path: str | Path, limit: int | None = None) -> bytes:
    """Read a plain file.

    Args:
        path: the file.
        limit: the most bytes that it may have; None for no limit.

    Raises:
        OSError: as :func:`open_file`, and if the file is too long.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise OSError(errno.EFBIG, f"it is too long, over {limit:,} bytes", str(path))
        return file.read() if limit is None else file.read(size)


def read_lines(path: str | Path) -> list[str]:
    """Read the lines of a plain file of text; bytes that are not UTF-8 come out as replacement characters.

    Args:
        path: the file.

    Raises:
        OSError: as :func:`open_file`.
    """
    return read_file(path).decode("utf-8", "replace").splitlines()


def parse_json(text: str | bytes) -> Any:
    """Decode JSON that means the same to everybody.

    Args:
        text: the document.

    Returns:
        Its value.

    Raises:
        ValueError: if it is no JSON, not in UTF-8, nested deeper than 64, or of more than 200,000 lists and objects;
            names a key twice; or holds a number that is not finite, an integer of more than 64 bits, or half a
            surrogate pair.
    """
    text = text if isinstance(text, str) else text.decode("utf-8")
    if text.count("[") + text.count("{") > _PARTS:
        raise ValueError(f"it has more than {_PARTS:,} lists and objects")
    try:
        value = json.loads(
            text,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_integer,
            object_pairs_hook=_pairs,
        )
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {DEEPEST}") from error
    if isinstance(value, dict | list):
        _check_depth(value)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _constant(name: str) -> Any:
    raise ValueError(f"it holds {name}, which is no number of JSON")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"it holds {digits[:20]}, which is too large")
    return value


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= 20 else 1 << 64
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"it holds {digits[:20]}..., an integer of more than 64 bits")
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        refuse_twice(name for name, _ in pairs)
    return found


def refuse_twice(names: Iterable[str]) -> None:
    """Raise ``ValueError`` if one of the names comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"it has {name[:40]!r} twice")
        seen.add(name)


def _check_depth(value: dict[Any, Any] | list[Any], depth: int = 1) -> None:
    if depth > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST}")
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            _check_depth(inner, depth + 1)


def json_lines(path: str | Path) -> Iterator[Any]:
    """Yield the values of a file of one JSON document a line; a line that is none comes as None.

    Args:
        path: the file.

    Raises:
        OSError: as :func:`open_file`.
    """
    for line in read_lines(path):
        try:
            yield parse_json(line)
        except ValueError:
            yield None


def reason(error: Exception) -> str:
    """Return what an error says, without the path, which the message around it names."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
