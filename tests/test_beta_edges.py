import dataclasses
import math

import pytest
import torch

from multirate.beta import BetaRange
from multirate.errors import BetaError

NUMBERS = {"rate": (0.02, 8.0), "distortion": (0.02, 8.0)}


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_range_is_by_default_that_of_the_paper_with_a_margin() -> None:
    beta_range = BetaRange()

    assert dataclasses.astuple(beta_range) == (0.01, 10.0, None, 1.35, "rate")
    assert dataclasses.astuple(BetaRange.log_uniform()) == (0.01, 10.0, 1.0, 1.0, "rate")
    with pytest.raises(dataclasses.FrozenInstanceError):
        beta_range.low = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(("skew", "margin"), [(1e-3, 1.0), (0.5, 1.0), (1.0, 2.0)])
def test_any_positive_skew_and_any_margin_from_one_on_is_taken(skew: float, margin: float) -> None:
    beta_range = BetaRange(skew=skew, margin=margin)

    assert (beta_range.exponent, beta_range.reach) == (skew, 10.0 * margin)


@pytest.mark.parametrize(
    ("low", "high", "weighs"), [(0.1, 1e308, "rate"), (5e-324, 1.0, "distortion"), (1e-308, 1e308, "rate")]
)
def test_a_margin_that_leads_beyond_all_numbers_is_refused(low: float, high: float, weighs: str) -> None:
    with pytest.raises(BetaError, match="margin must be finite"):
        BetaRange(low, high, margin=1e3, weighs=weighs)  # type: ignore[arg-type]


def test_the_least_and_greatest_numbers_make_a_range() -> None:
    assert BetaRange(1e-300, 1e300).log_std == pytest.approx(600 * math.log(10) / math.sqrt(12))


@pytest.mark.parametrize("weighs", NUMBERS)
def test_the_logarithms_of_the_range_are_those_of_beta(weighs: str) -> None:
    low, high = NUMBERS[weighs]
    beta_range = BetaRange(low, high, margin=2.0, weighs=weighs)  # type: ignore[arg-type]
    ends = sorted(math.log(v if weighs == "rate" else 1 / v) for v in (low, high))

    assert (beta_range.log_low, beta_range.log_high) == pytest.approx(ends)
    assert beta_range.log_mean == pytest.approx(sum(ends) / 2)
    assert beta_range.log_std == pytest.approx((ends[1] - ends[0]) / math.sqrt(12))
    width = ends[1] + math.log(2) - ends[0]
    assert beta_range.exponent == pytest.approx(min(1.7, max(1, 12 / width)))


@pytest.mark.parametrize(
    ("width", "exponent"), [(6.0, 1.7), (12 / 1.7, 1.7), (8.0, 1.5), (12.0, 1.0), (13.0, 1.0), (20.0, 1.0)]
)
def test_the_default_skew_is_twelve_over_the_width_between_one_and_its_greatest(width: float, exponent: float) -> None:
    assert BetaRange(1.0, math.exp(width), margin=1.0).exponent == pytest.approx(exponent)


@pytest.mark.parametrize(("weighs", "least", "most"), [("rate", 0.5, 4.0), ("distortion", 0.25, 2.0)])
def test_an_end_counts_as_inside_to_a_millionth(weighs: str, least: float, most: float) -> None:
    beta_range = BetaRange(0.5, 2.0, margin=2.0, weighs=weighs)  # type: ignore[arg-type]

    assert least * (1 - 0.9e-6) in beta_range
    assert least * (1 - 1.1e-6) not in beta_range
    assert most * (1 + 0.9e-6) in beta_range
    assert most * (1 + 1.1e-6) not in beta_range
    assert "1" not in beta_range


def test_the_millionth_at_an_end_is_inside_itself() -> None:
    beta_range = BetaRange(0.5, 2.0, margin=1.0)

    assert 0.5 * (1 - 1e-6) in beta_range
    assert 2.0 * (1 + 1e-6) in beta_range


