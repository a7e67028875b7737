"""The best of several candidates: the least mean objective D + beta R on the validation split."""

import dataclasses
import math
from collections.abc import Mapping

from multirate.curve import Curve
from multirate.errors import TrainingError
from multirate.experiments.reproduce.recipe import Choice, Evaluation, Member


def on_validation(evaluation: Evaluation) -> Evaluation:
    """Return how a candidate is measured: as later, but on the validation split, and rate and distortion alone.

    Args:
        evaluation: of the one that is chosen.
    """
    return dataclasses.replace(evaluation, split="validation", measures=())


def score(curve: Curve) -> float:
    """Return the mean of D + beta R over the betas of a curve, nats per example.

    Args:
        curve: of a candidate, on the validation split.
    """
    return math.fsum(curve.values("objective")) / len(curve)


def best(choice: Choice, scores: Mapping[str, float]) -> Member:
    """Return the candidate of least score; of equal ones the first.

    Args:
        choice: the candidates.
        scores: by name; infinity for one that diverged.

    Raises:
        TrainingError: if all of them diverged.
    """
    chosen = min(choice, key=lambda member: scores[member.name])
    if math.isinf(scores[chosen.name]):
        names = ", ".join(member.name for member in choice)
        raise TrainingError(f"every candidate diverged: {names}; give the recipe smaller learning rates")
    return chosen
