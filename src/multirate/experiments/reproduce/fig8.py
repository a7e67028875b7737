"""Fig. 8: sensitivity to the range of beta, and the mutual information gap of beta-TCVAEs (Bae et al. 2023)."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from multirate.comparison import signed
from multirate.experiments.reproduce.common import MULTI_RATE, Setting, dedicated_arm, multirate_arm
from multirate.experiments.reproduce.drawing import series_of
from multirate.experiments.reproduce.judging import TOLERANCE, compared, gap_claim
from multirate.experiments.reproduce.measured_claims import difference_claim, order_claim, side_by_side
from multirate.experiments.reproduce.naming import log_spaced
from multirate.experiments.reproduce.recipe import Arm, Claim, Evaluation, Measured, Recipe, Results, Scale
from multirate.experiments.reproduce.shared import (
    LEARNING_RATES,
    MEASURED_BETAS,
    PAPER_SEEDS,
    image_setting,
    multirate_arms,
    paper_config,
)
from multirate.experiments.spec import RunSpec
from multirate.training.config import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Ends of the ranges: one varies, widest first, the other stays at the usual.
LOWS = (0.001, 0.01, 0.1, 1.0)
HIGHS = (10.0, 1.0, 0.1)
USUAL = (0.01, 10.0)
_BELOW = (0.001, 0.00215443, 0.00464159)

MIG = "mutual_information_gap"
DEDICATED_TC = "β-TCVAE"
# Nats of D + beta R that a wider range may cost at any beta, to cost little.
COST = 2.0
# What two mutual information gaps may differ by, to be equal.
MIG_APART = 0.05

# The usual range of beta-TCVAEs.
_OF_SPRITES = {"beta_low": 0.1, "beta_high": 10.0}
_NAMES = {"default": "multirate", "paper": "multirate-paper"}

MIG_BETAS: Mapping[Scale, tuple[float, ...]] = {
    "smoke": (1.0, 10.0),
    "cpu": (0.1, 1.0, 10.0),
    "paper": log_spaced(0.1, 10.0, 10),
}
MIG_MEASURED: Mapping[Scale, tuple[float, ...]] = {
    "smoke": (0.1, 1.0, 10.0),
    "cpu": log_spaced(0.1, 10.0, 7),
    "paper": log_spaced(0.1, 10.0, 10),
}


def arms(scale: Scale) -> tuple[Arm, ...]:
    """Return multi-rate models of several ranges on Omniglot, and beta-TCVAEs on dSprites.

    Args:
        scale: of the recipe.
    """
    setting = image_setting("omniglot", "resnet", scale)
    low, high = USUAL
    sprites = sprites_setting(scale)
    response = "paper" if scale == "paper" else "default"
    return (
        *(range_arm(setting, scale, (a, high), panel=lower_panel(setting.panel), label=f"a = {a:g}") for a in LOWS),
        *(range_arm(setting, scale, (low, b), panel=upper_panel(setting.panel), label=f"b = {b:g}") for b in HIGHS),
        multirate_arm(sprites, response=response, arm=f"{_NAMES[response]}-0.1to10", spec=_OF_SPRITES),
        dedicated_arm(sprites, MIG_BETAS[scale], label=DEDICATED_TC),
    )


def lower_panel(title: str) -> str:
    """Return the title of the panel whose lower end varies."""
    return f"{title}: a varies, b = {USUAL[1]:g}"


def upper_panel(title: str) -> str:
    """Return the title of the panel whose upper end varies."""
    return f"{title}: b varies, a = {USUAL[0]:g}"


def range_arm(setting: Setting, scale: Scale, ends: tuple[float, float], *, panel: str, label: str) -> Arm:
    """Return a multi-rate model of one range; that of the usual range is the one of Fig. 5.

    It is measured where that one is, as far as its range goes, so that ranges share betas.

    Args:
        setting: where.
        scale: of the recipe.
        ends: of the range.
        panel: of the figure.
        label: in its legend.
    """
    if ends == USUAL:
        return dataclasses.replace(multirate_arms(setting, scale)[0], panel=panel, label=label)
    low, high = ends
    response = "paper" if scale == "paper" else "default"
    betas = [beta for beta in (*_BELOW, *MEASURED_BETAS[scale]) if low <= beta <= high]
    arm = multirate_arm(
        setting,
        label=label,
        response=response,
        arm=f"{_NAMES[response]}-{low:g}to{high:g}",
        betas=betas,
        spec={"beta_low": low, "beta_high": high},
    )
    return dataclasses.replace(arm, panel=panel)


def sprites_setting(scale: Scale) -> Setting:
    """Return beta-TCVAEs on dSprites: an MLP of two hidden layers of 1,200, 10 latents, tanh in the decoder.

    Args:
        scale: of the recipe.
    """
    examples = {"smoke": 2048, "cpu": 102400, "paper": None}[scale]
    width = 64 if scale == "smoke" else 1200
    if scale == "paper":
        config = paper_config("dsprites", epochs=50, batch_size=2048, objective="beta-tcvae")
    else:
        batch, epochs = (128, 2) if scale == "smoke" else (512, 3)
        config = TrainConfig(epochs=epochs, batch_size=batch, objective="beta-tcvae")
    return Setting(
        panel="dSprites, MLP, β-TCVAE",
        name=f"dsprites{examples or ''}-mlp{width}-tcvae",
        spec=RunSpec(
            data="dsprites",
            examples=examples,
            model="mlp",
            hidden=(width, width),
            latents=10,
            model_options=("decoder_activation=tanh",),
        ),
        config=config,
        evaluation=Evaluation(
            betas=MIG_MEASURED[scale],
            examples={"smoke": 500, "cpu": 5000, "paper": 10000}[scale],
            measures=("active_units", MIG),
        ),
        seeds=PAPER_SEEDS if scale == "paper" else (0,),
        learning_rates=LEARNING_RATES if scale == "paper" else (),
    )


def figure(results: Results) -> "Figure":
    """Draw rate-distortion curves of the ranges, the lower end left, and the mutual information gap to the right.

    Args:
        results: of the recipe.
    """
    from multirate.report.reproduction import Panel
    from multirate.report.reproduction_measures import AnyPanel, MeasurePanel, mixed_panels

    lower, upper, sprites = results.panels
    panels: list[AnyPanel] = [Panel(panel, series_of(results, panel)) for panel in (lower, upper)]
    panels.append(MeasurePanel(sprites, MIG, "mutual information gap", series_of(results, sprites)))
    return mixed_panels(panels)


def claims(results: Results) -> tuple[Claim, ...]:
    """Judge that a wider range costs little, that a narrower one gains nothing, and that the gaps agree.

    Args:
        results: of the recipe.
    """
    found = []
    for panel, usual in zip(results.panels[:2], (f"a = {USUAL[0]:g}", f"b = {USUAL[1]:g}"), strict=True):
        measured = results.of_panel(panel)
        labels = list(measured)
        widest = labels[0]
        for label in labels[1:]:
            text = f"{panel}: {widest} costs little beside {label}, at the β of both"
            found.append(gap_claim(text, "little difference", measured[widest], measured[label], at_most=COST))
        for label in labels[labels.index(usual) + 1 :]:
            found.append(_gain_claim(panel, usual, label, measured[usual], measured[label]))
    panel = results.panels[2]
    ours, theirs = (results.of_panel(panel)[label] for label in (MULTI_RATE, DEDICATED_TC))
    text = f"{panel}: {MULTI_RATE} has the mutual information gap of the dedicated β-TCVAEs, at each β"
    found.append(difference_claim(text, "close", ours, theirs, MIG, at_most=MIG_APART))
    text = f"{panel}: the mutual information gap takes the same course over β"
    found.append(order_claim(text, "the same course", ours, theirs, MIG, absolute=MIG_APART))
    return tuple(found)


def numbers(results: Results) -> dict[str, Any]:
    """Return the gaps of each range beside the usual one, and the mutual information gaps.

    Args:
        results: of the recipe.
    """
    found: dict[str, Any] = {}
    for panel, usual in zip(results.panels[:2], (f"a = {USUAL[0]:g}", f"b = {USUAL[1]:g}"), strict=True):
        measured = results.of_panel(panel)
        found[panel] = {
            label: {f"{gap.beta:g}": -gap.gap for gap in compared(measured[usual], one).gaps}
            for label, one in measured.items()
            if label != usual
        }
    panel = results.panels[2]
    ours, theirs = (results.of_panel(panel)[label] for label in (MULTI_RATE, DEDICATED_TC))
    found[panel] = [{"beta": b, "ours": our, "theirs": their} for b, our, their in side_by_side(ours, theirs, MIG)]
    return found


def _gain_claim(panel: str, usual: str, label: str, wide: Measured, narrow: Measured) -> Claim:
    """Judge that a narrower range is on average no better at its own betas than the usual one."""
    gain = compared(wide, narrow).mean_gap
    rule = f"mean gain in D + βR at most {TOLERANCE:g} nats"
    text = f"{panel}: narrowing the range from {usual} to {label} brings no gain ({rule})"
    return Claim(text, "no gain", f"mean gain {signed(gain)} nats over its own β", gain <= TOLERANCE)


RECIPE = Recipe(
    name="fig8",
    title="Sensitivity to the range of β, and the mutual information gap",
    arms=arms,
    figure=figure,
    claims=claims,
    numbers=numbers,
    budget={
        "smoke": "6 ranges on scikit-learn's digits enlarged to 28x28, ResNet 8 channels wide, 2 epochs each; β-TCVAE "
        "on 2,048 images of dSprites drawn here, MLP 64-64, 2 epochs each, dedicated models at 2 betas, mutual "
        "information gap among 500 test images; seed 0",
        "cpu": "6 ranges on Omniglot, ResNet 32 channels wide where the paper's has 128, 8 epochs each; β-TCVAE on "
        "102,400 images of dSprites drawn here, MLP 1200-1200, 3 epochs of batch 512 each (600 steps), dedicated "
        "models at 3 betas, mutual information gap among the first 5,000 test images; one step size, seed 0",
        "paper": "6 ranges on Omniglot, ResNet, 200 epochs; β-TCVAE on dSprites, MLP 1200-1200, 50 epochs of batch "
        "2048, dedicated models at 10 betas, mutual information gap among 10,000 test images; step sizes from a grid "
        "of 5, 3 seeds",
    },
)