def test_one_sample_and_a_grid_of_two_are_enough() -> None:
    beta_range = BetaRange(0.1, 3.0)

    assert beta_range.sample(1, rng()).shape == (1,)
    assert beta_range.grid(2).tolist() == [0.1, 3.0]
    with pytest.raises(BetaError, match="at least 1"):
        beta_range.sample(0)
    with pytest.raises(BetaError, match="at least 2"):
        beta_range.grid(1)


def test_samples_are_float32_stratified_and_from_the_global_generator_unless_said_otherwise() -> None:
    beta_range = BetaRange(0.1, 3.0)
    torch.manual_seed(0)
    sampled = beta_range.sample(8)
    torch.manual_seed(0)

    assert sampled.dtype == torch.float32
    assert torch.equal(sampled, beta_range.sample(8, None, stratified=True, dtype=torch.float32))
    assert torch.equal(sampled, beta_range.sample(8, rng()))
    assert beta_range.sample(8, dtype=torch.float64).dtype == torch.float64
    assert beta_range.grid(8).dtype == torch.float64
    assert beta_range.grid(8, dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("weighs", NUMBERS)
@pytest.mark.parametrize("stratified", [True, False])
def test_a_sample_is_the_power_of_uniform_numbers_in_float64(stratified: bool, weighs: str) -> None:
    beta_range = BetaRange(0.1, 3.0, skew=1.5, margin=2.0, weighs=weighs)  # type: ignore[arg-type]
    generator = rng()
    unit = torch.rand(5, generator=generator, dtype=torch.float64)
    if stratified:
        unit = (torch.randperm(5, generator=generator) + unit) / 5
    log_low, log_reach = (math.log(0.1), math.log(6.0)) if weighs == "rate" else (-math.log(3.0), -math.log(0.05))
    expected = (log_low + unit**1.5 * (log_reach - log_low)).exp()

    actual = beta_range.sample(5, rng(), stratified=stratified, dtype=torch.float64)

    torch.testing.assert_close(actual if weighs == "rate" else 1 / actual, expected, rtol=1e-13, atol=0)


def test_rounding_takes_no_sample_out_of_the_range() -> None:
    for low, high in [(0.1, 0.3), (0.7, 0.7000001), (1e-3, 3.0)]:
        for weighs in NUMBERS:
            beta_range = BetaRange(low, high, skew=1e-9, margin=1.0, weighs=weighs)  # type: ignore[arg-type]
            sampled = beta_range.sample(64, rng(), dtype=torch.float64)

            assert low <= sampled.min()
            assert sampled.max() <= high


@pytest.mark.parametrize("beta", [0.3, [0.3, 2.0], torch.tensor([0.3, 2.0]), torch.tensor([[1.0], [2.0]]).double()])
def test_standardized_numbers_are_float64_unless_a_tensor_says_otherwise(
    beta: float | list[float] | torch.Tensor,
) -> None:
    beta_range = BetaRange(0.1, 3.0)

    actual = beta_range.standardize(beta)

    values = torch.as_tensor(beta, dtype=torch.float64)
    expected = (values.log() - math.log(0.3) / 2) / (math.log(30) / math.sqrt(12))
    assert actual.dtype == (beta.dtype if isinstance(beta, torch.Tensor) else torch.float64)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(beta_range.unstandardize(actual).double(), values, rtol=1e-6, atol=0)


@pytest.mark.parametrize("beta", ["many", [0.1, "x"], object(), [[1.0], [1.0, 2.0]]])
def test_what_is_no_number_is_refused_as_it_is(beta: object) -> None:
    with pytest.raises(BetaError, match="beta must be a number, or numbers"):
        BetaRange().check(beta)  # type: ignore[arg-type]


def test_the_first_number_outside_is_named() -> None:
    with pytest.raises(BetaError, match=r"beta 0\.001 is outside"):
        BetaRange().check([0.001, 100.0])
    with pytest.raises(BetaError, match=r"finite; got inf"):
        BetaRange().check([0.001, math.inf])
    assert BetaRange(0.5, 2.0).check(torch.tensor([0.5, 1.0], requires_grad=True)) is None
