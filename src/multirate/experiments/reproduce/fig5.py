"""Fig. 5: rate-distortion curves of multi-rate VAEs beside dedicated beta-VAEs (Bae et al. 2023)."""

from typing import TYPE_CHECKING, Any

from multirate.experiments.reproduce.common import DEDICATED, MULTI_RATE, PAPER_GATES, Setting
from multirate.experiments.reproduce.drawing import panels_of
from multirate.experiments.reproduce.judging import gap_claim, gap_numbers, one_of, share_claim, total_cost
from multirate.experiments.reproduce.recipe import Arm, Claim, Recipe, Results, Scale
from multirate.experiments.reproduce.shared import (
    dedicated,
    hierarchical_setting,
    image_setting,
    multirate_arms,
    text_setting,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = ("convnet", "resnet")
PAPER_IMAGES = ("mnist", "omniglot", "cifar10", "svhn", "celeba")
PAPER_HIERARCHICAL = ("mnist", "omniglot", "celeba")


def settings(scale: Scale) -> tuple[Setting, ...]:
    """Return the panels' settings, a row of panels a data set.

    Args:
        scale: of the recipe.
    """
    data = {"smoke": ("digits",), "cpu": ("mnist", "omniglot"), "paper": PAPER_IMAGES}[scale]
    images = tuple(image_setting(name, model, scale) for name in data for model in MODELS)
    if scale != "paper":
        return images
    return (*images, text_setting(), *(hierarchical_setting(name) for name in PAPER_HIERARCHICAL))


def arms(scale: Scale) -> tuple[Arm, ...]:
    """Return multi-rate models and dedicated ones of equal epochs, in each panel.

    Args:
        scale: of the recipe.
    """
    return tuple(
        arm for setting in settings(scale) for arm in (*multirate_arms(setting, scale), dedicated(setting, scale))
    )


def figure(results: Results) -> "Figure":
    """Draw the panels.

    Args:
        results: of the recipe.
    """
    from multirate.report.reproduction import rate_distortion_panels

    return rate_distortion_panels(panels_of(results))


def claims(results: Results) -> tuple[Claim, ...]:
    """Judge each panel: on or below the dedicated models, at most 5% more parameters.

    Args:
        results: of the recipe.
    """
    found = []
    for panel in results.panels:
        panel_arms = results.of_panel(panel)
        baseline = panel_arms[DEDICATED]
        for label in (MULTI_RATE, PAPER_GATES):
            if label in panel_arms:
                text = f"{panel}: {label} on or below the dedicated β-VAEs"
                found.append(gap_claim(text, "on or below", panel_arms[label], baseline))
    return (*found, *_costs(results))


def _costs(results: Results) -> tuple[Claim, ...]:
    """Judge the parameters of each panel's multi-rate models."""
    found = []
    for panel in results.panels:
        panel_arms = results.of_panel(panel)
        dedicated_arm = panel_arms[DEDICATED]
        one = one_of(total_cost(dedicated_arm, "parameters"), len(dedicated_arm.curve))
        for label in (MULTI_RATE, PAPER_GATES):
            if label in panel_arms:
                text = f"{panel}: parameters of {label} beside those of one β-VAE"
                ours = total_cost(panel_arms[label], "parameters")
                found.append(share_claim(text, "at most 5% more", ours, one, at_most=0.05))
    return tuple(found)


def numbers(results: Results) -> dict[str, Any]:
    """Return every gap of every panel.

    Args:
        results: of the recipe.
    """
    return {label: gap_numbers(results, label, DEDICATED) for label in (MULTI_RATE, PAPER_GATES)}


RECIPE = Recipe(
    name="fig5",
    title="Rate-distortion curves of multi-rate VAEs and of dedicated β-VAEs",
    arms=arms,
    figure=figure,
    claims=claims,
    numbers=numbers,
    budget={
        "smoke": "scikit-learn's digits enlarged to 28x28, ConvNet and ResNet 8 channels wide, 2 epochs each, "
        "dedicated models at 2 betas, seed 0",
        "cpu": "static binary MNIST (4 epochs each) and Omniglot (8 epochs each), ConvNet 24 and ResNet 32 channels "
        "wide where the paper's have 128, dedicated models at 4 betas, one step size, seed 0",
        "paper": "MNIST, Omniglot, CIFAR-10, SVHN and CelebA-64 with ConvNet and ResNet, 200 epochs; Yahoo with the "
        "LSTM; MNIST, Omniglot and CelebA-64 with NVAE, 400 epochs; 10 betas (NVAE: 4), step sizes from a grid of 5, "
        "3 seeds",
    },
)
