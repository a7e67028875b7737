import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from multirate.beta import BetaLike, BetaRange
from multirate.errors import BetaError, UsageError

ENDS = [(0.01, 10.0), (0.1, 10.0), (1.0, 1.5), (1e-6, 1e3)]
RANGES = [BetaRange(low, high) for low, high in ENDS]
SAMPLING = [(1.0, 1.0), (1.7, 1.35), (0.5, 1.0), (3.0, 2.0)]

ranges = st.tuples(st.floats(1e-6, 1e6), st.floats(1.01, 1e6), st.floats(0.3, 4), st.floats(1, 5)).map(
    lambda chosen: BetaRange(chosen[0], chosen[0] * chosen[1], skew=chosen[2], margin=chosen[3])
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0.0, 1.0),
        (-1.0, 1.0),
        (1.0, 1.0),
        (2.0, 1.0),
        (math.nan, 1.0),
        (0.1, math.nan),
        (0.1, math.inf),
        (-math.inf, 1.0),
    ],
)
def test_a_range_that_is_not_positive_increasing_and_finite_is_refused(low: float, high: float) -> None:
    with pytest.raises(BetaError, match="0 < low < high"):
        BetaRange(low, high)


def test_a_beta_error_is_a_usage_error_and_a_value_error() -> None:
    assert issubclass(BetaError, UsageError)
    assert issubclass(BetaError, ValueError)


@pytest.mark.parametrize("skew", [0.0, -1.0, math.nan, math.inf])
def test_a_skew_that_is_not_positive_and_finite_is_refused(skew: float) -> None:
    with pytest.raises(BetaError, match=f"skew must be positive.*got {skew}"):
        BetaRange(skew=skew)


@pytest.mark.parametrize("margin", [0.99, 0.0, -1.0, math.nan, math.inf, 1e308])
def test_a_margin_below_one_or_not_finite_is_refused(margin: float) -> None:
    with pytest.raises(BetaError, match="margin must be finite and at least 1"):
        BetaRange(margin=margin)


def test_the_log_uniform_range_has_no_skew_and_no_margin() -> None:
    assert BetaRange.log_uniform(0.1, 2.0) == BetaRange(0.1, 2.0, skew=1.0, margin=1.0)
    assert BetaRange.log_uniform() == BetaRange(0.01, 10.0, skew=1.0, margin=1.0)
    assert BetaRange.log_uniform(0.1, 2.0).reach == 2.0


def test_the_reach_is_the_margin_times_the_upper_end() -> None:
    assert BetaRange(0.01, 10.0, margin=1.5).reach == 15.0
    assert BetaRange(0.01, 10.0).reach == pytest.approx(13.5)


@given(beta_range=ranges, n=st.integers(1, 300), seed=st.integers(0, 2**62))
def test_stratified_samples_fall_once_in_each_interval_of_u(beta_range: BetaRange, n: int, seed: int) -> None:
    log_betas = beta_range.sample(n, rng(seed), dtype=torch.float64).log().sort().values.numpy()
    low, reach = math.log(beta_range.low), math.log(beta_range.high * beta_range.margin)
    edges = low + np.linspace(0, 1, n + 1) ** beta_range.skew * (reach - low)

    # Rounding may put a draw at the very edge of its interval on the edge's other side.
    assert (log_betas >= edges[:-1] - 1e-12).all()
    assert (log_betas <= edges[1:] + 1e-12).all()


@pytest.mark.parametrize("stratified", [True, False])
def test_samples_are_inside_the_range(stratified: bool) -> None:
    for beta_range in RANGES:
        betas = beta_range.sample(1000, rng(), stratified=stratified)
        beta_range.check(betas)
        assert betas.shape == (1000,)
        assert betas.dtype == torch.float32


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("place", [0, 3, 7])
def test_beta_of_each_place_in_the_batch_is_log_uniform(stratified: bool, place: int) -> None:
    beta_range, generator = BetaRange.log_uniform(0.01, 10.0), rng(1)
    draws = [beta_range.sample(8, generator, stratified=stratified, dtype=torch.float64)[place] for _ in range(2000)]
    low, high = math.log(beta_range.low), math.log(beta_range.high)

    test = kstest(torch.stack(draws).log().numpy(), "uniform", args=(low, high - low))

    assert test.pvalue > 0.01


