"""Fig. 6: active units and Frechet distance against beta, multi-rate against dedicated (Bae et al. 2023)."""

import dataclasses
from typing import TYPE_CHECKING, Any

from multirate.experiments.reproduce.common import DEDICATED, MULTI_RATE, PAPER_GATES, Setting
from multirate.experiments.reproduce.drawing import series_of
from multirate.experiments.reproduce.judging import mean_curve
from multirate.experiments.reproduce.measured_claims import (
    difference_claim,
    excess_claim,
    falling_claim,
    order_claim,
    side_by_side,
)
from multirate.experiments.reproduce.naming import log_spaced
from multirate.experiments.reproduce.recipe import Arm, Claim, Evaluation, Measured, Recipe, Results, Scale
from multirate.experiments.reproduce.shared import dedicated, image_setting, multirate_arms
from multirate.experiments.spec import RunSpec
from multirate.metrics.options import MeasureOptions
from multirate.training.config import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS = "active_units"
# Frechet distances of prior samples, of which a curve has one; those of reconstructions have a prefix.
FRECHET = ("fid", "frechet_distance[efficientnet_lite0]")
RECONSTRUCTION = "reconstruction_"

# Latents by which two models may differ in what they use: an eighth of 32.
UNITS_APART = 4
# From one beta to the next, a latent near the threshold may come back.
UNITS_RISE = 1
# Share by which a Frechet distance may exceed another, and below which two of one family count as equal.
FRECHET_EXCESS = 0.10
FRECHET_APART = 0.05

# The faces that stand in for CelebA: half-size JPEG copies, under the folder of the original files.
FACES = "celeba/celeba_8k_89x109_jpeg.zip"
_FACE_BETAS = log_spaced(0.01, 10.0, 7)
_MEASURES = (UNITS, "frechet_distance")


def colour_settings(scale: Scale) -> tuple[Setting, ...]:
    """Return the data whose images are judged by a Frechet distance, with squared error as distortion.

    At ``smoke`` the digits in gray levels stand in for colour images, at ``cpu`` a part of CelebA; at ``paper`` it is
    SVHN and CelebA, and the network is Inception.

    Args:
        scale: of the recipe.
    """
    if scale == "paper":
        return tuple(_with_fid(image_setting(data, "resnet", scale)) for data in ("svhn", "celeba"))
    return (_faces() if scale == "cpu" else _gray_digits(),)


def arms(scale: Scale) -> tuple[Arm, ...]:
    """Return multi-rate and dedicated models: those of Fig. 5 on Omniglot, and those on colour images.

    Args:
        scale: of the recipe.
    """
    omniglot = image_setting("omniglot", "resnet", scale)
    found = [*multirate_arms(omniglot, scale), dedicated(omniglot, scale)]
    for setting in colour_settings(scale):
        found += [multirate_arms(setting, scale)[0], dedicated(setting, scale)]
    return tuple(found)


def figure(results: Results) -> "Figure":
    """Draw active units of all data, then Frechet distances of samples and of reconstructions, against beta.

    Args:
        results: of the recipe.
    """
    from multirate.report.reproduction_measures import MeasurePanel, mixed_panels

    units = [MeasurePanel(panel, UNITS, "active units", series_of(results, panel)) for panel in results.panels]
    distances = [
        MeasurePanel(f"{panel}: {what}", prefix + name, label_of(name), series_of(results, panel))
        for panel, name in frechet_panels(results).items()
        for prefix, what in (("", "samples"), (RECONSTRUCTION, "reconstructions"))
    ]
    return mixed_panels([*units, *distances], columns=2)


def label_of(name: str) -> str:
    """Return a Frechet distance in words: FID for Inception alone, else with its network."""
    network = name.partition("[")[2].removesuffix("]")
    return "FID" if name == "fid" else f"Fréchet distance ({network})"


def frechet_panels(results: Results) -> dict[str, str]:
    """Return the panels whose every curve has a Frechet distance, with its name.

    Args:
        results: of the recipe.
    """
    found = {}
    for panel in results.panels:
        curves = [curve for measured in results.of_panel(panel).values() for curve in measured.curves]
        for name in FRECHET:
            if all(name in curve.measures for curve in curves):
                found[panel] = name
    return found


