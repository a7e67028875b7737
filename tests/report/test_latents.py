"""Maps of single latents: what is drawn is what was measured, however many latents there are."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgba

from multirate.curve import Curve, point
from multirate.errors import DataError, UsageError
from multirate.report import isometric_importance, latent_rates
from multirate.report.latents import DEAD
from multirate.report.style import to_svg

BETAS = (0.01, 0.1, 1.0, 10.0)
# Latents out of order, the last one dead.
RATES = np.array([[1.0, 6.0, 3.0, 0.0], [0.5, 5.0, 2.0, 0.001], [0.005, 4.0, 1.0, 0.0], [0.0, 2.0, 0.005, 0.0]])


def make(rates: Any, name: str = "latent_rates") -> Curve:
    points = tuple(point(beta, float(row.sum()), 50.0 + beta) for beta, row in zip(BETAS, rates, strict=False))
    return Curve("vae", "vae", "mnist", "test", 100, points, details={name: rates.tolist()})


def mesh(axes: Axes) -> QuadMesh:
    (found,) = [drawn for drawn in axes.collections if isinstance(drawn, QuadMesh)]
    return found


def test_rates_are_drawn_a_row_a_latent_the_busiest_on_top() -> None:
    axes = latent_rates(make(RATES)).axes[0]
    drawn = mesh(axes).get_array().reshape(4, 4)
    np.testing.assert_allclose(drawn, RATES[:, [1, 2, 0, 3]].T)
    assert axes.get_ylim() == (4, 0)
    assert axes.get_xscale() == "log"
    assert axes.get_title(loc="left") == "rate of each of 4 latents (grey: below 0.01 nats)"


def test_columns_meet_halfway_in_log_beta() -> None:
    corners = np.asarray(mesh(latent_rates(make(RATES)).axes[0]).get_coordinates())[0, :, 0]
    np.testing.assert_allclose(np.log10(corners), [-2.5, -1.5, -0.5, 0.5, 1.5])


def test_dead_latents_are_grey_and_the_line_counts_the_others() -> None:
    axes = latent_rates(make(RATES)).axes[0]
    drawn = mesh(axes)
    for dead in (0.0, 0.009):
        assert drawn.cmap(drawn.norm(dead)) == pytest.approx(to_rgba(DEAD))
    assert drawn.cmap(drawn.norm(0.011)) != pytest.approx(to_rgba(DEAD))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [3, 3, 2, 1, 1])


def test_importance_is_drawn_on_a_logarithmic_scale() -> None:
    values = np.array([[0.5, 9.0, 3.0, 0.01]] * 4)
    drawn = mesh(isometric_importance(make(values, "isometric_importance")).axes[0])
    np.testing.assert_allclose(drawn.get_array().reshape(4, 4)[:, 0], [9.0, 3.0, 0.5, 0.01])
    assert (drawn.norm.vmin, drawn.norm.vmax) == pytest.approx((0.01, 9.0))


@pytest.mark.slow
@pytest.mark.parametrize("latents", [1, 32, 256])
def test_any_number_of_latents_fits_a_page_with_few_labels(latents: int) -> None:
    rates = np.random.default_rng(0).gamma(0.5, size=(4, latents))
    figure = latent_rates(make(rates))
    assert 2.6 <= figure.get_figheight() <= 6.5
    assert len(figure.axes[0].get_yticks()) <= 10
    assert "<svg" in to_svg(figure, "a")


@pytest.mark.slow
@pytest.mark.parametrize("rates", [np.zeros((4, 3)), np.ones((1, 3))], ids=["all dead", "one beta"])
def test_a_curve_at_the_edge_is_drawn_too(rates: np.ndarray) -> None:
    for draw, name in ((latent_rates, "latent_rates"), (isometric_importance, "isometric_importance")):
        assert "<svg" in to_svg(draw(make(rates, name)), "a")


@pytest.mark.parametrize("draw", [latent_rates, isometric_importance])
def test_a_curve_without_them_is_refused_with_the_remedy(draw: Any) -> None:
    curve = dataclasses.replace(make(RATES), details={})
    with pytest.raises(UsageError, match=r"has no (latent rates: its model|isometric importance: evaluate with)"):
        draw(curve)
    short = dataclasses.replace(curve, details={draw.__name__: [[1.0]]})
    with pytest.raises(DataError, match="not a list of numbers a point"):
        draw(short)
