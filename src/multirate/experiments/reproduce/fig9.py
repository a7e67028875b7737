"""Fig. 9: other gates and hypernetworks on Omniglot (Bae et al. 2023, appendix D)."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from multirate.comparison import signed
from multirate.experiments.reproduce.common import film_arm, multirate_arm
from multirate.experiments.reproduce.drawing import panels_of
from multirate.experiments.reproduce.judging import TOLERANCE, mean_curve
from multirate.experiments.reproduce.recipe import Arm, Claim, Recipe, Results, Scale
from multirate.experiments.reproduce.shared import image_setting, multirate_arms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = "paper's gates"
SIGMOID = "sigmoid everywhere"
FILM = "FiLM"
MLP = "MLP hypernetwork"
DEFAULT = "default of this library"
# What the paper compares.
CHOICES = (PAPER, SIGMOID, FILM, MLP)

# Nats of D + beta R between the best and the worst choice at a beta, to end up close.
CLOSE = 2.0
# The paper's choices draw beta log-uniformly from its range and no further, as its own gates do.
_UNIFORM = {"beta_skew": 1.0, "beta_margin": 1.0}


def arms(scale: Scale) -> tuple[Arm, ...]:
    """Return one multi-rate model for each choice, in one panel; at ``paper`` the paper's alone.

    The paper's gates, and this library's, are the runs of Fig. 5.

    Args:
        scale: of the recipe.
    """
    setting = image_setting("omniglot", "resnet", scale)
    known = multirate_arms(setting, scale)
    others = (
        multirate_arm(setting, label=SIGMOID, response="sigmoid", arm="sigmoid", spec=_UNIFORM),
        film_arm(setting, label=FILM),
        multirate_arm(setting, label=MLP, response="mlp", arm="mlp", spec=_UNIFORM),
    )
    ours = () if scale == "paper" else (dataclasses.replace(known[0], label=DEFAULT),)
    return (dataclasses.replace(known[-1], label=PAPER), *others, *ours)


def figure(results: Results) -> "Figure":
    """Draw the rate-distortion curves of all choices in one panel.

    Args:
        results: of the recipe.
    """
    from multirate.report.reproduction_measures import mixed_panels

    return mixed_panels(panels_of(results))


def objectives(results: Results) -> dict[str, dict[float, float]]:
    """Return D + beta R of each choice at each beta, means over seeds.

    Args:
        results: of the recipe.
    """
    (panel,) = results.panels
    curves = {label: mean_curve(measured) for label, measured in results.of_panel(panel).items()}
    betas = [float(beta) for beta in next(iter(curves.values())).betas]
    return {label: {beta: curve.at(beta)["objective"] for beta in betas} for label, curve in curves.items()}


def claims(results: Results) -> tuple[Claim, ...]:
    """Judge that the paper's choices end up close, and what this library's own does at this budget.

    Args:
        results: of the recipe.
    """
    table = objectives(results)
    (panel,) = results.panels
    spreads = {beta: _spread(table, beta) for beta in table[PAPER]}
    worst = max(spreads, key=lambda beta: spreads[beta])
    at_worst = sorted(CHOICES, key=lambda label: table[label][worst])
    found = [
        Claim(
            f"{panel}: the choices of gates and hypernetwork end up close (best and worst at most {CLOSE:g} nats of "
            "D + βR apart at each β)",
            "close after long training",
            f"at most {spreads[worst]:.2f} nats apart, at β = {worst:.3g}: {at_worst[0]} best, {at_worst[-1]} worst; "
            f"mean {np.mean(list(spreads.values())):.2f}",
            spreads[worst] <= CLOSE,
        )
    ]
    if DEFAULT in table:
        behind = _mean_gap(table, PAPER, DEFAULT)
        text = f"{panel}: after short training the paper's gates fall behind the default of this library"
        rule = f"mean gap in D + βR above {TOLERANCE:g} nats"
        found.append(Claim(f"{text} ({rule})", "not measured", f"{signed(behind)} nats", behind > TOLERANCE))
        gaps = {label: _mean_gap(table, DEFAULT, label) for label in CHOICES}
        ours = ", ".join(f"{signed(gap)} beside {label}" for label, gap in gaps.items())
        text = f"{panel}: the default of this library is the best choice at this budget (least mean D + βR)"
        found.append(Claim(text, "not measured", f"{ours} (nats)", all(gap < 0 for gap in gaps.values())))
    return tuple(found)


def numbers(results: Results) -> dict[str, Any]:
    """Return D + beta R of each choice, and how far the paper's are apart at each beta.

    Args:
        results: of the recipe.
    """
    table = objectives(results)
    return {
        "objective": {label: {f"{beta:g}": value for beta, value in row.items()} for label, row in table.items()},
        "spread": {f"{beta:g}": _spread(table, beta) for beta in table[PAPER]},
    }


def _spread(table: dict[str, dict[float, float]], beta: float) -> float:
    values = [table[label][beta] for label in CHOICES]
    return max(values) - min(values)


def _mean_gap(table: dict[str, dict[float, float]], one: str, other: str) -> float:
    return float(np.mean([table[one][beta] - table[other][beta] for beta in table[other]]))


RECIPE = Recipe(
    name="fig9",
    title="Other gates and hypernetworks",
    arms=arms,
    figure=figure,
    claims=claims,
    numbers=numbers,
    budget={
        "smoke": "scikit-learn's digits enlarged to 28x28, ResNet 8 channels wide, 2 epochs each, seed 0",
        "cpu": "Omniglot, ResNet 32 channels wide where the paper's has 128, 8 epochs each, one step size, seed 0",
        "paper": "Omniglot, ResNet, 200 epochs, step sizes from a grid of 5, 3 seeds",
    },
)
