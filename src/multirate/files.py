"""Files that are either whole or absent: atomic writes, and JSON with errors that name the file."""

import errno
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from multirate.errors import DataError

_FREE_SPACE = "free some space"
_OTHER_FOLDER = "choose another folder"
_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EROFS: _OTHER_FOLDER,
    errno.EACCES: _OTHER_FOLDER,
    errno.EPERM: _OTHER_FOLDER,
    errno.ENOTDIR: _OTHER_FOLDER,
    errno.EEXIST: _OTHER_FOLDER,
}


def write_atomic(path: str | Path, content: str | bytes) -> Path:
    """Write ``content`` to ``path`` so that no reader, crash or full disk ever leaves half a file.

    The bytes go to a temporary file in the same folder, are flushed to disk, and take the name in one rename.

    Args:
        path: the file to write; its folder is made if it is missing.
        content: text (written as UTF-8) or bytes.

    Returns:
        The path.

    Raises:
        DataError: if the folder cannot be written, with the reason of the operating system.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return path


@contextmanager
def staged(folder: str | Path, *, last: str, old: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty folder whose files move to ``folder`` when the block is done; an error changes nothing there.

    Args:
        folder: where the files belong; made if it is missing. Other files in it are left alone.
        last: the file that says what the others are: it leaves first and comes last, so that where it is, all is.
        old: files and folders of an earlier call that may not come again, removed once the new ones are made.

    Yields:
        A folder beside it, for the block to write to.

    Raises:
        DataError: if a folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        yield place
        _move(place, folder, last, old)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _move(place: Path, folder: Path, last: str, old: Sequence[str]) -> None:
    (folder / last).unlink(missing_ok=True)
    for path in (folder / name for name in old):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    made = sorted(path for path in place.rglob("*") if path.is_file())
    for path in sorted(made, key=lambda path: path == place / last):
        target = folder / path.relative_to(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


def _cannot_write(path: Path, error: OSError) -> DataError:
    remedy = _REMEDIES.get(error.errno or 0, "check the folder and its permissions, or choose another")
    return DataError(f"cannot write {path}: {error.strerror or error}; {remedy}")


def write_json(path: str | Path, value: Any) -> Path:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused.

    Args:
        path: the file to write.
        value: anything that :func:`json.dumps` takes.

    Returns:
        The path.

    Raises:
        DataError: if a value has no place in JSON or is not finite, or the file cannot be written.
    """
    try:
        text = json.dumps(value, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"cannot write {path}: {error}") from error
    return write_atomic(path, text + "\n")


def read_json(path: str | Path, remedy: str = "check the path") -> Any:
    """Read a JSON file.

    Args:
        path: the file to read.
        remedy: what to do if there is no such file, for the message.

    Returns:
        The decoded value.

    Raises:
        DataError: if the file is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no file {path}; {remedy}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"cannot read {path} as JSON: {error}") from error
