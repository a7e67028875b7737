"""Figures of measures against beta, of many curves in one panel, and of samples: what is drawn is what was given."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from multirate.curve import Curve, point
from multirate.errors import UsageError
from multirate.report import save
from multirate.report.reproduction import Panel, Series
from multirate.report.reproduction_measures import MeasurePanel, SampleGrid, mixed_panels, sample_grids

BETAS = (0.01, 0.1, 1.0, 10.0)
IMAGES = np.random.default_rng(0).random((2, 3, 1, 32, 16))


def curve(label: str, shift: float = 0.0) -> Curve:
    points = (point(beta, 30 * beta**-0.4, 60 + shift + 20 * beta**0.6, units=9 - beta**0.5 + shift) for beta in BETAS)
    return Curve(label, "resnet", "mnist", "test", 100, tuple(points))


def series(count: int = 1, kind: str = "multi-rate") -> tuple[Series, ...]:
    return tuple(Series(f"{kind} {i}", (curve("c", i), curve("c", i + 0.5)), kind) for i in range(count))


LINES = series(6)
DEDICATED = series(1, "dedicated")
PANELS = (Panel("curves", LINES), MeasurePanel("units", "units", "active units", (*LINES[:2], *DEDICATED)))
BAD_GRIDS = {
    "no grid": ((), "no grid of samples"),
    "other rows": ((SampleGrid("faces", (1.0,), IMAGES),), r"'faces' need shape \[1, n, 1 or 3, H, W\]; got \[2, 3, 1"),
    "two channels": ((SampleGrid("f", (1.0, 2.0), IMAGES.repeat(2, 2)),), "1 or 3"),
    "no channels": ((SampleGrid("f", (1.0, 2.0), IMAGES[:, :, 0]),), "1 or 3"),
}


def points_of(axes: object) -> list[np.ndarray]:
    return [np.column_stack(line.get_data()) for line in axes.get_lines()]  # type: ignore[attr-defined]


def has(drawn: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> bool:
    return any(len(one) == len(x) and np.allclose(one, np.column_stack([x, y])) for one in drawn)


@pytest.mark.slow
def test_figures_are_drawn_and_change_no_setting(tmp_path: Path) -> None:
    settings = dict(matplotlib.rcParams)
    for name, figure in (("a", mixed_panels(PANELS)), ("b", sample_grids([SampleGrid("faces", (0.1, 1.0), IMAGES)]))):
        assert save(figure, tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == settings


def test_every_seed_of_every_series_is_drawn_in_its_panel() -> None:
    curves, measure = mixed_panels(PANELS).axes
    drawn = points_of(curves)
    assert all(has(drawn, one.rates, one.distortions) for line in LINES for one in line.curves)
    drawn = points_of(measure)
    assert all(has(drawn, one.betas, one.values("units")) for s in PANELS[1].series for one in s.curves)
    assert (curves.get_xlabel(), measure.get_xlabel()) == ("rate (nats per example)", "β")
    assert (measure.get_xscale(), measure.get_ylabel(), measure.get_ylim()[0]) == ("log", "active units", 0.0)


def test_six_lines_of_a_panel_differ_in_colour_and_marker_and_each_has_one_legend_entry() -> None:
    curves, measure = mixed_panels(PANELS).axes
    entries = {line.get_label(): line for line in curves.get_lines() if str(line.get_label()).startswith("multi-rate")}
    assert len({line.get_color() for line in entries.values()}) == 6
    assert len({line.get_marker() for line in entries.values()}) == 6
    assert [text.get_text() for text in curves.get_legend().get_texts()] == [one.label for one in LINES]
    legend = [text.get_text() for text in measure.get_legend().get_texts()]
    assert legend == ["multi-rate 0", "multi-rate 1", "dedicated 0"]


def test_dedicated_models_are_markers_without_a_line() -> None:
    (axes,) = mixed_panels([MeasurePanel("units", "units", "active units", DEDICATED)]).axes
    assert {line.get_linestyle() for line in axes.get_lines()} == {"None"}


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="no panel"):
        mixed_panels([])
    with pytest.raises(UsageError, match="'empty' has no series"):
        mixed_panels([Panel("empty", ())])
    with pytest.raises(UsageError, match="no measure 'fid'"):
        mixed_panels([MeasurePanel("fid", "fid", "FID", LINES)])


@pytest.mark.parametrize("name", BAD_GRIDS)
def test_grids_that_are_no_pictures_are_refused(name: str) -> None:
    grids, message = BAD_GRIDS[name]
    with pytest.raises(UsageError, match=message):
        sample_grids(grids)


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_of_the_picture_are_betas_and_columns_draws(channels: int) -> None:
    images = IMAGES.repeat(channels, axis=2) * np.linspace(0.5, 1, channels)[:, None, None]
    (axes,) = sample_grids([SampleGrid("faces", (0.1, 1.0), images)]).axes
    board = np.asarray(axes.get_images()[0].get_array())
    assert board.shape == (2 * 33, 3 * 17) + ((3,) if channels == 3 else ())
    picture = board[33 : 33 + 32, 2 * 17 : 2 * 17 + 16]
    expected = images[1, 2, 0] if channels == 1 else images[1, 2].transpose(1, 2, 0)
    assert np.allclose(picture, expected, atol=1e-6)
    assert np.all(board[32] == 1.0)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["β = 0.1", "β = 1"]
