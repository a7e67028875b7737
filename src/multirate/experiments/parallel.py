"""Work in several processes, among which the machine's cores are split."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_processes(function: Callable[[T], R], items: Sequence[T], jobs: int, *, ordered: bool = True) -> Iterator[R]:
    """Call a function with each item, in processes of their own.

    Args:
        function: of a module, so that a process can find it.
        items: its arguments.
        jobs: processes at a time; each has its share of the cores, at least one.
        ordered: yield results in the order of the items; else as they come.

    Yields:
        What the function returns.
    """
    from joblib import Parallel, delayed

    threads = max(1, (os.cpu_count() or 1) // jobs)
    kind = "generator" if ordered else "generator_unordered"
    parallel = Parallel(n_jobs=jobs, return_as=kind, inner_max_num_threads=threads)
    yield from parallel(delayed(_with_threads)(threads, function, item) for item in items)


def _with_threads(threads: int, function: Callable[[Any], R], item: Any) -> R:
    import torch

    torch.set_num_threads(threads)
    return function(item)
