"""Fig. 1: what a curve costs, and the curve: one multi-rate VAE against families of beta-VAEs (Bae et al. 2023)."""

import dataclasses
from typing import TYPE_CHECKING, Any

from multirate.comparison import signed
from multirate.errors import BetaError
from multirate.experiments.reproduce.common import (
    ANNEALED,
    DEDICATED,
    FILM,
    MULTI_RATE,
    PAPER_GATES,
    SIGMA,
    WARM_STARTED,
    annealed_arm,
    dedicated_arm,
    film_arm,
    sigma_arm,
    warm_started_arm,
)
from multirate.experiments.reproduce.drawing import panels_of
from multirate.experiments.reproduce.judging import (
    TOLERANCE,
    agreement_claim,
    gap_claim,
    gap_numbers,
    mean_curve,
    one_of,
    share_claim,
    total_cost,
)
from multirate.experiments.reproduce.recipe import Arm, Claim, Measured, Recipe, Results, Scale
from multirate.experiments.reproduce.shared import DEDICATED_BETAS, EIGHT_BETAS, image_setting, multirate_arms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from multirate.report.reproduction import Bars

EQUAL_COMPUTE = "equal total compute"
FAMILIES = (DEDICATED, ANNEALED, WARM_STARTED)


def betas(scale: Scale) -> tuple[float, ...]:
    """Return the betas of the dedicated models: eight at ``paper``.

    Args:
        scale: of the recipe.
    """
    return EIGHT_BETAS if scale == "paper" else DEDICATED_BETAS[scale]


