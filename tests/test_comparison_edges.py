"""Comparison at its boundaries: numbers worked out by hand, what is left out, and every sentence it writes."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multirate.comparison import Comparison, Gap, area_between, bd_distortion, bd_rate, compare, families, signed
from multirate.curve import Curve, point
from multirate.errors import DataError, UsageError
from multirate.fairness import differences, incompatible, known_values

BETAS = (0.1, 1.0, 10.0)
LINE = ((30.0, 10.0), (20.0, 20.0), (10.0, 30.0))


def make(points: Any = LINE, betas: Any = BETAS, **fields: Any) -> Curve:
    known = tuple(point(beta, *p) for beta, p in zip(betas, points, strict=True))
    return Curve(
        **{"label": "ours", "model": "mlp", "data": "toy", "split": "test", "examples": 9, "points": known} | fields
    )


def theirs(points: Any = LINE, betas: Any = BETAS, **fields: Any) -> Curve:
    return make(points, betas, **{"label": "theirs"} | fields)


def moved(rate: float = 0.0, distortion: float = 0.0) -> tuple[tuple[float, float], ...]:
    return tuple((r + rate, d + distortion) for r, d in LINE)


def test_a_gap_is_the_difference_of_objectives_worked_out_by_hand() -> None:
    found = compare(make(moved(distortion=1.5)), theirs(((29.0, 10.0), (20.0, 20.0), (10.0, 31.0))))

    assert found.gaps[0] == Gap(
        beta=0.1,
        rate=30.0,
        distortion=11.5,
        objective=pytest.approx(14.5),
        baseline_rate=29.0,
        baseline_distortion=10.0,
        baseline_objective=pytest.approx(12.9),
        gap=pytest.approx(1.6),
        interpolated=False,
    )
    assert [gap.gap for gap in found.gaps] == pytest.approx([1.6, 1.5, 0.5])
    assert (found.label, found.baseline) == ("ours", "theirs")
    assert found.worst is found.gaps[0]
    assert found.worst_gap == pytest.approx(1.6)
    assert found.mean_gap == pytest.approx(1.2)


def test_deltas_of_shifted_lines_are_the_shift() -> None:
    ours, base = make(moved(distortion=2.0)), theirs()

    # Decreasing straight lines: PCHIP is the line itself, over rates 10 to 30.
    assert area_between(ours, base) == pytest.approx(2.0 * 20)
    assert bd_distortion(ours, base) == pytest.approx(2.0, rel=1e-12)
    assert area_between(base, ours) == pytest.approx(-40.0)
    assert compare(ours, base).rate_interval == (10.0, 30.0)
    assert compare(make(moved(rate=3.0)), base).rate_interval == (13.0, 30.0)


@pytest.mark.parametrize("factor", [1.25, 0.5])
def test_the_delta_of_rates_in_proportion_is_their_percentage(factor: float) -> None:
    ours = make(tuple((factor * r, d) for r, d in LINE))

    assert bd_rate(ours, theirs()) == pytest.approx(100 * (factor - 1))


@pytest.mark.parametrize(("relative", "there"), [(0.9e-6, True), (1.1e-6, False)])
def test_an_end_of_the_curve_is_there_to_a_millionth(relative: float, there: bool) -> None:
    low = compare(make(), theirs(betas=(0.1 * (1 - relative), 1.0, 10.0)))
    high = compare(make(), theirs(betas=(0.1, 1.0, 10.0 * (1 + relative))))

    for found, beta in ((low, "0.0999999"), (high, "10")):
        assert len(found.gaps) == (3 if there else 2)
        assert (f"no gap at beta {beta}: ours covers 0.1 to 10" in found.notes) is not there


@pytest.mark.parametrize(("relative", "interpolated"), [(0.9e-6, False), (1.2e-6, True)])
def test_a_beta_is_that_of_a_point_to_a_millionth(relative: float, interpolated: bool) -> None:
    found = compare(make(), theirs(betas=(0.1, 1.0 + relative, 10.0)))

    assert [gap.interpolated for gap in found.gaps] == [False, interpolated, False]


def test_the_smallest_betas_are_told_apart() -> None:
    found = compare(make(betas=(1e-9, 1e-3, 1.0)), theirs(betas=(2e-9, 1e-3, 1.0)))
    assert [gap.interpolated for gap in found.gaps] == [True, False, False]


def test_no_beta_in_common_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"no beta of 'theirs' is within 0.1 to 10, the betas of 'ours'; evaluate it over"
    ):
        compare(make(), theirs(betas=(11.0, 12.0, 13.0)))


@pytest.mark.parametrize("given", [None, 3, [make(), None]])
def test_anything_else_than_curves_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r"compare takes curves; got a (NoneType|int): read it with Curve.load"):
        compare(make(), given if isinstance(given, list) else [given])
    with pytest.raises(UsageError, match="compare takes curves"):
        compare(None, make())  # type: ignore[arg-type]


def test_points_that_are_dominated_or_have_collapsed_are_left_out() -> None:
    worse = make(((30.0, 10.0), (25.0, 21.0), (20.0, 20.0), (10.0, 30.0), (0.0099, 40.0)), (0.1, 0.5, 1.0, 10.0, 20.0))

    for measure in (bd_rate, bd_distortion, area_between):
        assert measure(worse, theirs()) == pytest.approx(0.0, abs=1e-12)


def test_a_rate_of_a_hundredth_is_usable_and_equal_points_count_once() -> None:
    least = make(((30.0, 10.0), (20.0, 20.0), (0.01, 30.0)))
    assert math.isfinite(bd_rate(least, theirs()))
    twice = make(((30.0, 10.0), (30.0, 10.0), (20.0, 20.0), (20.0, 20.0), (10.0, 30.0)), (0.1, 0.2, 0.5, 1.0, 10.0))
    assert bd_rate(twice, theirs()) == pytest.approx(0.0, abs=1e-12)
    same_rate = make(((30.0, 10.0), (20.0, 20.0), (20.0, 21.0), (10.0, 30.0)), (0.1, 0.5, 1.0, 10.0))
    assert area_between(same_rate, theirs()) == pytest.approx(0.0, abs=1e-9)
    same_distortion = make(((30.0, 10.0), (25.0, 20.0), (20.0, 20.0), (10.0, 30.0)), (0.1, 0.5, 1.0, 10.0))
    assert area_between(same_distortion, theirs()) == pytest.approx(0.0, abs=1e-9)


def test_two_usable_points_are_too_few() -> None:
    few = make(((30.0, 10.0), (20.0, 20.0), (0.0, 30.0)))

    for measure in (bd_rate, bd_distortion, area_between):
        with pytest.raises(UsageError) as caught:
            measure(few, theirs())
        assert str(caught.value) == (
            "'ours' has 2 usable of 3 points (rate above 0.01 nats, not dominated by another); at least 3 are needed"
        )
    assert compare(few, theirs()).notes[-1:] == (
        f"no BD-rate, BD-distortion and area between the curves: {caught.value}",
    )


def test_curves_that_only_touch_have_nothing_in_common() -> None:
    above = make(((50.0, 30.0), (40.0, 40.0), (30.0, 50.0)))

    with pytest.raises(UsageError, match=r"^the curves have no distortion in common: 30 to 50 and 10 to 30 nats$"):
        bd_rate(above, theirs())
    with pytest.raises(UsageError, match=r"^the curves have no rate in common: 30 to 50 and 10 to 30 nats$"):
        bd_distortion(above, theirs())
    with pytest.raises(UsageError, match="no rate in common"):
        area_between(above, theirs())


@pytest.mark.parametrize(
    ("shift", "noted"), [(2.8, None), (2.9, "75% of the range of distortion, 12.9 to 30 nats"), (5.0, "60%")]
)
def test_a_shared_range_below_three_quarters_is_noted(shift: float, noted: str | None) -> None:
    notes = [note for note in compare(make(moved(distortion=shift)), theirs()).notes if note.startswith("BD numbers")]

    if noted is None:
        assert notes == []
    else:
        assert f"BD numbers cover {noted}" in notes[0]
        assert notes[0].endswith("nats: all that is shared")


def test_three_quarters_exactly_are_enough() -> None:
    wide = theirs(((30.0, 10.0), (20.0, 20.0), (10.0, 50.0)))

    assert not [
        note for note in compare(make(((30.0, 20.0), (20.0, 30.0), (10.0, 50.0))), wide).notes if "BD numbers" in note
    ]


def test_warnings_of_both_curves_are_notes() -> None:
    beaten = make(((30.0, 10.0), (40.0, 20.0), (10.0, 30.0)))

    notes = compare(beaten, theirs()).notes

    assert [note for note in notes if note.startswith("ours: ")]
    assert not [note for note in notes if note.startswith("theirs: ")]
    assert [
        note
        for note in compare(make(), theirs(((30.0, 10.0), (40.0, 20.0), (10.0, 30.0)))).notes
        if note.startswith("theirs: ")
    ]


@pytest.mark.parametrize("name", ["data", "split", "units", "examples"])
def test_measurements_of_different_things_are_not_compared(name: str) -> None:
    other: dict[str, Any] = {name: 8 if name == "examples" else "other"}

    assert incompatible(make(), theirs(**other)) == [name]
    with pytest.raises(
        UsageError, match=f"cannot compare 'ours' with 'theirs': {name} is .* and .*; evaluate both on the same"
    ):
        compare(make(), theirs(**other))


def test_likelihoods_that_differ_are_not_compared_and_unknown_ones_are() -> None:
    bernoulli, gaussian = {"likelihood": "bernoulli"}, {"likelihood": "gaussian"}

    assert incompatible(make(details=bernoulli), theirs(details=gaussian)) == ["likelihood"]
    assert incompatible(make(details=bernoulli), theirs()) == []
    assert incompatible(make(details=bernoulli), theirs(details=bernoulli)) == []
    with pytest.raises(UsageError, match="the likelihoods are bernoulli and gaussian, whose distortions"):
        compare(make(details=bernoulli), theirs(details=gaussian))


SETTINGS = {
    "epochs": (3, 4),
    "batch_size": (32, 64),
    "training_batch_size": (32, 64),
    "latents": (8, 16),
    "learning_rate": (1e-3, 1e-2),
    "kl_schedule": ("constant", "linear"),
    "training_examples": (100, 200),
    "training_seed": (0, 1),
}
USUAL = {"objective": "beta-vae", "optimizer": "adam", "recalibrated": False, "start": "new weights"}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_differs_is_a_sentence(name: str) -> None:
    ours, base = SETTINGS[name]

    assert differences(make(details={name: ours}), theirs(details={name: base})) == [
        f"{name} differs: {ours} for ours, {base} for theirs"
    ]
    assert differences(make(details={name: ours}), theirs(details={name: ours})) == []
    assert differences(make(details={name: ours}), theirs()) == []


@pytest.mark.parametrize("name", USUAL)
def test_a_special_setting_differs_from_what_is_usual(name: str) -> None:
    usual = USUAL[name]

    assert differences(make(details={name: "special"}), theirs()) == [
        f"{name} differs: special for ours, {usual} for theirs"
    ]
    assert differences(make(), theirs(details={name: "special"})) == [
        f"{name} differs: {usual} for ours, special for theirs"
    ]
    assert differences(make(details={name: usual}), theirs()) == []


@pytest.mark.parametrize(("name", "ours", "base"), [("model", "mlp", "resnet"), ("seed", 0, 5), ("samples", 1, 3)])
def test_a_field_that_differs_is_a_sentence(name: str, ours: Any, base: Any) -> None:
    assert differences(make(), theirs(**{name: base})) == [f"{name} differs: {ours} for ours, {base} for theirs"]


def test_parameters_that_differ_come_first_and_are_counted() -> None:
    notes = differences(
        make(details={"parameters": 12_345, "epochs": 1}),
        theirs(details={"parameters": [100, 2_000, "unknown"], "epochs": 2}),
    )

    assert notes == [
        "different architecture: 12,345 and 100, 2,000 and unknown parameters",
        "epochs differs: 1 for ours, 2 for theirs",
    ]


def test_values_of_members_are_known_once_each_and_none_is_no_value() -> None:
    assert known_values(make(details={"epochs": [3, None, 4, 3]}), "epochs") == [3, 4]
    assert known_values(make(details={"epochs": 3}), "epochs") == [3]
    assert known_values(make(), "epochs") == []
    assert differences(make(details={"epochs": [3, 4]}), theirs(details={"epochs": [4, 3]})) == []
    assert differences(make(details={"epochs": [3, 4]}), theirs(details={"epochs": 4})) != []
    assert differences(make(details={"epochs": 4}), theirs(details={"epochs": [3, 4]})) != []


def single(beta: float, label: str) -> Curve:
    return make(((10.0 / (1 + beta), 10.0 + beta),), (beta,), label=label)


def test_single_points_of_one_label_are_a_family_and_curves_are_their_own() -> None:
    curve = make()
    found = families([single(1.0, "a"), curve, single(0.1, "b"), single(0.5, "a"), curve])

    assert [(one.label, len(one)) for one in found] == [("a", 2), ("ours", 3), ("b", 1), ("ours", 3)]
    assert found[0].betas.tolist() == [0.5, 1.0]
    assert found[1] is curve
    assert families([]) == []
    both = families([single(1.0, "a"), make(label="a")])
    assert [len(one) for one in both] == [1, 3]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.234, "+1.23"),
        (-1.236, "\N{MINUS SIGN}1.24"),
        (0.0, "0.00"),
        (0.004, "0.00"),
        (-0.004, "0.00"),
        (0.006, "+0.01"),
    ],
)
def test_differences_carry_their_sign(value: float, text: str) -> None:
    assert signed(value) == text


FULL = Comparison(
    "ours",
    "theirs",
    (
        Gap(0.1, 30.0, 11.5, 14.5, 29.0, 10.0, 12.9, 1.6, False),
        Gap(1.0, 20.0, 20.0, 40.0, 20.0, 20.5, 40.5, -0.5, True),
    ),
    bd_rate=12.25,
    bd_distortion=-1.0,
    area=40.0,
    rate_interval=(10.0, 30.0),
    notes=("one", "two"),
)
BARE = dataclasses.replace(FULL, bd_rate=None, bd_distortion=None, area=None, rate_interval=None, notes=())


def test_a_comparison_is_a_table_and_pairs() -> None:
    header = [
        "beta",
        "rate",
        "distortion",
        "objective",
        "baseline rate",
        "baseline distortion",
        "baseline objective",
        "gap",
    ]

    assert FULL.table()[0] == header
    assert [row[-1] for row in FULL.table()[1:]] == ["+1.60", "\N{MINUS SIGN}0.50"]
    assert [float(cell) for cell in FULL.table()[1][:-1]] == [0.1, 30.0, 11.5, 14.5, 29.0, 10.0, 12.9]
    gaps = [("worst gap", "+1.60 nats, at beta 0.1"), ("mean gap", "+0.55 nats over 2 betas")]
    assert FULL.summary() == [
        *gaps,
        ("BD-rate", "+12.25% rate at equal distortion"),
        ("BD-distortion", "\N{MINUS SIGN}1.00 nats at equal rate"),
        ("area between", "+40.00 nats² over rates 10 to 30"),
    ]
    assert BARE.summary() == gaps
    assert dataclasses.replace(FULL, area=None).summary() == FULL.summary()[:-1]
    assert dataclasses.replace(FULL, rate_interval=None).summary() == FULL.summary()[:-1]


def test_a_comparison_reads_line_by_line() -> None:
    lines = str(FULL).split("\n")

    assert lines[0] == "ours against theirs, nats per example; above 0 the former is worse"
    assert lines[-7:] == [*(f"{name}: {text}" for name, text in FULL.summary()), "note: one", "note: two"]


def test_a_comparison_survives_its_file_with_or_without_numbers(tmp_path: Path) -> None:
    for number, comparison in enumerate((FULL, BARE)):
        path = comparison.save(tmp_path / "deep" / f"{number}.json")
        assert Comparison.load(path) == comparison
        written = json.loads(path.read_text())
        assert written == json.loads(comparison.to_json())
        assert list(written)[:4] == ["schema", "worst_gap", "worst_beta", "mean_gap"]
        assert (written["schema"], written["worst_gap"], written["worst_beta"]) == ("multirate.comparison/1", 1.6, 0.1)
        assert written["mean_gap"] == pytest.approx(0.55)
        assert ("bd_rate" in written) is (comparison is FULL)
    assert FULL.to_json().startswith('{\n "schema"')
    with pytest.raises(ValueError, match="Out of range"):
        dataclasses.replace(FULL, area=math.nan).to_json()


@pytest.mark.parametrize("content", [[], {}, {"schema": "multirate.curve/1"}, {"schema": "multirate.comparison/1"}])
def test_a_file_that_is_none_is_refused_with_its_path(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    path.write_text(json.dumps(content))

    with pytest.raises(DataError, match=r"comparison\.json is not .*multirate compare"):
        Comparison.load(path)


def test_a_file_that_is_not_there_is_one_to_make(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"; make it with `multirate compare`$"):
        Comparison.load(tmp_path / "comparison.json")


def test_a_file_without_gaps_is_not_complete(tmp_path: Path) -> None:
    path = dataclasses.replace(FULL).save(tmp_path / "comparison.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gaps": []}))

    with pytest.raises(DataError, match=r"is not complete \(it has no gaps\); make it anew"):
        Comparison.load(path)
    with pytest.raises(DataError, match="make it with `multirate compare`"):
        Comparison.load(tmp_path / "missing.json")


def test_columns_are_numbers_of_numpy() -> None:
    assert np.isfinite(bd_rate(make(), theirs()))
    assert type(bd_rate(make(), theirs())) is float
    assert type(area_between(make(), theirs())) is float
