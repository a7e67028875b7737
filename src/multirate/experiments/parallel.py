"""Work in several processes, among which the machine's cores are split."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from multirate.training.interrupt import deferred_interrupt, wanted_while

# Why there is no result of an item whose process ended before it was done.
KILLED = "a process was killed, most likely for want of memory; use fewer --jobs"

T = TypeVar("T")
R = TypeVar("R")


def in_processes(function: Callable[[T], R], items: Sequence[T], jobs: int, *, ordered: bool = True) -> Iterator[R]:
    """Call a function with each item, in processes of their own.

    On the first Ctrl-C or SIGTERM each process is asked to stop, by :class:`multirate.errors.Terminated` where it may
    be stopped, and waited for; a second one kills them. When this process is killed, they stop too.

    Args:
        function: of a module, so that a process can find it.
        items: its arguments.
        jobs: processes at a time; each has its share of the cores, at least one.
        ordered: yield results in the order of the items; else as they come.

    Yields:
        What the function returns.

    Raises:
        KeyboardInterrupt: on Ctrl-C, once all have stopped; Terminated on SIGTERM.
        BrokenExecutor: if one of the processes was killed.
    """
    from joblib import Parallel, delayed

    threads = max(1, (os.cpu_count() or 1) // jobs)
    kind = "generator" if ordered else "generator_unordered"
    descriptor, name = tempfile.mkstemp(prefix="multirate-")
    os.close(descriptor)
    token = Path(name)  # as long as it is there, the work is wanted
    try:
        with deferred_interrupt(lambda: token.unlink(missing_ok=True)) as stop_if_asked:
            parallel = Parallel(n_jobs=jobs, return_as=kind, inner_max_num_threads=threads)
            work = (delayed(_in_worker)(threads, token, os.getpid(), function, item) for item in items)
            for done in parallel(work):
                if done is not None:
                    yield done[0]
            stop_if_asked()
    finally:
        token.unlink(missing_ok=True)


def _in_worker(threads: int, token: Path, parent: int, function: Callable[[Any], R], item: Any) -> tuple[R] | None:
    """Return what the function does, in a tuple; None if the work was not wanted to its end."""
    import torch

    if os.getpid() == parent:  # joblib was told to work without processes
        return (function(item),) if token.exists() else None
    torch.set_num_threads(threads)

    def wanted() -> bool:
        return token.exists() and os.getppid() == parent

    result = None
    try:
        with wanted_while(wanted):
            if wanted():
                result = (function(item),)
    except KeyboardInterrupt:
        result = None
    if os.getppid() != parent:  # killed: nobody is left to work for
        token.unlink(missing_ok=True)
        os._exit(1)
    return result
