"""Judges one reading of one file: what it raised or returned, how long it took, what memory, what it touched."""

import ctypes
import gc
import os
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import multirate
from multirate.errors import MultirateError

# Of the processor; and on the clock, which waiting for a pipe or for other processes takes too.
SECONDS = 5.0
PATIENCE = 20.0
BYTES = 1 << 30
LONGEST_MESSAGE = 2000

_TRIM = 1 << 26

_SOURCE = str(Path(multirate.__file__).parent)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate"}
# What no reader of data may do at all.
_FORBIDDEN = {"pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect"}


class HangError(BaseException):
    """Raised in a reader that takes too long; no reader catches it."""


@dataclass(frozen=True)
class Verdict:
    """What one reading came to.

    Args:
        outcome: ``read``, or the name of the documented error, or of the fault.
        fault: what is wrong with it; empty if nothing is.
        where: the innermost line of multirate in the traceback of a fault.
        seconds: of the processor that it took.
        memory: bytes that it needed at most, above what the process had before.
        is_new: whether a line of multirate was reached for the first time.
    """

    outcome: str
    fault: str
    where: str
    seconds: float
    memory: int
    is_new: bool


class Oracle:
    """Watches this process; it belongs in a forked one, for what it sets up cannot be taken back.

    Args:
        target: the only folder, besides ``cache``, in which a reader may write.
        cache: where readers keep what they prepared.
        outside: a folder that no reader may change.
    """

    def __init__(self, target: Path, cache: Path, outside: Path) -> None:
        self._roots = tuple(str(folder) + os.sep for folder in (target.resolve(), cache.resolve()))
        self._outside = outside
        self._before = _listing(outside)
        self._seen: set[tuple[CodeType, int]] = set()
        self._grown = False
        self._events: list[str] = []
        self._watching = False
        self._resident = _status("VmRSS")
        resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + 2 * BYTES, resource.RLIM_INFINITY))
        signal.signal(signal.SIGALRM, _too_long)
        signal.signal(signal.SIGPROF, _too_long)
        sys.addaudithook(self._audit)

    def judge(self, read: Callable[[Path], Any], path: Path, *, strict: bool, traced: bool = True) -> Verdict:
        """Have a file read, and say what came of it.

        Args:
            read: the reader; raises ``AssertionError`` itself if what it read is not valid.
            path: the file, which errors must name.
            strict: whether warnings are errors.
            traced: whether to notice lines that are reached for the first time.
        """
        self._grown, self._events, error = False, [], None
        Path("/proc/self/clear_refs").write_text("5")
        spent = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error" if strict else "ignore")
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                signal.setitimer(signal.ITIMER_REAL, PATIENCE)
                self._watching = True
                sys.settrace(self._trace if traced else None)
                read(path)
        except (Exception, HangError) as caught:
            error = caught
        finally:
            sys.settrace(None)
            self._watching = False
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
        spent = time.process_time() - spent
        outcome, fault = _outcome(error, path)
        if self._events:
            outcome, fault = "forbidden", "; ".join(self._events[:3])
        elif _listing(self._outside) != self._before:
            outcome, fault = (
                "outside",
                f"it changed {self._outside}: {sorted(set(_listing(self._outside)) - set(self._before))}",
            )
        elif not fault and spent > SECONDS:
            outcome, fault = "hang", f"it took {spent:.1f} s of the processor"
        memory = max(0, _status("VmHWM") - self._resident)
        if not fault and memory > BYTES:
            outcome, fault = "memory", f"it needed {memory:,} bytes"
        where = _place(error) if fault else ""
        if memory > _TRIM:  # else it would be counted with the next file
            error = None
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
        return Verdict(outcome, fault, where, spent, memory, self._grown)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(_SOURCE) else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and (frame.f_code, frame.f_lineno) not in self._seen:
            self._seen.add((frame.f_code, frame.f_lineno))
            self._grown = True
        return self._line

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event in _FORBIDDEN:
            self._events.append(f"{event} {arguments!r:.200}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            self._check(event, arguments[0])
        elif event in _CHANGES:
            self._check(event, arguments[1] if event in ("os.symlink", "os.link", "os.rename") else arguments[0])

    def _check(self, event: str, path: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            found = os.path.realpath(os.fsdecode(path))
            if not (found + os.sep).startswith(self._roots) and found != os.devnull:
                self._events.append(f"{event} {found}")


def _too_long(*_: object) -> None:
    raise HangError(f"it took over {SECONDS:g} s of the processor, or {PATIENCE:g} s")


def _outcome(error: BaseException | None, path: Path) -> tuple[str, str]:
    """Return the name of an outcome, and what is wrong with it."""
    if error is None:
        return "read", ""
    name = type(error).__name__
    if isinstance(error, HangError):
        return "hang", str(error)
    if isinstance(error, AssertionError):
        return "accepted", f"it was read, but {error}"
    if not isinstance(error, MultirateError):
        return name, f"{name}: {str(error)[:300]!r}"
    message = str(error)
    if not message.isprintable() or len(message) > LONGEST_MESSAGE:
        return "message", f"{name} of {len(message):,} characters that is no printable line: {message[:300]!r}"
    if str(path) not in message and str(path.parent) not in message:
        return "message", f"{name} does not name the file: {message[:300]!r}"
    return name, ""


def _place(error: BaseException | None) -> str:
    frames = traceback.extract_tb(error.__traceback__) if error else []
    inner = [frame for frame in frames if frame.filename.startswith(_SOURCE)]
    return f"{os.path.relpath(inner[-1].filename, _SOURCE)}:{inner[-1].lineno}" if inner else ""


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    with os.scandir(folder) as entries:
        states = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
    return {name: (state.st_size, state.st_mtime_ns) for name, state in states.items()}
