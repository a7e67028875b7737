"""Does something in a forked process of its own that may hang, crash or take all memory."""

import contextlib
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

_MEMORY = 12 * 2**30
_CONTEXT = get_context("fork")


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Args:
        answer: what it gave; None if it gave nothing.
        late: whether its time was over.
        status: exit code, or minus the signal.
    """

    answer: Any
    late: bool
    status: int | None


def forked(work: Callable[[], Any], seconds: float) -> Ending:
    """Do something in a process of its own, without its output.

    Args:
        work: to be done; what it returns goes through a pipe.
        seconds: of processor time; six times as many by the clock, and then it is killed with all that it started.
    """
    receiving, sending = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_child, args=(sending, work, int(seconds) + 1))
    process.start()
    sending.close()
    answer, late = None, not receiving.poll(6 * seconds)
    if not late:
        with contextlib.suppress(EOFError):
            answer = receiving.recv()
        process.join(30)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    receiving.close()
    return Ending(answer, late or process.exitcode == -signal.SIGXCPU, process.exitcode)


def quiet() -> None:
    """Leave the session, and send what this process writes nowhere."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def _child(sending: Connection, work: Callable[[], Any], seconds: int) -> None:
    quiet()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    try:
        answer = work()
    except BaseException as error:  # whatever a mutant does ends here
        answer = f"{type(error).__name__} outside of tests"
    sending.send(answer)
    sending.close()
    os._exit(0)
