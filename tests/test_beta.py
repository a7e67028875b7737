import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from multirate.beta import BetaLike, BetaRange
from multirate.errors import BetaError, UsageError

RANGES = [BetaRange(), BetaRange(0.1, 10.0), BetaRange(1.0, 1.5), BetaRange(1e-6, 1e3)]

ranges = st.tuples(st.floats(1e-6, 1e6), st.floats(1.01, 1e6)).map(lambda pair: BetaRange(pair[0], pair[0] * pair[1]))


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


@given(beta_range=ranges, n=st.integers(1, 300), seed=st.integers(0, 2**62))
def test_stratified_samples_fall_once_in_each_log_interval(beta_range: BetaRange, n: int, seed: int) -> None:
    log_betas = beta_range.sample(n, rng(seed), dtype=torch.float64).log()
    position = (log_betas - math.log(beta_range.low)) / (math.log(beta_range.high) - math.log(beta_range.low)) * n

    # Rounding may put a draw at the very edge of its interval on the edge's other side.
    off = torch.arange(n) - position.sort().values
    assert float(off.max()) <= 1e-6
    assert float(off.min()) >= -1 - 1e-6


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
    beta_range, generator = BetaRange(0.01, 10.0), rng(1)
    draws = [beta_range.sample(8, generator, stratified=stratified, dtype=torch.float64)[place] for _ in range(2000)]
    low, high = math.log(beta_range.low), math.log(beta_range.high)

    test = kstest(torch.stack(draws).log().numpy(), "uniform", args=(low, high - low))

    assert test.pvalue > 0.01


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


@pytest.mark.parametrize("beta_range", RANGES, ids=str)
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
        (10.01, "10.01 is outside"),
        (torch.tensor([1.0, 11.0]), "11 is outside"),
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

    if beta_range.low <= beta <= beta_range.high:
        assert beta in beta_range
    elif not beta_range.low * (1 - 1e-5) <= beta <= beta_range.high * (1 + 1e-5):
        assert beta not in beta_range


def test_a_range_prints_its_ends() -> None:
    assert str(BetaRange(0.01, 10.0)) == "[0.01, 10]"
