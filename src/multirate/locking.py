"""One process at a time in a folder: a lock that the system frees when its holder ends, however it ends."""

import errno
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from multirate.errors import DataError
from multirate.files import cannot_write, sweep_stale

try:
    import fcntl
except ImportError:  # a system without such locks: nothing is locked there
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
_POLL = 0.2
_BUSY = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)
# Folders held, with the process and the thread that hold them: these may take them again.
_held: dict[Path, tuple[int, int]] = {}


@contextmanager
def alone(folder: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder, made if it is missing, so that no other process writes in it; and remove what killed ones left.

    The thread that holds it may take it again. The lock is of the file system's own kind (``flock``): nothing is left
    of it when its holder is killed. Where the system has none, nothing is locked. Whoever only reads need not ask.

    Args:
        folder: to hold; what is made here of it and of the folders around it, and stays empty, is removed again.
        wait: wait for another holder, with a line on standard error, in place of an error.

    Raises:
        DataError: if another process or thread holds it and ``wait`` is False, or it cannot be written.
    """
    place = Path(folder).resolve()
    mine = (os.getpid(), threading.get_ident())
    if fcntl is None or _held.get(place) == mine:
        yield
        return
    made = [path for path in (place, *place.parents) if not path.exists()]
    try:
        with _locked(Path(folder), wait):
            _held[place] = mine
            try:
                sweep_stale(place)
                yield
            finally:
                del _held[place]
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


@contextmanager
def _locked(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the lock, with a file that says who does; the file goes with it."""
    descriptor = _acquire(folder, wait)
    try:
        try:
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        except OSError as error:
            raise cannot_write(folder / NAME, error) from error
        yield
    finally:
        with suppress(OSError):
            (folder / NAME).unlink()
        os.close(descriptor)


def _acquire(folder: Path, wait: bool) -> int:
    """Return an open file that holds the lock and bears its name: another may have been removed by its holder."""
    path = folder / NAME
    told = False
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # its holder removed the folder in between
        except OSError as error:
            raise cannot_write(folder, error) from error
        try:
            if not _lock(descriptor):
                holder = _holder(descriptor)
                if not wait:
                    raise DataError(f"{folder} is in use by {holder}; wait until it is done, or choose another folder")
                if not told:
                    print(f"waiting for {holder}, which works in {folder}", file=sys.stderr, flush=True)
                    told = True
                time.sleep(_POLL)
            elif _is_named(descriptor, path):
                return descriptor
        except OSError as error:
            os.close(descriptor)
            raise cannot_write(path, error) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Return False if another holds the lock; a file system that has no locks gives it to everyone."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _BUSY
    return True


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
