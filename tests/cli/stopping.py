"""The command line in a process of its own, stopped when something is seen in its folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LIMIT = 240.0
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


@dataclass(frozen=True)
class Ended:
    """How a command ended: its code, what it said on standard error last, and the seconds since it was stopped."""

    code: int
    said: str
    seconds: float


def start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """Start a command in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "multirate", *words],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(seen: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is seen, with the process at work."""
    limit = time.monotonic() + LIMIT
    while not seen():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit
        time.sleep(0.01)


def end(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process that was stopped."""
    started = time.monotonic()
    said = process.communicate(timeout=LIMIT)[1].strip().splitlines()
    return Ended(process.returncode, said[-1] if said else "", time.monotonic() - started)


def stopped(
    *words: str, cwd: Path, number: signal.Signals, seen: Callable[[], object], group: bool = False, times: int = 1
) -> Ended:
    """Run a command, and send it signals as soon as something is seen.

    Args:
        words: after ``multirate``.
        cwd: where it runs.
        number: of the signal.
        seen: asked often.
        group: send it to the processes that it started too, as a terminal does.
        times: so many signals, half a second apart.
    """
    process = start(*words, cwd=cwd)
    try:
        wait_for(seen, process)
        for count in range(times):
            time.sleep(0.5 if count else 0.0)
            if group:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        return end(process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def group_is_gone(process: int, limit: float = 60.0) -> bool:
    """Return whether no process of a group is left, waiting a while."""
    end_of_wait = time.monotonic() + limit
    while time.monotonic() < end_of_wait:
        try:
            os.killpg(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
