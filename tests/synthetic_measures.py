"""Measured arms with further numbers, made up for tests of recipes: what comes out of them is known by hand."""

import dataclasses
from collections.abc import Callable

from multirate.curve import Curve, point
from multirate.experiments.reproduce.recipe import Arm, Recipe, Results, Scale
from synthetic_arms import measured, smooth

Numbers = Callable[[Arm, float], dict[str, float]]


def measured_results(
    recipe: Recipe, scale: Scale, numbers: Numbers, *, more: Callable[[Arm, float], float] = lambda arm, beta: 0.0
) -> Results:
    """Measure every arm of a recipe but compute no numbers of the recipe.

    Args:
        recipe: whose arms are made up.
        scale: of the recipe.
        numbers: of a point, beside rate and distortion.
        more: nats of distortion above a convex curve that all arms share.
    """
    arms = {}
    for arm in recipe.arms(scale):
        betas = tuple(beta for choice in arm.seeds[0] for beta in choice[0].evaluation.betas)
        terms = smooth(betas)
        points = tuple(point(b, r, d + more(arm, b), **numbers(arm, b)) for b, (r, d) in sorted(terms.items()))
        spec = arm.seeds[0][0][0].spec
        details = {"likelihood": spec.likelihood or "bernoulli"}
        made = Curve(arm.label, spec.model, spec.data, "test", 1000, points, details=details)
        arms[arm.panel, arm.label] = measured(arm, *[made] * len(arm.seeds))
    return Results(scale, arms)


def with_numbers(recipe: Recipe, results: Results) -> Results:
    assert recipe.numbers is not None
    return dataclasses.replace(results, numbers=recipe.numbers(results))