def skewed(low: float, high: float, skew: float, margin: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the distribution function of log beta: P(log beta <= l) = P(u <= ((l - log a) / log(m b / a))^(1/s))."""
    return lambda log_beta: np.clip((log_beta - math.log(low)) / math.log(margin * high / low), 0, 1) ** (1 / skew)


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize(("skew", "margin"), SAMPLING)
def test_beta_of_a_place_in_the_batch_has_the_skewed_distribution(stratified: bool, skew: float, margin: float) -> None:
    beta_range, generator = BetaRange(0.01, 10.0, skew=skew, margin=margin), rng(2)
    draws = [beta_range.sample(8, generator, stratified=stratified, dtype=torch.float64)[5] for _ in range(2000)]

    test = kstest(torch.stack(draws).log().numpy(), skewed(0.01, 10.0, skew, margin))

    assert test.pvalue > 0.01


@pytest.mark.parametrize(("skew", "margin"), SAMPLING[1:])
def test_the_skewed_distribution_is_told_from_the_log_uniform_one(skew: float, margin: float) -> None:
    draws = BetaRange(0.01, 10.0, skew=skew, margin=margin).sample(2000, rng(3), dtype=torch.float64)

    assert kstest(draws.log().numpy(), skewed(0.01, 10.0, 1.0, 1.0)).pvalue < 1e-3


# Over ln(1.35 high / low) nats: 12 over that, between 1 and 1.7.
EXPONENTS = [
    (BetaRange(0.01, 10.0), 12 / math.log(1350)),
    (BetaRange(1.0, 1e4, margin=1.0), 12 / math.log(1e4)),
    (BetaRange(1.0, 1.5), 1.7),
    (BetaRange(1e-6, 1e3), 1.0),
    (BetaRange(0.01, 10.0, skew=0.3), 0.3),
    (BetaRange(1.0, 1.5, skew=5.0), 5.0),
]


@pytest.mark.parametrize(("beta_range", "exponent"), EXPONENTS, ids=str)
def test_the_default_skew_fits_the_width_of_the_range_and_a_given_one_is_taken(
    beta_range: BetaRange, exponent: float
) -> None:
    assert beta_range.exponent == pytest.approx(exponent, rel=1e-12)
    same = BetaRange(beta_range.low, beta_range.high, skew=exponent, margin=beta_range.margin)
    torch.testing.assert_close(beta_range.sample(50, rng()), same.sample(50, rng()), rtol=1e-6, atol=0)


@pytest.mark.parametrize("low", [1e-3, 1e-2])
def test_the_upper_end_gets_a_twelfth_of_the_draws_a_nat_whatever_the_lower_end(low: float) -> None:
    beta_range = BetaRange(low, 10.0)
    betas = beta_range.sample(50_000, rng(), dtype=torch.float64)

    assert (betas > beta_range.reach * math.exp(-0.1)).double().mean().item() == pytest.approx(0.1 / 12, rel=0.02)


def test_samples_go_up_to_the_reach_and_not_beyond() -> None:
    beta_range = BetaRange(0.01, 10.0, skew=0.5, margin=1.35)
    betas = beta_range.sample(4000, rng(), dtype=torch.float64)

    assert 10.0 < betas.max().item() <= beta_range.reach
    assert betas.min().item() >= 0.01


def test_stratified_samples_of_a_batch_are_in_no_order() -> None:
    first = torch.stack([BetaRange().sample(8, rng(seed)).argsort() for seed in range(50)])

    assert len({tuple(order) for order in first.tolist()}) > 40


def test_plain_samples_do_not_share_out_the_intervals() -> None:
    log_betas = BetaRange(1.0, math.e).sample(100, rng(), stratified=False, dtype=torch.float64).log()

    assert len((log_betas * 100).floor().unique()) < 90


@pytest.mark.parametrize("stratified", [True, False])
def test_a_generator_decides_the_sample_and_spares_the_global_one(stratified: bool) -> None:
    before = torch.get_rng_state()

    first, second = (BetaRange().sample(16, rng(3), stratified=stratified) for _ in range(2))

    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, BetaRange().sample(16, rng(4), stratified=stratified))


@pytest.mark.parametrize("n", [0, -1])
def test_an_empty_sample_is_refused(n: int) -> None:
    with pytest.raises(BetaError, match="at least 1"):
        BetaRange().sample(n)


@pytest.mark.parametrize("beta_range", RANGES, ids=str)
@pytest.mark.parametrize("n", [2, 3, 20])
def test_grid_is_log_spaced_with_both_ends(beta_range: BetaRange, n: int) -> None:
    grid = beta_range.grid(n)

    assert grid.dtype == torch.float64
    assert (grid[0].item(), grid[-1].item()) == (beta_range.low, beta_range.high)
    np.testing.assert_allclose(grid, np.geomspace(beta_range.low, beta_range.high, n), rtol=1e-12)
    beta_range.check(beta_range.grid(n, dtype=torch.float32))


def test_a_grid_of_one_is_refused() -> None:
    with pytest.raises(BetaError, match="at least 2"):
        BetaRange().grid(1)


@pytest.mark.parametrize("beta_range", [BetaRange.log_uniform(low, high) for low, high in ENDS], ids=str)
def test_standardized_log_beta_has_mean_0_and_standard_deviation_1(beta_range: BetaRange) -> None:
    standardized = beta_range.standardize(beta_range.sample(20_000, rng(), dtype=torch.float64))

    assert standardized.mean().item() == pytest.approx(0, abs=1e-3)
    assert standardized.std().item() == pytest.approx(1, abs=1e-3)
    ends = beta_range.standardize([beta_range.low, beta_range.high])
    torch.testing.assert_close(ends, torch.tensor([-math.sqrt(3), math.sqrt(3)], dtype=torch.float64))


@given(beta_range=ranges, place=st.floats(0, 1))
def test_unstandardize_inverts_standardize(beta_range: BetaRange, place: float) -> None:
    beta = beta_range.low * (beta_range.high / beta_range.low) ** place

    assert beta_range.unstandardize(beta_range.standardize(beta)).item() == pytest.approx(beta, rel=1e-10)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standardize_keeps_shape_and_type_and_passes_gradients(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    beta = torch.full(shape, 0.5, dtype=dtype, requires_grad=True)

    standardized = BetaRange().standardize(beta)
    standardized.sum().backward()

    assert (standardized.shape, standardized.dtype) == (shape, dtype)
    torch.testing.assert_close(beta.grad, torch.full(shape, 2 / BetaRange().log_std, dtype=dtype))


@pytest.mark.parametrize(
    "beta",
    [0.01, 10.0, 1, torch.tensor(0.01), torch.tensor([0.01, 10.0]), [0.5, 1.0], torch.tensor([1, 2]), np.float32(10)],
)
def test_betas_inside_and_at_the_ends_pass_in_any_precision(beta: BetaLike) -> None:
    assert BetaRange(0.01, 10.0).check(beta) is None
    assert BetaRange.log_uniform(0.01, 10.0).check(beta) is None


@pytest.mark.parametrize("beta", [10.01, 13.5, torch.tensor([1.0, 13.5]), np.float32(13.5)])
def test_the_model_answers_beyond_the_upper_end_up_to_the_margin(beta: BetaLike) -> None:
    assert BetaRange(0.01, 10.0, margin=1.35).check(beta) is None
    with pytest.raises(BetaError, match=r"outside the range \[0.01, 10\]"):
        BetaRange(0.01, 10.0, margin=1.0).check(beta)


@pytest.mark.parametrize(
    ("beta", "message"),
    [
        (None, "missing"),
        (0.0, "positive; got 0"),
        (-0.5, "positive; got -0.5"),
        (math.nan, "finite; got nan"),
        (math.inf, "finite; got inf"),
        (-math.inf, "finite; got -inf"),
        (torch.tensor([1.0, math.nan]), "finite; got nan"),
        (torch.tensor([1.0, math.inf]), "finite; got inf"),
        (0.00999, r"0.00999 is outside the range \[0.01, 10\]"),
        (13.51, "13.51 is outside"),
        (torch.tensor([1.0, 14.0]), "14 is outside"),
        (torch.ones(2, 1), r"got shape \[2, 1\]"),
        (torch.ones(0), r"got shape \[0\]"),
        (torch.tensor(True), "real number"),
        (torch.tensor(1j), "real number"),
        (True, "real number"),
    ],
)
def test_a_beta_that_cannot_be_right_is_refused_and_named(beta: BetaLike | None, message: str) -> None:
    with pytest.raises(BetaError, match=message):
        BetaRange(0.01, 10.0).check(beta)


@given(beta_range=ranges, place=st.floats(-0.5, 1.5))
def test_membership_is_the_interval(beta_range: BetaRange, place: float) -> None:
    beta = beta_range.low * (beta_range.high / beta_range.low) ** place

    reach = beta_range.high * beta_range.margin
    if beta_range.low <= beta <= reach:
        assert beta in beta_range
    elif not beta_range.low * (1 - 1e-5) <= beta <= reach * (1 + 1e-5):
        assert beta not in beta_range


def test_a_range_prints_its_ends() -> None:
    assert str(BetaRange(0.01, 10.0)) == "[0.01, 10]"


# Lambda weighs the distortion, and is one over beta.
LAMBDAS = [BetaRange(low, high, weighs="distortion") for low, high in ENDS]


def of_beta(of_lambda: BetaRange) -> BetaRange:
    return BetaRange(1 / of_lambda.high, 1 / of_lambda.low, skew=of_lambda.skew, margin=of_lambda.margin)


@pytest.mark.parametrize("beta_range", LAMBDAS, ids=str)
def test_a_range_of_lambda_draws_one_over_what_its_range_of_beta_draws(beta_range: BetaRange) -> None:
    lambdas = beta_range.sample(200, rng(7), dtype=torch.float64)
    betas = of_beta(beta_range).sample(200, rng(7), dtype=torch.float64)

    torch.testing.assert_close(lambdas, 1 / betas, rtol=1e-10, atol=0)
    assert beta_range.exponent == pytest.approx(of_beta(beta_range).exponent, rel=1e-12)
    beta_range.check(lambdas.float())


@pytest.mark.parametrize("beta_range", LAMBDAS, ids=str)
def test_a_gate_sees_beta_whatever_the_range_is_of(beta_range: BetaRange) -> None:
    lambdas = torch.logspace(-1, 1, 9, dtype=torch.float64)

    torch.testing.assert_close(beta_range.standardize(lambdas), of_beta(beta_range).standardize(1 / lambdas))
    torch.testing.assert_close(beta_range.unstandardize(beta_range.standardize(lambdas)), lambdas)
    assert (beta_range.log_low, beta_range.log_high) == (-math.log(beta_range.high), -math.log(beta_range.low))


def test_the_margin_of_a_range_of_lambda_is_below_its_lower_end() -> None:
    beta_range = BetaRange(0.01, 10.0, margin=1.25, weighs="distortion")

    assert beta_range.reach == 0.008
    assert 0.008 in beta_range
    assert 0.0079 not in beta_range
    assert 10.01 not in beta_range
    draws = beta_range.sample(4000, rng(), dtype=torch.float64)
    assert 0.008 <= draws.min().item() < 0.01
    assert draws.max().item() <= 10.0


def test_a_grid_of_lambda_increases_and_has_both_ends() -> None:
    grid = BetaRange(0.002, 0.05, weighs="distortion").grid(5)

    np.testing.assert_allclose(grid, np.geomspace(0.002, 0.05, 5), rtol=1e-12)
    assert (grid[0].item(), grid[-1].item()) == (0.002, 0.05)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (None, r"lambda is missing.*\[0.01, 10\] of lambda"),
        (20.0, r"lambda 20 is outside the range \[0.01, 10\] of lambda"),
        (-1.0, "lambda must be positive; got -1"),
        (math.nan, "lambda must be finite; got nan"),
    ],
)
def test_errors_of_a_range_of_lambda_speak_of_lambda(weight: BetaLike | None, message: str) -> None:
    with pytest.raises(BetaError, match=message):
        BetaRange(0.01, 10.0, weighs="distortion").check(weight)
    with pytest.raises(BetaError, match="a lambda range needs 0 < low < high"):
        BetaRange(1.0, 0.5, weighs="distortion")


def test_what_a_range_weighs_is_one_of_two() -> None:
    with pytest.raises(BetaError, match=r"weighs must be 'rate' .* got 'bits'"):
        BetaRange(0.1, 1.0, weighs="bits")  # type: ignore[arg-type]


def test_beta_is_one_over_lambda_and_back() -> None:
    of_lambda, of_rate = BetaRange(0.1, 1.0, weighs="distortion"), BetaRange(0.1, 1.0)

    assert (of_lambda.beta_of(0.25), of_lambda.weight_of(4.0), of_rate.beta_of(0.25), of_rate.weight_of(4.0)) == (
        *(4.0, 0.25, 0.25, 4.0),
    )
    assert of_lambda.beta_of(torch.tensor([0.5, 1.0])).tolist() == [2.0, 1.0]
    assert (of_lambda.name, of_rate.name) == ("lambda", "beta")
    assert BetaRange.log_uniform(0.1, 1.0, weighs="distortion") == BetaRange(0.1, 1.0, 1.0, 1.0, "distortion")