def claims(results: Results) -> tuple[Claim, ...]:
    """Judge active units and Frechet distances of each panel.

    Args:
        results: of the recipe.
    """
    found = []
    distances = frechet_panels(results)
    for panel in results.panels:
        measured = results.of_panel(panel)
        theirs = measured[DEDICATED]
        ours = [measured[label] for label in (MULTI_RATE, PAPER_GATES) if label in measured]
        for one in (*ours, theirs):
            text = f"{panel}: active units of {one.arm.label} fall as β grows"
            found.append(falling_claim(text, "they fall", one, UNITS, rise=UNITS_RISE))
        for one in ours:
            text = f"{panel}: {one.arm.label} has as many active units as the dedicated β-VAEs, at each β"
            found.append(difference_claim(text, "they agree", one, theirs, UNITS, at_most=UNITS_APART, unit="units"))
            if panel in distances:
                found += _frechet_claims(panel, distances[panel], one, theirs)
    return tuple(found)


def numbers(results: Results) -> dict[str, Any]:
    """Return each measure of each arm at each beta, and beside the dedicated models.

    Args:
        results: of the recipe.
    """
    distances = frechet_panels(results)
    found: dict[str, Any] = {}
    for panel in results.panels:
        measured = results.of_panel(panel)
        names = [UNITS, *([p + distances[panel] for p in ("", RECONSTRUCTION)] if panel in distances else [])]
        found[panel] = {
            name: {
                label: {f"{p['beta']:g}": p[name] for p in mean_curve(one).points} for label, one in measured.items()
            }
            | {
                "against dedicated": {
                    label: [
                        {"beta": beta, "ours": our, "theirs": their}
                        for beta, our, their in side_by_side(one, measured[DEDICATED], name)
                    ]
                    for label, one in measured.items()
                    if label != DEDICATED
                }
            }
            for name in names
        }
    return found


def _frechet_claims(panel: str, name: str, ours: Measured, theirs: Measured) -> list[Claim]:
    found = []
    for prefix, what, close, order in (
        ("", "samples", "close", "the same course"),
        (RECONSTRUCTION, "reconstructions", "not measured", "not measured"),
    ):
        about = f"{panel}: {label_of(name)} of {what} of {ours.arm.label}"
        text = f"{about} is close to that of the dedicated β-VAEs"
        found.append(excess_claim(text, close, ours, theirs, prefix + name, at_most=FRECHET_EXCESS))
        text = f"{about} takes the same course over β"
        found.append(order_claim(text, order, ours, theirs, prefix + name, relative=FRECHET_APART))
    return found


def _with_fid(setting: Setting) -> Setting:
    """Return a setting whose runs are measured by FID too: they are trained once, here or for Fig. 5."""
    options = MeasureOptions(feature_network="inception")
    evaluation = dataclasses.replace(setting.evaluation, measures=_MEASURES, options=options)
    return dataclasses.replace(setting, evaluation=evaluation)


def _faces() -> Setting:
    return Setting(
        panel="CelebA (8,000 faces), ResNet",
        name="celeba8k-resnet-w32",
        spec=RunSpec(
            data=FACES,
            data_options=("crop=74", "size=64"),
            model="resnet",
            model_options=("width=32",),
            latents=64,
            likelihood="squared_error",
        ),
        config=TrainConfig(epochs=8, channels_last=True),
        evaluation=Evaluation(betas=_FACE_BETAS, measures=_MEASURES),
    )


def _gray_digits() -> Setting:
    return Setting(
        panel="digits in gray levels, ResNet",
        name="digits-gray-resnet-w8",
        spec=RunSpec(
            data="digits",
            data_options=("binarize=none", "size=28"),
            model="resnet",
            model_options=("width=8",),
            likelihood="squared_error",
        ),
        config=TrainConfig(epochs=2, channels_last=True),
        evaluation=Evaluation(betas=(0.1, 1.0, 10.0), examples=16, measures=_MEASURES),
    )


RECIPE = Recipe(
    name="fig6",
    title="Active units and Fréchet distance against β",
    arms=arms,
    figure=figure,
    claims=claims,
    numbers=numbers,
    budget={
        "smoke": "scikit-learn's digits enlarged to 28x28, binary for Omniglot and in gray levels for colour images, "
        "ResNet 8 channels wide, 2 epochs each, dedicated models at 2 betas, Fréchet distance of 16 images with "
        "EfficientNet-Lite0 (extra frechet), seed 0",
        "cpu": "ResNet 32 channels wide where the paper's has 128, 8 epochs each, dedicated models at 4 betas, one "
        "step size, seed 0: Omniglot; and 8,000 CelebA faces at half size (6,400 for training), 64 latents, "
        "squared error, Fréchet distances with EfficientNet-Lite0, which are not FID, of 800 reconstructions and 800 "
        "samples from the 800 test images",
        "paper": "Omniglot, SVHN and CelebA-64 with ResNet, 200 epochs, 10 betas, step sizes from a grid of 5, 3 "
        "seeds; FID with Inception, of as many images as the test split has",
    },
)
