"""The table of docs/results.md holds what the curve files hold; MULTIRATE_REGENERATE=1 writes it anew."""

from pathlib import Path

import numpy as np
import pytest

from multirate.curve import Curve
from pages import holds

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
RUNS = (
    *("mnist-resnet", "omniglot-resnet", "mnist-convnet", "omniglot-convnet"),
    *("cifar10-resnet", "cifar10-convnet", "celeba-resnet", "celeba-convnet"),
    *("mnist-nvae", "omniglot-nvae", "cifar10-nvae", "ptb-lstm", "yahoo-lstm", "dsprites-tcvae"),
)
# Places of the four betas that the table shows among ten.
SHOWN = (0, 3, 6, 9)
# Noise of one posterior sample and of a collapsed posterior's last hundredths.
TOLERANCE = 1.0
# Trained for so few steps that the ends of the curve are not monotone: the page says so.
UNDERTRAINED = {"omniglot-convnet": 1.2, "celeba-convnet": 5.2, "cifar10-nvae": 78.0}


def curve_of(name: str) -> Curve:
    return Curve.load(ROOT / "results" / name / "curve.json")


def wrong_way(curve: Curve) -> float:
    """Return the largest rise of what beta weighs, or fall of the distortion, from one beta to the next."""
    weighed = "total_correlation" if curve.details.get("objective") == "beta-tcvae" else "rate"
    return max(0.0, float(np.diff(curve.values(weighed)).max()), float(-np.diff(curve.distortions).min()))


def line(name: str) -> str:
    curve = curve_of(name)
    details = curve.details
    points = [curve.points[i] for i in SHOWN]
    numbers = [" / ".join(f"{p[key]:.1f}" for p in points) for key in ("rate", "distortion")]
    step = wrong_way(curve)
    monotone = "yes" if step == 0 else f"{step:.2f}"
    betas = " / ".join(f"{p['beta']:.2g}" for p in points)
    trained = f"{details['training_examples']:,} x {details['epochs']}"
    cells = (f"[{name}](../results/{name})", trained, f"{curve.examples:,}", betas, *numbers, monotone)
    return f"| {' | '.join(cells)} |\n"


def table() -> str:
    head = "| run | examples x epochs | measured on | beta | rate | distortion | monotone |\n"
    head += "|---|---|---|---|---|---|---|\n"
    return head + "".join(map(line, RUNS))


def test_the_page_holds_what_the_curves_hold() -> None:
    holds(PAGE, "curves", table())


@pytest.mark.parametrize("name", RUNS)
def test_every_curve_is_monotone_but_for_noise_and_what_is_said(name: str) -> None:
    assert wrong_way(curve_of(name)) <= UNDERTRAINED.get(name, TOLERANCE)


@pytest.mark.parametrize("name", RUNS)
def test_every_run_has_its_figures(name: str) -> None:
    figures = {path.name for path in (ROOT / "results" / name).glob("*.png")}
    assert {"rate_distortion.png", "against_beta.png"} <= figures
