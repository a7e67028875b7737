"""The paper's figures: axes, series and tables are what was given."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from multirate.curve import Curve, point
from multirate.errors import UsageError
from multirate.report.reproduction import Bars, Panel, Series, cost_and_curves, rate_distortion_panels, table_figure
from multirate.report.style import BASELINE_COLORS, MULTI_RATE_COLORS, save

BETAS = (0.01, 0.1, 1.0, 10.0)
BARS = Bars("parameters (M)", ("MR-VAE", "b"), (1.0, 4.0), ("1", "4"))
ROWS = (("model", "ours", "paper"), ("ResNet", "87.90", "87.89"), ("ConvNet", "93.60", "93.51"))


def made(label: str, more: float = 0.0) -> Curve:
    points = tuple(point(beta, 30 * beta**-0.4, 60 + more + 20 * beta**0.6) for beta in BETAS)
    return Curve(label, "resnet", "mnist", "test", 100, points)


MULTI = Series("MR-VAE", (made("a"), made("b", 1.0)))
MANY = Series("b", (made("c"),), "dedicated")
POINT = Series("s", (Curve("s", "resnet", "mnist", "test", 100, (point(1.0, 30.0, 90.0),)),), "point")
PANEL = Panel("MNIST, ResNet", (MULTI, MANY, POINT), reference=made("optimum", -5.0))
DRAW = {
    "panels": lambda: rate_distortion_panels([PANEL] * 3, title="three"),
    "one panel": lambda: rate_distortion_panels([PANEL]),
    "costs": lambda: cost_and_curves([BARS, BARS], [PANEL] * 2),
    "no costs": lambda: cost_and_curves([], [PANEL]),
    "table": lambda: table_figure(ROWS, title="table", strong=(1,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAW)
def test_every_figure_draws_and_changes_no_setting(name: str, tmp_path: Path) -> None:
    settings = dict(matplotlib.rcParams)
    path = save(DRAW[name](), tmp_path / "figure.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == settings


def test_rate_is_to_the_right_and_distortion_upward_in_every_panel() -> None:
    figure = rate_distortion_panels([PANEL, Panel("x", (MULTI,), units="squared error")])
    first, second = figure.axes
    assert (first.get_xlabel(), first.get_ylabel()) == ("rate (nats per example)", "distortion (nats per example)")
    assert (second.get_xlabel(), second.get_ylabel()) == ("rate (nats per example)", "distortion (squared error)")
    drawn = [np.asarray(line.get_xydata()) for line in first.get_lines()]
    for curve in (*MULTI.curves, *MANY.curves, *POINT.curves):
        expected = np.column_stack([curve.rates, curve.distortions])
        assert any(xy.shape == expected.shape and np.allclose(xy, expected) for xy in drawn)


def test_multirate_models_are_lines_and_dedicated_ones_markers_of_other_colours() -> None:
    (axes,) = rate_distortion_panels([PANEL]).axes
    handles, labels = axes.get_legend_handles_labels()
    looks = {
        label: (h.get_linestyle(), h.get_marker(), h.get_color()) for h, label in zip(handles, labels, strict=True)
    }
    assert list(looks) == ["optimum", "MR-VAE", "b", "s"]
    assert looks["MR-VAE"] == ("-", "o", MULTI_RATE_COLORS[0])
    assert looks["b"] == ("None", "D", BASELINE_COLORS[0])
    assert looks["optimum"][0] == "--"
    assert looks["s"][:2] == ("None", "*")


def test_a_label_looks_alike_in_all_panels_and_is_in_the_legend_once() -> None:
    figure = rate_distortion_panels([Panel("x", (POINT, MANY)), Panel("y", (MULTI, MANY))])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["s", "b", "MR-VAE"]
    colors = [line.get_color() for axes in figure.axes for line in axes.get_lines() if line.get_label() == MANY.label]
    assert colors == [BASELINE_COLORS[0]] * 2


def test_further_seeds_are_drawn_lighter_and_not_named() -> None:
    (axes,) = rate_distortion_panels([Panel("x", (MULTI,))]).axes
    dots = [line for line in axes.get_lines() if line.get_marker() == "o" and line.get_linestyle() == "None"]
    assert [line.get_alpha() < 1 for line in dots] == [False, True]
    assert axes.get_legend_handles_labels()[1] == ["MR-VAE"]


def test_bars_have_their_lengths_labels_and_texts() -> None:
    axes = cost_and_curves([BARS], [PANEL]).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 4.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MR-VAE", "b"]
    assert [text.get_text() for text in axes.texts] == ["1", "4"]
    assert axes.yaxis_inverted()


def test_a_table_shows_every_cell_once_and_strong_rows_in_bold() -> None:
    (axes,) = table_figure(ROWS, strong=(2,)).axes
    assert [text.get_text() for text in axes.texts] == [cell for row in ROWS for cell in row]
    assert [text.get_fontweight() for text in axes.texts[::3]] == ["bold", "normal", "bold"]


BAD = {
    "no panel": (lambda: rate_distortion_panels([]), "there is no panel"),
    "no panel beside bars": (lambda: cost_and_curves([BARS], []), "there is no panel"),
    "empty panel": (lambda: rate_distortion_panels([Panel("x", ())]), "panel 'x' has no series"),
    "header alone": (lambda: table_figure(ROWS[:1]), "a table needs a header and rows"),
    "ragged rows": (lambda: table_figure([("a", "b"), ("c",)]), "a table needs a header and rows"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_drawn_is_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(UsageError, match=message):
        call()
