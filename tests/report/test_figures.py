"""Figures: what is drawn is what was measured, nothing global changes, files are whole."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from multirate.comparison import Comparison, compare
from multirate.curve import Curve, point
from multirate.errors import DataError, UsageError
from multirate.report import against_beta, gaps, image_grid, rate_distortion, save, to_svg, training

MULTI_RATE = ((0.01, 112.2, 47.5), (0.1, 76.1, 48.9), (1.0, 30.2, 65.3), (10.0, 4.7, 141.6))
BASELINES = ((0.01, 129.1, 42.2), (0.1, 81.7, 45.2), (1.0, 25.6, 68.7), (10.0, 3.5, 148.4))
HISTORY = [{"step": s, "loss": 200.0 - s, "rate": 20.0, "distortion": 150.0 - s} for s in (1, 50, 100)]


def make(points: Any, label: str) -> Curve:
    header = {"model": "resnet", "data": "mnist", "split": "test", "examples": 10000}
    return Curve(label=label, points=tuple(point(*p) for p in points), **header)


CURVE, BASELINE = make(MULTI_RATE, "multi-rate"), make(BASELINES, "beta-VAE")
IMAGES = np.random.default_rng(0).random((2, 5, 1, 6, 4))
DRAW = {
    "rate_distortion": lambda: rate_distortion(CURVE, BASELINE),
    "rate_distortion of one point": lambda: rate_distortion(make(MULTI_RATE[:1], "one")),
    "rate_distortion of many": lambda: rate_distortion([CURVE, BASELINE], [BASELINE, CURVE], reference=CURVE),
    "against_beta": lambda: against_beta(CURVE, BASELINE, reference=BASELINE, title="mnist"),
    "gaps": lambda: gaps(compare(CURVE, BASELINE)),
    "gaps that are better": lambda: gaps(compare(BASELINE, CURVE)),
    "gaps of nothing": lambda: gaps(compare(CURVE, CURVE)),
    "training": lambda: training(HISTORY),
    "image_grid": lambda: image_grid(IMAGES, [0.1, 1.0], inputs=IMAGES[0], title="pictures"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAW)
def test_every_figure_draws_and_changes_no_setting(name: str, tmp_path: Path) -> None:
    settings = dict(matplotlib.rcParams)
    path = save(DRAW[name](), tmp_path / "figures" / "figure.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == settings


def test_the_figure_shows_the_points_of_curve_and_baselines() -> None:
    (axes,) = rate_distortion(CURVE, BASELINE).axes
    drawn = [np.column_stack(line.get_data()) for line in axes.lines]
    for curve in (CURVE, BASELINE):
        points = np.column_stack([curve.rates, curve.distortions])
        assert any(d.shape == points.shape and np.allclose(d, points) for d in drawn)
    labels = {text.get_text() for text in axes.texts}
    assert labels == {"β = 0.01", "β = 0.1", "β = 1", "β = 10"}
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"multi-rate", "beta-VAE"}
    assert "nats" in axes.get_xlabel() and "nats" in axes.get_ylabel()


def test_the_line_between_points_is_the_curve_s_own_interpolation() -> None:
    line = next(line for line in rate_distortion(CURVE).axes[0].lines if len(line.get_xdata()) > 4)
    betas = np.geomspace(0.01, 10, len(line.get_xdata()))
    for index in (37, 250):
        known = CURVE.at(betas[index])
        assert (line.get_xdata()[index], line.get_ydata()[index]) == pytest.approx((known["rate"], known["distortion"]))


def test_gaps_are_written_with_their_sign() -> None:
    (axes,) = gaps(compare(CURVE, BASELINE)).axes
    assert [text.get_text() for text in axes.texts] == ["+5.13", "+3.14", "+1.20", "+5.20"]


@pytest.mark.parametrize("shape", [(2, 5, 6, 4), (2, 5, 1, 6, 4), (2, 5, 3, 6, 4)])
def test_a_grid_has_a_labelled_row_a_beta(shape: tuple[int, ...]) -> None:
    images = np.linspace(-0.5, 1.5, int(np.prod(shape))).reshape(shape)
    figure = image_grid(images, [0.1, 1.0], inputs=images[0])
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["input", "β = 0.1", "β = 1"]
    strip = np.asarray(figure.axes[1].images[0].get_array())
    first = images[0, 0] if len(shape) == 4 else images[0, 0].transpose(1, 2, 0).squeeze()
    np.testing.assert_allclose(strip[:, :4], np.clip(first, 0, 1), atol=1e-6)


@pytest.mark.slow
def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="and 1 rows"):
        image_grid(IMAGES, [0.1])
    with pytest.raises(UsageError, match=r"pictures are"):
        image_grid(np.zeros((2, 5, 7, 6, 4)), [0.1, 1.0])
    with pytest.raises(UsageError, match="inputs"):
        image_grid(IMAGES, [0.1, 1.0], inputs=IMAGES[0, :3])
    with pytest.raises(UsageError, match="no curve"):
        rate_distortion([])
    with pytest.raises(UsageError, match="no gaps"):
        gaps(Comparison("a", "b", ()))
    with pytest.raises(DataError, match="no line"):
        training([{"epoch": 1}])
    with pytest.raises(UsageError, match=r"figure\.gif"):
        save(gaps(compare(CURVE, BASELINE)), "figure.gif")


@pytest.mark.slow
def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    for kind in ("png", "svg", "pdf"):
        one, two = (save(DRAW["rate_distortion"](), tmp_path / f"{i}.{kind}").read_bytes() for i in "ab")
        assert one == two


@pytest.mark.slow
def test_svg_is_one_element_whose_ids_carry_the_prefix() -> None:
    text = to_svg(rate_distortion(CURVE, BASELINE), "rd")
    root = ElementTree.fromstring(text)
    ids = {element.get("id") for element in root.iter() if element.get("id")}
    assert ids and all(name is not None and name.startswith("rd-") for name in ids)
    used = {value[1:] for element in root.iter() for key, value in element.attrib.items() if key.endswith("href")}
    assert used <= ids
    assert "width" not in root.attrib and root.attrib["viewBox"]


@pytest.mark.slow
def test_importing_the_report_loads_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, multirate.report.assemble, multirate.comparison; print({'torch', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


LABELLED = {
    "reference": (MULTI_RATE, BASELINES),
    "close": (MULTI_RATE, [(b, r * 1.02, d - 0.6) for b, r, d in MULTI_RATE]),
    "ours alone": (MULTI_RATE, []),
    "one point": (MULTI_RATE[:1], []),
}


@pytest.mark.slow
@pytest.mark.parametrize(("ours", "theirs"), LABELLED.values(), ids=LABELLED.keys())
def test_beta_labels_lie_on_no_line_no_point_and_no_other_label(ours: Any, theirs: Any) -> None:
    curve = make(ours, "multi-rate")
    figure = rate_distortion(curve, [make(theirs, "beta-VAE")] if theirs else [])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(theirs or ours)
    assert all(text.get_path_effects() for text in axes.texts)
    frame, legend = axes.get_window_extent(), axes.get_legend()
    assert legend is not None
    for i, box in enumerate(boxes):
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        assert not any(box.overlaps(other) for other in [*boxes[:i], legend.get_window_extent()])
        for line in axes.get_lines():
            data = np.asarray(line.get_xydata())
            if len(data):
                points = axes.transData.transform(data)
                dense = np.concatenate([np.linspace(a, b, 50) for a, b in pairwise([*points, points[-1]])])
                used = points if line.get_linestyle() == "None" else dense
                inside = (used > [box.x0, box.y0]).all(1) & (used < [box.x1, box.y1]).all(1)
                assert not inside.any(), axes.texts[i].get_text()


def test_rows_of_pictures_may_be_labelled_in_words() -> None:
    figure = image_grid(IMAGES, ["original", "0.40 bpp"])
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["original", "0.40 bpp"]


@pytest.mark.parametrize("label", ["original", "0.65 bpp, 26.6 dB", "squared error alone, at lambda 0.0018 of one run"])
def test_labels_of_rows_lie_within_the_figure(label: str) -> None:
    figure = image_grid(IMAGES, [label, "0.40 bpp"])
    figure.draw_without_rendering()
    text = figure.axes[0].texts[0].get_window_extent()
    assert 0 <= text.x0 < text.x1 <= figure.axes[0].get_window_extent().x0 + 1
