"""Names of training runs: equal names if and only if equal content, so that recipes share runs; and betas on a grid."""

from collections.abc import Iterable

import numpy as np

from multirate.errors import UsageError
from multirate.experiments.reproduce.recipe import Arm, Member


def member_name(setting: str, arm: str, *, epochs: int, seed: int, learning_rate: float | None = None) -> str:
    """Return the name of a run and of its folder, such as ``mnist-resnet-w32-beta0.1-4ep-s0``.

    Args:
        setting: data, model and width, as ``mnist-resnet-w32``.
        arm: what is trained there: ``multirate``, ``multirate-paper``, ``beta0.1``, ``anneal-beta0.1``.
        epochs: of training.
        seed: of training.
        learning_rate: one of a grid; None where there is no choice.
    """
    step_size = "" if learning_rate is None else f"-lr{learning_rate:g}"
    return f"{setting}-{arm}-{epochs}ep{step_size}-s{seed}"


def log_spaced(low: float, high: float, count: int) -> tuple[float, ...]:
    """Return betas evenly spaced in their logarithm, both ends included, to six digits: 0.01, 0.0215443, ...

    Args:
        low: the first.
        high: the last.
        count: how many, at least 2.
    """
    return tuple(float(f"{beta:.6g}") for beta in np.geomspace(low, high, count))


def members_of(arms: Iterable[Arm]) -> dict[str, Member]:
    """Return the runs of several arms by name, each once, in the order in which they first come.

    Args:
        arms: of one recipe or of several.

    Raises:
        UsageError: if two runs that differ have one name.
    """
    found: dict[str, Member] = {}
    for member in (member for arm in arms for seed in arm.seeds for choice in seed for member in choice):
        if found.setdefault(member.name, member) != member:
            raise UsageError(f"two runs that differ have the name {member.name}; give one of them another arm's name")
    return found
