"""Figures of further measures and of the rates of groups: what is drawn is what was measured."""

import dataclasses

import numpy as np
import pytest

from multirate.curve import Curve, point
from multirate.errors import UsageError
from multirate.report import group_rates, measures

BETAS = (0.01, 0.1, 1.0, 10.0)
RATES = ([5.0, 30.0, 60.0], [4.0, 20.0, 30.0], [3.0, 8.0, 9.0], [1.0, 0.5, 0.0])


def make(further: dict[str, list[float]]) -> Curve:
    points = tuple(
        point(beta, sum(rates), 50.0 + beta, **{name: values[i] for name, values in further.items()})
        for i, (beta, rates) in enumerate(zip(BETAS, RATES, strict=True))
    )
    return Curve("nvae", "nvae", "mnist", "test", 100, points, details={"group_rates": list(RATES)})


CURVE = make({"active_units": [32, 30, 12, 2], "perplexity": [900.0, 300.0, 100.0, 20.0]})


def test_each_further_measure_has_a_panel_with_its_values() -> None:
    panels = [axes for axes in measures(CURVE).axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["active units", "perplexity (from D + R)"]
    for axes, name in zip(panels, ("active_units", "perplexity"), strict=True):
        np.testing.assert_allclose(
            np.column_stack(axes.lines[0].get_data()), np.column_stack([BETAS, CURVE.values(name)])
        )
    assert [axes.get_yscale() for axes in panels] == ["linear", "log"]


def test_a_curve_without_further_measures_is_refused() -> None:
    with pytest.raises(UsageError, match="no measure beside"):
        measures(make({}))


def test_stacked_groups_add_up_to_the_rate() -> None:
    (axes,) = group_rates(CURVE).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), CURVE.rates)
    tops = [max(path.vertices[:, 1].max() for path in band.get_paths()) for band in axes.collections]
    np.testing.assert_allclose(tops, np.cumsum(RATES, axis=1).max(axis=0))


def test_one_point_is_drawn_as_a_narrow_stack() -> None:
    one = dataclasses.replace(CURVE, points=CURVE.points[:1], details={"group_rates": [RATES[0]]})
    np.testing.assert_allclose(group_rates(one).axes[0].lines[0].get_ydata(), [95.0, 95.0])


@pytest.mark.parametrize("details", [{}, {"group_rates": [[1.0]]}], ids=str)
def test_a_curve_without_a_row_of_group_rates_a_point_is_refused(details: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="no rates of groups"):
        group_rates(dataclasses.replace(CURVE, details=details))
