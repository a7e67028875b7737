"""Comparison: gaps, and Bjontegaard deltas against the bjontegaard package."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multirate.comparison import Comparison, area_between, bd_distortion, bd_rate, compare, signed
from multirate.curve import Curve, point
from multirate.errors import DataError, UsageError

# METHOD.md: authors' public code, 8 epochs, static binary MNIST; in nats.
MULTI_RATE = ((0.01, 112.2, 47.5), (0.1, 76.1, 48.9), (1.0, 30.2, 65.3), (10.0, 4.7, 141.6))
BASELINES = ((0.01, 129.1, 42.2), (0.1, 81.7, 45.2), (1.0, 25.6, 68.7), (10.0, 3.5, 148.4))
KNOWN_GAPS = (5.1, 3.1, 1.2, 5.2)


def make(points: Any, label: str = "multi-rate", **fields: Any) -> Curve:
    header = {"label": label, "model": "resnet", "data": "mnist", "split": "test", "examples": 10000}
    return Curve(**{**header, "points": tuple(point(*p) for p in points), **fields})


def scaled(points: Any, rate: float = 1.0, distortion: float = 0.0) -> Any:
    return tuple((b, r * rate, d + distortion) for b, r, d in points)


def oracle(name: str, ours: Curve, theirs: Curve) -> float:
    """The bjontegaard package on the same curves; its quality axis is minus the distortion."""
    package = pytest.importorskip("bjontegaard")
    arguments = [a[::-1] for c in (theirs, ours) for a in (c.rates, -c.distortions)]
    function = getattr(package, name)
    return float(function(*arguments, method="pchip", require_matching_points=False, min_overlap=0))


def test_gaps_are_those_of_the_published_table() -> None:
    result = compare(make(MULTI_RATE), make(BASELINES, "beta-VAE"))
    assert [gap.gap for gap in result.gaps] == pytest.approx(KNOWN_GAPS, abs=0.06)
    assert not any(gap.interpolated for gap in result.gaps)
    assert result.worst.beta == 10.0
    assert result.worst_gap == max(gap.gap for gap in result.gaps)
    assert result.mean_gap == pytest.approx(np.mean([gap.gap for gap in result.gaps]))


def test_a_curve_has_no_gap_to_itself() -> None:
    result = compare(make(MULTI_RATE), make(MULTI_RATE))
    assert [gap.gap for gap in result.gaps] == [0.0] * 4
    assert (result.bd_rate, result.bd_distortion, result.area) == (0.0, 0.0, 0.0)


def test_more_rate_at_equal_distortion_is_a_positive_percentage() -> None:
    base = make(BASELINES)
    assert bd_rate(make(scaled(BASELINES, rate=1.05)), base) == pytest.approx(5.0, abs=1e-9)
    assert bd_rate(make(scaled(BASELINES, rate=0.9)), base) == pytest.approx(-10.0, abs=1e-9)


def test_more_distortion_at_equal_rate_is_positive() -> None:
    worse, base = make(scaled(BASELINES, distortion=2.0)), make(BASELINES)
    assert bd_distortion(worse, base) == pytest.approx(2.0, abs=1e-9)
    assert area_between(worse, base) == pytest.approx(2.0 * (129.1 - 3.5), abs=1e-9)


def test_the_reference_curves_agree_with_the_bjontegaard_package() -> None:
    ours, theirs = make(MULTI_RATE), make(BASELINES)
    assert bd_rate(ours, theirs) == pytest.approx(oracle("bd_rate", ours, theirs), rel=1e-12)
    assert bd_distortion(ours, theirs) == pytest.approx(-oracle("bd_psnr", ours, theirs), rel=1e-12)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    n = draw(st.integers(3, 8))
    steps = st.lists(st.floats(0.5, 20), min_size=n, max_size=n)
    rates, distortions = np.cumsum(draw(steps))[::-1], 30 + np.cumsum(draw(steps))
    return make(list(zip(np.geomspace(0.01, 10, n).tolist(), rates.tolist(), distortions.tolist(), strict=True)))


@settings(max_examples=60, deadline=None)
@given(curves(), curves())
@pytest.mark.filterwarnings("ignore:Curves do not overlap")
def test_any_two_monotone_curves_agree_with_the_bjontegaard_package(ours: Curve, theirs: Curve) -> None:
    for function, name, sign in ((bd_rate, "bd_rate", 1), (bd_distortion, "bd_psnr", -1)):
        expected = sign * oracle(name, ours, theirs)
        try:
            assert function(ours, theirs) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        except UsageError:
            assert math.isnan(expected)


def test_dominated_points_do_not_disturb_the_delta() -> None:
    noisy = make([*BASELINES[:2], (0.11, 90.0, 46.0), *BASELINES[2:]])
    assert bd_rate(noisy, make(BASELINES)) == 0.0


def test_a_baseline_beta_off_the_grid_is_interpolated_and_says_so() -> None:
    ours = make(MULTI_RATE)
    (gap,) = compare(ours, make([(0.5, 40.0, 60.0)])).gaps
    assert gap.interpolated
    assert gap.gap == pytest.approx(ours.at(0.5)["objective"] - 80.0)


def test_few_points_leave_gaps_and_a_reason() -> None:
    result = compare(make(MULTI_RATE), make(BASELINES[:2]))
    assert len(result.gaps) == 2
    assert (result.bd_rate, result.bd_distortion, result.area) == (None, None, None)
    assert any("no BD-rate" in note and "at least 3" in note for note in result.notes)
    assert not {"bd_rate", "bd_distortion", "area", "rate_interval"} & set(result.to_dict())


def test_curves_that_do_not_overlap_leave_gaps_and_a_reason() -> None:
    result = compare(make(MULTI_RATE), make(scaled(BASELINES, distortion=500.0)))
    assert result.bd_rate is None
    assert any("no distortion in common" in note for note in result.notes)
    assert result.bd_distortion is not None


def test_a_small_overlap_is_noted() -> None:
    result = compare(make(MULTI_RATE), make(scaled(BASELINES, distortion=60.0)))
    assert any("BD numbers cover" in note for note in result.notes)


def test_baseline_betas_outside_the_curve_are_noted_or_refused() -> None:
    result = compare(make(MULTI_RATE), make([*BASELINES, (20.0, 1.0, 180.0)]))
    assert len(result.gaps) == 4
    assert any("no gap at beta 20" in note for note in result.notes)
    with pytest.raises(UsageError, match=r"0\.01 to 10"):
        compare(make(MULTI_RATE), make([(20.0, 1.0, 180.0)]))


def test_several_single_beta_baselines_are_joined() -> None:
    singles = [make([p], "beta-VAE") for p in BASELINES[::-1]]
    assert compare(make(MULTI_RATE), singles) == compare(make(MULTI_RATE), make(BASELINES, "beta-VAE"))


@pytest.mark.parametrize("change", [{"data": "omniglot"}, {"split": "train"}, {"examples": 5}, {"units": "bits/dim"}])
def test_curves_of_different_data_are_not_compared(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        compare(make(MULTI_RATE), replace(make(BASELINES), **change))


def test_different_likelihoods_are_not_compared() -> None:
    ours, theirs = (make(MULTI_RATE, details={"likelihood": name}) for name in ("bernoulli", "gaussian"))
    with pytest.raises(UsageError, match="likelihoods"):
        compare(ours, theirs)


def test_a_different_architecture_or_budget_is_noted() -> None:
    theirs = make(BASELINES, "beta-VAE", model="convnet", details={"epochs": 80})
    notes = compare(make(MULTI_RATE, details={"epochs": 8}), theirs).notes
    assert "model differs: resnet for multi-rate, convnet for beta-VAE" in notes
    assert "epochs differs: 8 for multi-rate, 80 for beta-VAE" in notes


def test_a_comparison_survives_its_file(tmp_path: Path) -> None:
    for baselines in (BASELINES, BASELINES[:2]):
        result = compare(make(MULTI_RATE), make(baselines))
        assert Comparison.load(result.save(tmp_path / "comparison.json")) == result
        assert json.loads(result.to_json()) == json.loads((tmp_path / "comparison.json").read_text())


def test_a_file_that_is_no_comparison_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    for content in ("{}", '{"schema": "multirate.comparison/1", "label": "a", "baseline": "b"}', "[]"):
        path.write_text(content)
        with pytest.raises(DataError, match="multirate compare"):
            Comparison.load(path)


def test_tables_carry_signs() -> None:
    result = compare(make(MULTI_RATE), make(BASELINES))
    header, *rows = result.table()
    assert header[0] == "beta" and header[-1] == "gap"
    assert rows[0][-1] == "+5.13"
    assert [name for name, _ in result.summary()] == [
        "worst gap",
        "mean gap",
        "BD-rate",
        "BD-distortion",
        "area between",
    ]
    assert (signed(-1.5), signed(0.001), signed(-0.001)) == ("\N{MINUS SIGN}1.50", "0.00", "0.00")


SETTINGS = {
    "epochs": (8, 80),
    "batch_size": (64, 128),
    "latents": (32, 64),
    "learning_rate": (0.001, 0.01),
    "kl_schedule": ("constant", "linear"),
    "training_examples": (50000, 500),
    "training_seed": (0, 1),
}


@pytest.mark.parametrize(
    ("name", "special", "usual"),
    [("objective", "beta-tcvae", "beta-vae"), ("optimizer", "adamax", "adam"), ("recalibrated", True, False)],
)
def test_a_special_setting_differs_from_the_usual_one_that_records_leave_out(
    name: str, special: object, usual: object
) -> None:
    ours, theirs = make(MULTI_RATE, details={name: special}), make(BASELINES, "beta-VAE")
    assert compare(ours, theirs).notes == (f"{name} differs: {special} for multi-rate, {usual} for beta-VAE",)
    assert compare(theirs, ours).notes == (f"{name} differs: {usual} for beta-VAE, {special} for multi-rate",)
    assert compare(ours, ours).notes == ()
    assert compare(theirs, theirs).notes == ()


@pytest.mark.parametrize("key", SETTINGS)
def test_each_setting_that_differs_is_noted_and_equal_or_unknown_ones_are_not(key: str) -> None:
    ours, theirs = SETTINGS[key]
    curve = make(MULTI_RATE, details={key: ours})
    for value in (theirs, [theirs] * 4, [None, theirs, None, theirs]):
        notes = compare(curve, make(BASELINES, "beta-VAE", details={key: value})).notes
        assert f"{key} differs: {ours} for multi-rate, {theirs} for beta-VAE" in notes
    for value in (None, ours, [ours] * 4, [ours, None, None, ours], [None] * 4):
        assert compare(curve, make(BASELINES, details={key: value})).notes == ()
    notes = compare(curve, make(BASELINES, "beta-VAE", details={key: [ours, theirs, ours, ours]})).notes
    assert notes == (f"{key} differs: {ours} for multi-rate, {ours} and {theirs} for beta-VAE",)


def test_another_architecture_is_noted_first() -> None:
    ours = make(MULTI_RATE, details={"epochs": 8, "parameters": 12345})
    theirs = make(BASELINES, "beta-VAE", model="mlp", details={"epochs": 9, "parameters": 6789})
    assert compare(ours, theirs).notes == (
        "different architecture: 12,345 and 6,789 parameters",
        "model differs: resnet for multi-rate, mlp for beta-VAE",
        "epochs differs: 8 for multi-rate, 9 for beta-VAE",
    )


def test_a_likelihood_that_some_members_do_not_know_is_no_other_one() -> None:
    ours = make(MULTI_RATE, details={"likelihood": "bernoulli"})
    compare(ours, make(BASELINES, details={"likelihood": ["bernoulli", None, None, "bernoulli"]}))
    with pytest.raises(UsageError, match="likelihoods are bernoulli and bernoulli and gaussian"):
        compare(ours, make(BASELINES, details={"likelihood": ["bernoulli", None, None, "gaussian"]}))


def test_one_cause_is_one_note_and_ranges_are_in_nats() -> None:
    far = make(scaled(MULTI_RATE, rate=0.02, distortion=300.0))
    warning, *notes = compare(far, make(BASELINES)).notes
    assert warning.startswith("multi-rate: at the weight 10 the point of beta 0.1 has a lower D + beta R")
    assert notes == [
        "no BD-rate: the curves have no distortion in common: 347.5 to 441.6 and 42.2 to 148.4 nats",
        "no BD-distortion and area between the curves: the curves have no rate in common: "
        "0.094 to 2.244 and 3.5 to 129.1 nats",
    ]


@pytest.mark.parametrize("given", ["curve.json", None, {"points": []}])
def test_what_is_no_curve_is_refused(given: Any) -> None:
    for arguments in ((given, make(BASELINES)), (make(MULTI_RATE), [given])):
        with pytest.raises(UsageError, match=r"compare takes curves; got a .*Curve\.load"):
            compare(*arguments)


def test_a_comparison_reads_as_its_table_summary_and_notes() -> None:
    theirs = make(BASELINES, "beta-VAE", details={"epochs": 9})
    lines = str(compare(make(MULTI_RATE, details={"epochs": 8}), theirs)).splitlines()
    assert lines[0].startswith("multi-rate against beta-VAE, nats per example")
    assert lines[2].split()[0] == "0.01" and lines[2].endswith("+5.13")
    assert lines[6].startswith("worst gap: +5.18 nats, at beta 10") or "worst gap: +" in lines[6]
    assert lines[-1] == "note: epochs differs: 8 for multi-rate, 9 for beta-VAE"


DAMAGE = {"a gap of text": ("gaps", "gap", "1"), "an interval of one": ("rate_interval", None, [1.0])}


@pytest.mark.parametrize(("name", "inner", "value"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_comparison_with_values_of_other_types_is_refused(
    tmp_path: Path, name: str, inner: str | None, value: object
) -> None:
    path = compare(make(MULTI_RATE), make(BASELINES)).save(tmp_path / "comparison.json")
    content = json.loads(path.read_text())
    if inner is None:
        content[name] = value
    else:
        content[name][0][inner] = value
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="is not complete"):
        Comparison.load(path)
    path.write_text(json.dumps(content | {"gaps": [], "rate_interval": None}))
    with pytest.raises(DataError, match="no gaps"):
        Comparison.load(path)


def test_a_comparison_has_no_notes_unless_there_are_any() -> None:
    assert Comparison("multi-rate", "beta-VAE", ()).notes == ()
