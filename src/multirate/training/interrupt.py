"""Ctrl-C (SIGINT) and SIGTERM as exceptions, which wait for the end of a step where one is under way."""

import _thread
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from multirate.errors import Terminated

_KINDS: dict[int, type[KeyboardInterrupt]] = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
# Seconds between two looks at whether a worker's work is still wanted.
_POLL = 0.2
# Set by a signal of this process, so that a worker is not asked twice.
_signalled = threading.Event()


class _Handler:
    """What a signal does here: it raises, or the first is noted and the second raises."""

    def __init__(self, first: Callable[[], None] | None = None) -> None:
        self.first = first
        self.noted: type[KeyboardInterrupt] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        again, self.noted = self.noted is not None, _KINDS[number]
        _signalled.set()
        if again or self.first is None:
            raise self.noted
        self.first()


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise :class:`multirate.errors.Terminated`, as Ctrl-C raises KeyboardInterrupt, within a block."""
    with _handled(_Handler(), (signal.SIGTERM,)):
        yield


def _alone(kind: type[KeyboardInterrupt] | None) -> type[KeyboardInterrupt] | None:
    return kind


@contextmanager
def deferred_interrupt(
    first: Callable[[], None] = lambda: None,
    agree: Callable[[type[KeyboardInterrupt] | None], type[KeyboardInterrupt] | None] = _alone,
) -> Iterator[Callable[[], None]]:
    """Hold back the first Ctrl-C or SIGTERM, so that the caller can stop where its state is whole; a second one raises.

    Signals that are ignored stay so, and a SIGTERM that somebody else handles is left to them. Outside the main thread,
    where signals cannot be handled, nothing changes.

    Args:
        first: called when the first signal comes.
        agree: given what has come to this process, or None, it returns what has come to any of several.

    Yields:
        A function that raises KeyboardInterrupt, or its subclass Terminated, if a signal has come.
    """
    handler = _Handler(first)

    def check() -> None:
        kind = agree(handler.noted)
        if kind is not None:
            raise kind

    with _handled(handler, _KINDS):
        yield check


@contextmanager
def wanted_while(wanted: Callable[[], bool]) -> Iterator[None]:
    """Raise Terminated in the main thread once this worker's work is not wanted any more; Ctrl-C is the parent's.

    Args:
        wanted: asked every fifth of a second, in another thread.
    """
    _signalled.clear()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_POLL):
            if not wanted():
                if not _signalled.is_set():
                    _thread.interrupt_main(signal.SIGTERM)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    with _handled(signal.SIG_IGN, (signal.SIGINT,)), _handled(_Handler(), (signal.SIGTERM,)):
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


@contextmanager
def _handled(handler: Any, numbers: Iterable[int]) -> Iterator[None]:
    """Install a handler, for those of the signals that are not ignored or somebody else's."""
    free = {}
    if threading.current_thread() is threading.main_thread():
        free = {number: old for number in numbers if _is_free(number, old := signal.getsignal(number))}
    try:
        for number in free:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in free.items():
            signal.signal(number, old)


def _is_free(number: int, handler: Any) -> bool:
    if number == signal.SIGINT:
        return handler not in (signal.SIG_IGN, None)
    return handler == signal.SIG_DFL or isinstance(handler, _Handler)
