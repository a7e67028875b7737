"""What changes during a run, as pure functions of the step: the learning rate and the weight of the rate."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from multirate.training.config import TrainConfig


def warmup_steps(config: TrainConfig, steps: int) -> int:
    """Return how many steps the learning rate's warm-up takes: as configured, else 5% of ``steps``, at most 500."""
    chosen = min(500, round(0.05 * steps)) if config.warmup_steps is None else config.warmup_steps
    return min(chosen, steps)


def learning_rate_factor(step: int, steps: int, warmup: int, config: TrainConfig) -> float:
    r"""Linear warm-up, a plateau at 1, then a decay to 0.

    With ``s`` steps done, of ``S``, the factor is :math:`(s + 1) / w` during the warm-up of :math:`w` steps, so that
    the first step already learns. The decay begins at :math:`d = \max(w, (1 - f) S)` with :math:`f` the config's
    ``decay_fraction``; from there the factor is :math:`1 - p` (``linear``) or :math:`\tfrac12 (1 + \cos \pi p)`
    (``cosine``) with :math:`p = (s - d) / (S - d)`. With ``plateau`` it stays 1: see :func:`halvings`.

    Args:
        step: steps done before this one, from 0.
        steps: of the whole run, S.
        warmup: steps of warm-up, at most ``steps``.
        config: of the run.

    Returns:
        A number in ``[0, 1]``; it would reach 0 at ``step == steps``.
    """
    if step < warmup:
        return (step + 1) / warmup
    if config.decay == "plateau":
        return 1.0
    start = max(float(warmup), (1 - config.decay_fraction) * steps)
    if step <= start:
        return 1.0
    progress = (step - start) / (steps - start)
    return 1 - progress if config.decay == "linear" else 0.5 * (1 + math.cos(math.pi * progress))


def halvings(validation: Sequence[Mapping[str, Any]]) -> int:
    """Count the epochs whose validation objective, averaged over the betas, was not below all earlier ones.

    Args:
        validation: a run's lines of validation, of each epoch one a beta, with ``epoch`` and ``objective``.

    Returns:
        How often the step size of ``decay="plateau"`` is halved by now.
    """
    means: dict[int, list[float]] = {}
    for line in validation:
        means.setdefault(line["epoch"], []).append(line["objective"])
    best, count = math.inf, 0
    for values in means.values():
        mean = sum(values) / len(values)
        count += not mean < best
        best = min(best, mean)
    return count


def kl_weight(step: int, steps: int, config: TrainConfig) -> float:
    """Share of beta that multiplies the rate at a step of a plain VAE's training.

    ``constant`` is 1. ``linear`` rises from 0 to 1 over the first ``kl_warmup_fraction`` of the run. ``cyclical`` cuts
    the run into ``kl_cycles`` equal cycles, each a linear schedule of its own (Fu et al. 2019).

    Args:
        step: steps done before this one, from 0.
        steps: of the whole run.
        config: of the run.

    Returns:
        A number in ``[0, 1]``.
    """
    if config.kl_schedule == "constant" or config.kl_warmup_fraction == 0:
        return 1.0
    position = step / steps
    if config.kl_schedule == "cyclical":
        position = position * config.kl_cycles % 1.0
    return min(1.0, position / config.kl_warmup_fraction)