def arms(scale: Scale) -> tuple[Arm, ...]:
    """Return three panels: equal epochs a model, equal epochs in all, and squared error for the sigma-VAE.

    A multi-rate model and N dedicated ones of an N-th of its epochs see as many examples; that is the cheaper of the
    two ways to make total compute equal, and takes nothing from the multi-rate model.

    Args:
        scale: of the recipe.
    """
    setting = image_setting("mnist", "resnet", scale)
    dedicated_betas = betas(scale)
    single = (*multirate_arms(setting, scale), film_arm(setting))
    less = max(1, setting.config.epochs // len(dedicated_betas))
    short = (
        dedicated_arm(setting, dedicated_betas, epochs=less),
        annealed_arm(setting, dedicated_betas, epochs=less),
        warm_started_arm(setting, dedicated_betas, epochs=less),
    )
    squared = image_setting("mnist", "resnet", scale, squared_error=True)
    compute = f"{setting.panel}, {EQUAL_COMPUTE}"
    return (
        *single,
        dedicated_arm(setting, dedicated_betas),
        annealed_arm(setting, dedicated_betas),
        warm_started_arm(setting, dedicated_betas),
        *(dataclasses.replace(arm, panel=compute) for arm in (*single, *short)),
        multirate_arms(squared, scale)[0],
        sigma_arm(squared),
    )


def figure(results: Results) -> "Figure":
    """Draw parameters and training time of a whole curve on the left, the panels beside.

    Args:
        results: of the recipe.
    """
    from multirate.report.reproduction import cost_and_curves

    first = results.of_panel(results.panels[0])
    bars = [_bars(first, *about) for about in (("parameters", "parameters in all", 1e6, "M"), _TIME)]
    return cost_and_curves([group for group in bars if group is not None], panels_of(results))


def claims(results: Results) -> tuple[Claim, ...]:
    """Judge the curve against each family, and its costs against those of one dedicated model.

    Args:
        results: of the recipe.
    """
    equal, compute, squared = (results.of_panel(panel) for panel in results.panels)
    ours = equal[MULTI_RATE]
    found = [
        gap_claim(f"{label} on or below {_epochs_of(family)}", "on or below", equal[label], equal[family])
        for label in (MULTI_RATE, PAPER_GATES)
        for family in FAMILIES
        if label in equal
    ]
    found += [
        gap_claim(f"{MULTI_RATE} below {family}, equal total compute", "not compared", ours, compute[family], at_most=0)
        for family in FAMILIES
    ]
    annealing = "KL annealing makes no great difference to β-VAEs"
    found.append(agreement_claim(annealing, "curves lie together", equal[ANNEALED], equal[DEDICATED]))
    film = f"{MULTI_RATE} on or below the FiLM-conditioned VAE"
    found.append(gap_claim(film, "close after long training", ours, equal[FILM]))
    found.append(sigma_claim(squared[MULTI_RATE], squared[SIGMA]))
    return (*found, *_cost_claims(equal))


def _epochs_of(family: str) -> str:
    """Return a family with what its models have been trained for: of a chain the last one for longest."""
    longer = ", each after the epochs of those before it" if family == WARM_STARTED else ""
    return f"{family}, equal epochs a model{longer}"


def sigma_claim(ours: Measured, sigma: Measured) -> Claim:
    r"""Judge the multi-rate curve at the beta that the sigma-VAE found, :math:`2 \sigma^2` beside a squared error.

    With the best variance a sigma-VAE is a beta-VAE of that beta (Rybkin et al. 2021;
    :func:`multirate.objectives.optimal_beta`), and its point is measured there.

    Args:
        ours: multi-rate, with squared error.
        sigma: one point, with squared error.
    """
    text = f"{MULTI_RATE} on or below the {SIGMA} at the β that it found"
    text += f" (gap in D + βR at most {TOLERANCE:g} of squared error)"
    found, curve = mean_curve(sigma).points[0], mean_curve(ours)
    beta = found["beta"]
    try:
        reached = curve.at(beta)
    except BetaError:
        low, high = curve.betas[0], curve.betas[-1]
        return Claim(text, "not compared", f"β = {beta:.3g} is outside {low:g} to {high:g}", False)
    gap = reached["objective"] - found["objective"]
    return Claim(text, "not compared", f"{signed(gap)} at β = {beta:.3g}", gap <= TOLERANCE)


def numbers(results: Results) -> dict[str, Any]:
    """Return every gap, and what each arm costs.

    Args:
        results: of the recipe.
    """
    gaps = {
        label: {family: gap_numbers(results, label, family) for family in (*FAMILIES, FILM)}
        for label in (MULTI_RATE, PAPER_GATES)
    }
    costs = {
        panel: {
            label: {key: total_cost(measured, key) for key in ("parameters", "seconds", "cpu_seconds")}
            | {"budget": measured.arm.budget}
            for label, measured in results.of_panel(panel).items()
        }
        for panel in results.panels
    }
    return {"gaps": gaps, "costs": costs}


_TIME = ("cpu_seconds", "processor time in all", 60.0, "min")


def _bars(measured: dict[str, Measured], key: str, title: str, unit: float, name: str) -> "Bars | None":
    """Return bars of one model a label for a whole curve; None if a cost was not recorded."""
    from multirate.report.reproduction import Bars

    found = {label: total_cost(measured[label], key) for label in (MULTI_RATE, *FAMILIES)}
    values = [value / unit for value in found.values() if value is not None]
    if len(values) < len(found):
        return None
    return Bars(f"{title} ({name})", tuple(found), tuple(values), tuple(f"{value:.3g}" for value in values))


def _cost_claims(equal: dict[str, Measured]) -> tuple[Claim, ...]:
    dedicated = equal[DEDICATED]
    models = len(dedicated.curve)
    found = []
    for label in (MULTI_RATE, PAPER_GATES):
        if label not in equal:
            continue
        for key, text, paper in (
            ("parameters", "parameters", "1.881 M and 3,072 more: +0.16%"),
            ("cpu_seconds", "processor seconds of training", "5,040 against 4,836: +4.2%"),
        ):
            one = one_of(total_cost(dedicated, key), models)
            claim = share_claim(
                f"{text} of {label} beside those of one β-VAE", paper, total_cost(equal[label], key), one, at_most=0.05
            )
            found.append(claim)
    return tuple(found)


RECIPE = Recipe(
    name="fig1",
    title="What a rate-distortion curve costs, and the curve",
    arms=arms,
    figure=figure,
    claims=claims,
    numbers=numbers,
    budget={
        "smoke": "scikit-learn's digits enlarged to 28x28, ResNet 8 channels wide, 2 epochs each, families of 2 betas, "
        "seed 0; equal total compute: 1 epoch each",
        "cpu": "static binary MNIST, ResNet 32 channels wide where the paper's has 128, 4 epochs each, families of 4 "
        "betas, one step size, seed 0; equal total compute: 1 epoch each",
        "paper": "static binary MNIST, ResNet, 200 epochs each, families of 8 betas, step sizes from a grid of 5, "
        "3 seeds; equal total compute: 25 epochs each",
    },
)
