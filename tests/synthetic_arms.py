"""Curves and measured arms made up for tests of recipes: what comes out of them is known by hand."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from multirate.curve import Curve, point
from multirate.experiments.reproduce.recipe import Arm, Measured, Recipe, Results, Scale

# Rate and distortion at 0.01, 0.1, 1 and 10: a multi-rate ResNet on MNIST and four dedicated ones (published code, 8
# epochs); the former is behind by 5.131, 3.14, 1.2 and 5.2 nats.
MULTI_RATE = {0.01: (112.2, 47.5), 0.1: (76.1, 48.9), 1.0: (30.2, 65.3), 10.0: (4.7, 141.6)}
DEDICATED = {0.01: (129.1, 42.2), 0.1: (81.7, 45.2), 1.0: (25.6, 68.7), 10.0: (3.5, 148.4)}


def curve(values: Mapping[float, tuple[float, float]], label: str = "curve", **details: Any) -> Curve:
    points = tuple(point(beta, *terms) for beta, terms in sorted(values.items()))
    return Curve(label, "resnet", "mnist", "test", 10_000, points, details={"likelihood": "bernoulli", **details})


def smooth(betas: tuple[float, ...], more: float = 0.0) -> dict[float, tuple[float, float]]:
    """Return a falling, convex curve, whose distortion is ``more`` nats higher than at ``more=0``."""
    return {beta: (30 * beta**-0.45, 60 + more + 24.5 * beta**0.55) for beta in betas}


@functools.cache
def arms_of(recipe: ModuleType, scale: Scale) -> tuple[Arm, ...]:
    """Return the arms of a recipe's module, made once: those of the paper are thousands of runs."""
    found: tuple[Arm, ...] = recipe.arms(scale)
    return found


def measured(arm: Arm, *curves: Curve) -> Measured:
    return Measured(arm, curves, tuple(() for _ in curves))


def results(recipe: Recipe, scale: Scale, more: Callable[[Arm], float] = lambda arm: 0.0) -> Results:
    """Measure every arm of a recipe on :func:`smooth`, with as many nats more as ``more`` says; then its numbers."""
    arms = {}
    for arm in recipe.arms(scale):
        first = arm.seeds[0][0][0]
        # A sigma-VAE finds its beta; here it is 0.1.
        betas = tuple(beta for choice in arm.seeds[0] for beta in choice[0].evaluation.betas or (0.1,))
        likelihood = {} if first.spec.likelihood is None else {"likelihood": first.spec.likelihood}
        details = {"parameters": 1_000_000, "seconds": 60.0, "cpu_seconds": 50.0, **likelihood}
        if arm.kind == "multi-rate":
            details["response_parameters"] = 2_000
        made = [curve(smooth(betas, more(arm)), arm.label, **details) for _ in arm.seeds]
        arms[arm.panel, arm.label] = measured(arm, *(dataclasses.replace(c, data=first.spec.data) for c in made))
    found = Results(scale, arms)
    return found if recipe.numbers is None else dataclasses.replace(found, numbers=recipe.numbers(found))
