"""Fig. 4: linear VAEs on their exact optimum, multi-rate and dedicated (Bae et al. 2023)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirate.comparison import compare, signed
from multirate.curve import Curve, point
from multirate.experiments.reproduce.common import (
    DEDICATED,
    MULTI_RATE,
    PAPER_GATES,
    Setting,
    dedicated_arm,
    multirate_arm,
)
from multirate.experiments.reproduce.judging import TOLERANCE
from multirate.experiments.reproduce.recipe import Arm, Claim, Evaluation, Measured, Recipe, Results, Scale
from multirate.experiments.reproduce.shared import (
    CURVE_BETAS,
    FOUR_BETAS,
    LEARNING_RATES,
    PAPER_SEEDS,
    panel_title,
    paper_config,
)
from multirate.experiments.spec import RunSpec
from multirate.training.config import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

OPTIMUM = "exact optimum"
# Nats of D + beta R above the least that any linear VAE can reach: a curve this close lies on it.
ON_THE_OPTIMUM = 0.1

SEEDS: Mapping[Scale, tuple[int, ...]] = {"smoke": (0, 1), "cpu": (0, 1, 2), "paper": PAPER_SEEDS}
_EPOCHS = {"smoke": 10, "cpu": 30}


def setting(scale: Scale) -> Setting:
    """Return the linear VAE of 32 latents on MNIST, on the digits at ``smoke``.

    Args:
        scale: of the recipe.
    """
    data = "digits" if scale == "smoke" else "mnist"
    return Setting(
        panel=panel_title(data, "linear"),
        name=f"{data}-linear",
        spec=RunSpec(data=data, model="linear"),
        config=paper_config(data) if scale == "paper" else TrainConfig(epochs=_EPOCHS[scale]),
        evaluation=Evaluation(betas=_betas(scale)),
        seeds=SEEDS[scale],
        learning_rates=LEARNING_RATES if scale == "paper" else (),
    )


def arms(scale: Scale) -> tuple[Arm, ...]:
    """Return multi-rate models and dedicated ones of equal epochs.

    Below ``paper`` there are dedicated models of the first seed alone: all seeds have one optimum.

    Args:
        scale: of the recipe.
    """
    chosen = setting(scale)
    if scale == "paper":
        return multirate_arm(chosen, response="paper"), dedicated_arm(chosen, _betas(scale))
    return (
        multirate_arm(chosen),
        multirate_arm(chosen, label=PAPER_GATES, response="paper"),
        dedicated_arm(chosen, _betas(scale), seeds=chosen.seeds[:1]),
    )


def numbers(results: Results) -> dict[str, Any]:
    """Hold every run against the closed form, on the data that it was trained on and without sampling noise.

    Args:
        results: of the recipe, with the runs' folders.

    Returns:
        ``optimum``, the curve of the optimum; ``curves``, by label one exact curve a seed; ``excess``, by label and
        seed the objective above the optimum's at each beta, nats.
    """
    from multirate.experiments.building import load_data
    from multirate.experiments.linear import moments
    from multirate.experiments.run import open_run
    from multirate.theory import LinearVAE as LinearTheory

    measured = list(results.arms.values())
    run = open_run(measured[0].folders[0][0])
    source = load_data(run.spec, "train")
    mean, covariance = moments(source)
    theory = LinearTheory(covariance, int(measured[0].curve.details["latents"]), mean=mean)
    betas = sorted({float(beta) for one in measured for beta in one.curve.betas})
    least = [point(beta, float(theory.rate(beta)), float(theory.distortion(beta))) for beta in betas]
    optimum = _curve(OPTIMUM, source.name, len(source), least)
    curves: dict[str, list[dict[str, Any]]] = {}
    excess: dict[str, list[list[float]]] = {}
    for one in measured:
        found = [
            _curve(one.arm.label, source.name, len(source), exact_points(folders, one, mean, covariance))
            for folders in one.folders
        ]
        curves[one.arm.label] = [curve.to_dict() for curve in found]
        excess[one.arm.label] = [excess_of(curve, optimum) for curve in found]
    return {"optimum": optimum.to_dict(), "curves": curves, "excess": excess}


def exact_points(
    folders: Sequence[Path], measured: Measured, mean: "Tensor", covariance: "Tensor"
) -> list[dict[str, float]]:
    """Return the expected rate and distortion of an arm's runs over data of a mean and a covariance.

    Args:
        folders: of the runs of one seed: one multi-rate model, or dedicated ones.
        measured: the arm.
        mean: ``[d]``.
        covariance: ``[d, d]``.
    """
    from multirate.convert import MultiRate
    from multirate.experiments.linear import exact_terms
    from multirate.experiments.run import open_run
    from multirate.fold import fold
    from multirate.models import LinearVAE

    points = []
    for folder in folders:
        run = open_run(folder)
        model = run.model
        for beta in [run.beta] if run.beta is not None else [float(b) for b in measured.curve.betas]:
            plain = fold(model, beta) if isinstance(model, MultiRate) else model
            assert isinstance(plain, LinearVAE)
            points.append(point(beta, *exact_terms(plain, mean, covariance)))
    return sorted(points, key=lambda p: p["beta"])


def excess_of(curve: Curve, optimum: Curve) -> list[float]:
    """Return how far an objective is above the optimum's at each of the curve's betas, nats per example.

    Args:
        curve: exact.
        optimum: with a point at each of its betas.
    """
    return [float(p["objective"] - optimum.at(p["beta"])["objective"]) for p in curve.points]


def figure(results: Results) -> "Figure":
    """Draw the exact curves and their optimum.

    Args:
        results: of the recipe, with its numbers.
    """
    from multirate.report.reproduction import Panel, Series, rate_distortion_panels

    panel = results.panels[0]
    series = tuple(
        Series(label, tuple(_curves(results, label)), measured.arm.kind)
        for label, measured in results.of_panel(panel).items()
    )
    optimum = Curve.from_dict(results.numbers["optimum"])
    title = f"{panel}, training data, exact expectations"
    return rate_distortion_panels([Panel(title, series, reference=optimum)])


def claims(results: Results) -> tuple[Claim, ...]:
    """Judge that multi-rate models lie on the optimum, and on the dedicated models.

    Args:
        results: of the recipe, with its numbers.
    """
    labels = [label for label in (MULTI_RATE, PAPER_GATES, DEDICATED) if label in results.numbers["excess"]]
    found = [_on_the_optimum(results, label) for label in labels]
    baseline = _curves(results, DEDICATED)[0]
    for label in labels[:-1]:
        gaps = [compare(curve, baseline).worst for curve in _curves(results, label)]
        worst = max(gaps, key=lambda gap: gap.gap)
        text = f"{label} on top of the dedicated linear β-VAEs (worst gap in D + βR at most {TOLERANCE:g} nat)"
        ours = f"worst {signed(worst.gap)} nats at β = {worst.beta:.3g}, of {_seeds(len(gaps))}"
        found.append(Claim(text, "on top", ours, worst.gap <= TOLERANCE))
    return tuple(found)


def _on_the_optimum(results: Results, label: str) -> Claim:
    rows = results.numbers["excess"][label]
    curves = _curves(results, label)
    worst, beta = max(
        (value, p["beta"])
        for row, curve in zip(rows, curves, strict=True)
        for value, p in zip(row, curve.points, strict=True)
    )
    text = f"{label} on the exact optimum of linear VAEs (excess in D + βR at most {ON_THE_OPTIMUM:g} nats)"
    paper = "exact for every β (Theorem 1)" if label != DEDICATED else "optimal"
    ours = f"worst {signed(worst)} nats at β = {beta:.3g}, of {_seeds(len(rows))}"
    return Claim(text, paper, ours, worst <= ON_THE_OPTIMUM)


def _curves(results: Results, label: str) -> list[Curve]:
    return [Curve.from_dict(content) for content in results.numbers["curves"][label]]


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


def _betas(scale: Scale) -> tuple[float, ...]:
    return FOUR_BETAS if scale == "smoke" else CURVE_BETAS


def _curve(label: str, data: str, examples: int, points: list[dict[str, float]]) -> Curve:
    details = {"likelihood": "gaussian", "expectation": "closed form"}
    return Curve(label, "linear", data, "train", examples, tuple(points), details=details)


RECIPE = Recipe(
    name="fig4",
    title="Linear VAEs on their exact optimum",
    arms=arms,
    figure=figure,
    claims=claims,
    numbers=numbers,
    budget={
        "smoke": "scikit-learn's digits, two-layer linear VAE of 32 latents, 10 epochs each, 4 betas, seeds 0 and 1 "
        "(dedicated models: seed 0)",
        "cpu": "static binary MNIST, two-layer linear VAE of 32 latents, 30 epochs each, 10 betas, one step size, "
        "seeds 0, 1 and 2 (dedicated models: seed 0)",
        "paper": "static binary MNIST, two-layer linear VAE of 32 latents, 200 epochs each, 10 betas, step sizes from "
        "a grid of 5, 3 seeds",
    },
)
