"""Randomness that is a function of the seed and the step alone, and that leaves the global generator as it was.

Every draw of a run is keyed by (seed, purpose, step), never by how many draws came before. A run that is killed and
resumed therefore repeats itself bit for bit, and two betas can be measured with the same noise.
"""

import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from multirate.errors import UsageError

# Of the thread whose seed the global generator has.
_alone = threading.RLock()
if hasattr(os, "register_at_fork"):  # a process that is forked meanwhile would wait for a thread that it has not
    os.register_at_fork(before=_alone.acquire, after_in_parent=_alone.release, after_in_child=_alone.release)


def derive_seed(*parts: int | str) -> int:
    """Mix integers and words into one well-spread 63-bit seed.

    Args:
        parts: what the stream is for, for instance ``(seed, "noise", step)``.

    Returns:
        An integer in ``[0, 2**63)``; the same parts give the same integer on every machine.

    Raises:
        UsageError: if an integer is negative.
    """
    if any(isinstance(part, int) and part < 0 for part in parts):
        raise UsageError(f"a seed must be at least 0; got {min(part for part in parts if isinstance(part, int))}")
    words = [len(parts), *(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in parts)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(*parts: int | str) -> torch.Generator:
    """Return a fresh CPU generator seeded with :func:`derive_seed` of ``parts``."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def seed_globally(*parts: int | str) -> None:
    """Seed torch's global generators with :func:`derive_seed` of ``parts``.

    It is ``torch.manual_seed``, which without any accelerator spends its time on notes for one that might come.
    """
    seed = derive_seed(*parts)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave torch's global generators, of the CPU and of the current CUDA device, as they were on entry."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        yield


@contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Run a block under a seed of its own; models that draw from the global generator become reproducible.

    The generator is one for all threads: such blocks wait for each other, and draws outside them do not.

    Args:
        parts: passed to :func:`derive_seed`.
    """
    with _alone, preserved_rng():
        seed_globally(*parts)
        yield
