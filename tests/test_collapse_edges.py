"""Collapse at its boundaries: crossings worked out by hand, every sentence, and what is refused."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from multirate.collapse import Collapse, LatentFate, collapse, of_latents
from multirate.curve import Curve, point
from multirate.errors import DataError, UsageError

BETAS = (0.1, 1.0, 10.0, 100.0)


def make(rates: Any = (30.0, 20.0, 10.0, 0.0), betas: Any = BETAS, **details: Any) -> Curve:
    known = tuple(point(beta, rate, 50.0 - rate) for beta, rate in zip(betas, rates, strict=True))
    return Curve("ours", "mlp", "toy", "test", 9, known, details=details)


def of(*columns: tuple[float, ...], betas: Any = BETAS, **details: Any) -> Curve:
    rows = [list(row) for row in zip(*columns, strict=True)]
    return make([sum(row) for row in rows], betas, latent_rates=rows, beta_range=[0.1, 100.0], **details)


FATES = [
    ((1.0, 1.0, 1.0, 1.0), "alive throughout", 0),
    ((0.0, 1.0, 1.0, 1.0), "alive at the end", 0),
    ((1.0, 0.0, 1.0, 1.0), "alive at the end", 1),
    ((0.0, 1.0, 0.0, 1.0), "alive at the end", 1),
    ((1.0, 0.0, 1.0, 0.0), "dies", 1),
    ((0.0, 1.0, 0.0, 0.0), "dies", 0),
    ((1.0, 0.0, 0.0, 0.0), "dies", 0),
    ((0.0, 0.0, 0.0, 0.0), "never alive", 0),
    ((0.5, 0.5, 0.5, 0.5), "never alive", 0),
]


@pytest.mark.parametrize(("rates", "fate", "reopens"), FATES, ids=str)
def test_a_latent_has_a_fate_and_comes_back_so_often(rates: tuple[float, ...], fate: str, reopens: int) -> None:
    (found,) = collapse(of(rates), 0.5).latents

    assert (found.fate, found.reopens) == (fate, reopens)
    assert (found.beta is None) == (fate != "dies")


def test_a_latent_dies_where_the_monotone_cubic_of_its_rate_crosses_the_threshold_for_the_last_time() -> None:
    rates = (3.0, 0.2, 2.0, 0.1)

    (found,) = collapse(of(rates), 0.5).latents

    assert found.beta is not None
    assert 10 < found.beta < 100
    assert float(PchipInterpolator(np.log(BETAS), rates)(math.log(found.beta))) == pytest.approx(0.5, abs=1e-9)


def test_a_rate_that_is_the_threshold_at_a_point_dies_there() -> None:
    (found,) = collapse(of((3.0, 2.0, 0.5, 0.1)), 0.5).latents

    assert found.beta == pytest.approx(10.0, rel=1e-12)


def test_a_first_rise_reopens_nothing_and_a_rate_at_the_threshold_before_is_no_death() -> None:
    (risen,) = collapse(of((0.0, 1.0), betas=(0.1, 1.0)), 0.5).latents
    assert (risen.fate, risen.reopens) == ("alive at the end", 0)
    (latent,) = collapse(of((0.5, 1.0, 0.2, 0.1)), 0.5).latents
    assert latent.beta is not None and 1.0 < latent.beta < 9.0


def test_a_curve_moves_however_small_its_span_is() -> None:
    found = collapse(make((0.4, 0.3, 0.1, 0.0)))
    assert found.moves is not None and 0.1 < found.moves[0] < found.moves[1] < 100.0
    assert collapse(make((0.4, 0.4, 0.4, 0.4))).moves is None


def test_a_report_that_is_not_there_is_one_to_make(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"; make it with `multirate collapse`$"):
        Collapse.load(tmp_path / "collapse.json")


def test_the_default_threshold_is_a_hundredth() -> None:
    report = collapse(of((0.011, 0.011, 0.0101, 0.0), (0.0099, 0.0099, 0.0, 0.0)))

    assert report.threshold == 0.01
    assert [latent.fate for latent in report.latents] == ["dies", "never alive"]
    assert report.alive == (1, 1, 1, 0)


def test_the_curve_moves_from_ninety_five_to_five_parts_of_its_span() -> None:
    curve = make((30.0, 25.0, 12.0, 10.0))
    report = collapse(curve)

    assert report.moves == (curve.beta_for(rate=10 + 0.95 * 20), curve.beta_for(rate=10 + 0.05 * 20))
    assert (report.label, report.betas) == ("ours", BETAS)
    assert report.latents == report.alive == ()
    assert collapse(make((10.0, 10.0, 10.0, 10.0))).moves is None
    assert collapse(make((10.0, 12.0, 13.0, 14.0))).moves is None
    assert collapse(make((30.0,), (1.0,))).moves is None
    assert collapse(make((30.0, 10.0), (1.0, 10.0))).moves is not None


def test_fates_are_those_of_one_model_and_numbers_alive_of_any() -> None:
    rows = [[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    several = collapse(make(latent_rates=rows), 0.5)

    assert several.latents == ()
    assert several.alive == (1, 1, 0, 1)
    one = collapse(make((1.0,), (1.0,), latent_rates=[[1.0, 0.0]]), 0.5)
    assert [latent.fate for latent in one.latents] == ["alive throughout", "never alive"]


def test_gaps_to_bounds_are_differences_at_each_point() -> None:
    curve = make()
    optimum = Curve(
        "best",
        "linear",
        "toy",
        "test",
        9,
        tuple(point(b, r - 1.0, 50.0 - r) for b, r in zip(BETAS, (30, 20, 10, 1), strict=True)),
    )

    report = collapse(curve, entropy=45.0, optimum=optimum)

    assert report.entropy == 45.0
    assert report.bound_gap["entropy"] == pytest.approx((5.0,) * 4)
    expected = [p["objective"] - q["objective"] for p, q in zip(curve.points, optimum.points, strict=True)]
    assert report.bound_gap["optimum"] == pytest.approx(expected)
    assert collapse(curve).bound_gap == {}
    assert collapse(curve).entropy is None
    assert list(collapse(curve, optimum=optimum).bound_gap) == ["optimum"]


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_a_threshold_that_is_no_rate_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold is a rate in nats, above 0"):
        collapse(make(), threshold)


@pytest.mark.parametrize("entropy", [math.nan, math.inf, -math.inf])
def test_an_entropy_that_is_no_number_is_refused(entropy: float) -> None:
    with pytest.raises(UsageError, match="entropy must be a finite number"):
        collapse(make(), entropy=entropy)


WRONG_ROWS = [
    [1.0, 2.0, 3.0, 4.0],
    [[1.0]] * 3,
    [[1.0]] * 5,
    [[1.0], [1.0], [1.0], [1.0, 2.0]],
    [["x"]] * 4,
    [[math.nan]] * 4,
    [[math.inf]] * 4,
    [[[1.0]]] * 4,
    "many",
]


@pytest.mark.parametrize("rows", WRONG_ROWS, ids=str)
def test_numbers_of_latents_that_are_no_row_a_point_are_refused(rows: Any) -> None:
    with pytest.raises(DataError, match="latent_rates of curve 'ours' are not a list of numbers a point"):
        of_latents(make(latent_rates=rows), "latent_rates")


def test_numbers_of_latents_are_float64_or_absent() -> None:
    found = of_latents(make(importance=[[1, 2]] * 4), "importance")

    assert found is not None
    assert (found.dtype, found.shape) == (np.float64, (4, 2))
    assert of_latents(make(), "importance") is None


DIES = LatentFate("dies", 1.0)


def report(**parts: Any) -> Collapse:
    return dataclasses.replace(Collapse("ours", BETAS, 0.01), **parts)


SUMMARIES: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({}, []),
    (
        {"moves": (0.12345, 45.678)},
        [("the curve moves", "between beta 0.123 and 45.7 (rate from 95% to 5% of its span)")],
    ),
    ({"alive": (3, 2, 1, 0)}, [("latents alive", "3 at beta 0.1, 0 at 100")]),
    (
        {"alive": (2, 1, 1, 0), "latents": (DIES, LatentFate("never alive"))},
        [
            ("latents alive", "2 of 2 at beta 0.1, 0 at 100"),
            ("latents' fate", "1 dies at beta 1; 1 never alive"),
        ],
    ),
    (
        {"betas": (1.0,), "alive": (1,), "latents": (LatentFate("alive throughout"),)},
        [("latents alive", "1 of 1 at beta 1")],
    ),
    (
        {"latents": (LatentFate("dies", 2.0), LatentFate("dies", 0.5))},
        [("latents' fate", "2 die between beta 0.5 and 2")],
    ),
    (
        {"latents": tuple(LatentFate("dies", b, r) for b, r in ((2.0, 0), (8.0, 1), (0.5, 2), (4.0, 0)))},
        [
            (
                "latents' fate",
                "4 die between beta 0.5 and 8, half of them by 2; 2 had been dead before and reopened",
            )
        ],
    ),
    (
        {"latents": tuple(LatentFate("dies", b) for b in (2.0, 8.0, 0.5))},
        [("latents' fate", "3 die between beta 0.5 and 8, half of them by 2")],
    ),
    (
        {
            "latents": (
                LatentFate("alive throughout"),
                LatentFate("alive at the end", reopens=1),
                LatentFate("never alive"),
            )
        },
        [
            (
                "latents' fate",
                "1 alive throughout; 1 alive at the end; 1 never alive; 1 had been dead before and reopened",
            )
        ],
    ),
    (
        {"entropy": 45.0, "bound_gap": {"entropy": (0.5, 2.25, -0.001, 1.0)}},
        [("above the bound", "0.00 to 2.25 nats, most at beta 1 (H - D <= R, H 45)")],
    ),
    (
        {"bound_gap": {"optimum": (0.5, 0.25)}, "betas": (1.0, 2.0)},
        [("above the bound", "0.25 to 0.50 nats, most at beta 1 (the exact linear optimum, D + beta R)")],
    ),
    (
        {"bound_gap": {"optimum": (0.5,)}, "betas": (1.0,)},
        [("above the bound", "0.50 nats, most at beta 1 (the exact linear optimum, D + beta R)")],
    ),
]


@pytest.mark.parametrize(("parts", "pairs"), SUMMARIES, ids=str)
def test_the_summary_says_what_is_known(parts: dict[str, Any], pairs: list[tuple[str, str]]) -> None:
    found = report(**parts)

    assert found.summary() == pairs
    nothing = ["the curve does not move, and has no latents of one model"]
    assert found.lines() == ([f"{name}: {text}" for name, text in pairs] or nothing)


FULL = report(
    latents=(DIES, LatentFate("alive at the end", None, 2)),
    alive=(2, 1, 1, 1),
    moves=(0.5, 5.0),
    entropy=4.0,
    bound_gap={"entropy": (1.0, 2.0, 3.0, 4.0)},
)


def test_two_betas_have_ends_and_fates_and_one_has_neither() -> None:
    two = dict(collapse(of((1.0, 0.0), (1.0, 1.0), betas=(0.1, 100.0)), 0.5).summary())
    assert two["latents alive"] == "2 of 2 at beta 0.1, 1 at 100"
    assert "1 dies at beta" in two["latents' fate"] and "1 alive throughout" in two["latents' fate"]
    one = dict(collapse(of((1.0,), (0.0,), betas=(0.1,)), 0.5).summary())
    assert one.get("latents' fate") is None and one["latents alive"].endswith("at beta 0.1")


def test_a_report_survives_its_file_with_all_its_parts_or_none(tmp_path: Path) -> None:
    for number, one in enumerate((FULL, report())):
        path = one.save(tmp_path / "deep" / f"{number}.json")
        assert Collapse.load(path) == one
        assert json.loads(path.read_text())["schema"] == "multirate.collapse/1"
    assert LatentFate("never alive") == LatentFate("never alive", None, 0)
    assert (report().latents, report().alive, report().moves, report().entropy, report().bound_gap) == (
        (),
        (),
        None,
        None,
        {},
    )


UNSOUND: dict[str, dict[str, Any]] = {
    "no betas": {"betas": [], "alive": [], "bound_gap": {}},
    "a beta of 0": {"betas": [0.0, 1.0, 10.0, 100.0]},
    "equal betas": {"betas": [0.1, 1.0, 1.0, 100.0]},
    "fewer alive": {"alive": [1]},
    "more alive": {"alive": [1] * 5},
    "fewer gaps": {"bound_gap": {"entropy": [1.0]}},
    "gaps to no entropy": {"entropy": None},
    "a death without a beta": {"latents": [{"fate": "dies", "beta": None, "reopens": 0}]},
    "a beta without a death": {"latents": [{"fate": "never alive", "beta": 1.0, "reopens": 0}]},
}


@pytest.mark.parametrize("name", UNSOUND)
def test_a_report_whose_parts_do_not_go_together_is_refused(name: str, tmp_path: Path) -> None:
    path = FULL.save(tmp_path / "collapse.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | UNSOUND[name]))

    with pytest.raises(
        DataError, match=r"collapse\.json is no collapse report.* make it again with `multirate collapse`"
    ):
        Collapse.load(path)


def test_a_report_without_anyone_alive_or_latents_is_sound(tmp_path: Path) -> None:
    for parts in (
        {"alive": ()},
        {"latents": ()},
        {"bound_gap": {}, "entropy": None},
        {"betas": (0.1,), "alive": (1,), "bound_gap": {}},
    ):
        one = dataclasses.replace(FULL, **parts)
        assert Collapse.load(one.save(tmp_path / "collapse.json")) == one


@pytest.mark.parametrize(
    "content", [[], {}, {"schema": "multirate.curve/1"}, {"schema": "multirate.collapse/1", "label": 3}]
)
def test_a_file_of_something_else_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "collapse.json"
    path.write_text(json.dumps(content))

    with pytest.raises(
        DataError, match=r"collapse\.json is no collapse report.* make it again with `multirate collapse`"
    ):
        Collapse.load(path)
    with pytest.raises(DataError, match="make it with `multirate collapse`"):
        Collapse.load(tmp_path / "missing.json")
