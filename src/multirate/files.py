"""Files that are either whole or absent: atomic writes, and JSON with errors that name the file."""

import errno
import json
import os
import platform
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from multirate.errors import DataError
from multirate.reading import JSON_BYTES, parse_json, read_file, reason

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
# What is being written has a name of its own, with the machine, process and thread that write it.
_UNFINISHED = re.compile(r"\..+~(?P<machine>.*)-(?P<process>\d+)-\d+(?:-\w+)?")
_DAY = 86400.0


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
    temporary = path.with_name(unfinished_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return path


def append_line(path: str | Path, line: str) -> None:
    """Add a line to a file, made if it is missing, and flush it to disk; a failure leaves the file as it was.

    Args:
        path: the file.
        line: without its end.

    Raises:
        DataError: if the file cannot be written.
    """
    path = Path(path)
    before: int | None = None
    try:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            data = f"{line}\n".encode()
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
    except OSError as error:
        if before is not None:
            with suppress(OSError):
                os.truncate(path, before)
        raise cannot_write(path, error) from error


def sweep_stale(folder: str | Path) -> None:
    """Remove what processes that were killed left half written under ``folder``.

    A file or folder of :func:`write_atomic` or :func:`staged` is stale if its process is no more, or, where that cannot
    be said because it ran on another machine, if it is a day old.

    Args:
        folder: a missing one is left alone, and so is what cannot be removed.
    """
    now = time.time()
    for path in sorted(Path(folder).rglob(".*~*")):
        found = _UNFINISHED.fullmatch(path.name)
        if found is None:
            continue
        with suppress(OSError):
            here = found["machine"] == platform.node()
            if (here and not _runs(int(found["process"]))) or now - path.lstat().st_mtime > _DAY:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


def unfinished_name(name: str) -> str:
    """Return the name of a file while it is being written, which :func:`sweep_stale` knows.

    Args:
        name: that it takes when it is whole.
    """
    return f".{name}~{platform.node()}-{os.getpid()}-{threading.get_ident()}"


def _runs(process: int) -> bool:
    """Return whether a process of this machine is alive, or cannot be asked without harm."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


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
        place = Path(tempfile.mkdtemp(prefix=f"{unfinished_name(folder.name)}-", dir=folder.parent))
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield place
        _move(place, folder, last, old)
    except OSError as error:
        raise cannot_write(folder, error) from error
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


def cannot_write(path: str | Path, error: OSError) -> DataError:
    """Return the error of a file that could not be written, with the reason and the remedy.

    Args:
        path: the file or folder.
        error: of the operating system.
    """
    remedy = _REMEDIES.get(error.errno or 0, "check the folder and its permissions, or choose another")
    return DataError(f"cannot write {path}: {error.strerror or error}; {remedy}")


def remove(path: str | Path) -> None:
    """Remove a file, if it is there.

    Args:
        path: the file.

    Raises:
        DataError: if it cannot be removed, with the reason of the operating system.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


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
        DataError: if the file is missing, no plain file, over 16 MiB, or not what
            :func:`~multirate.reading.parse_json` takes.
    """
    try:
        return parse_json(read_file(path, JSON_BYTES))
    except FileNotFoundError as error:
        raise DataError(f"no file {path}; {remedy}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} as JSON: {reason(error)}") from error
