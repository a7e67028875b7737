import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from multirate.errors import DataError, UsageError
from multirate.metrics.active_units import MeanVariance, active_units


def streamed(batches: list[Tensor]) -> MeanVariance:
    moments = MeanVariance()
    for batch in batches:
        moments.update(batch)
    return moments


def test_latents_that_move_are_counted() -> None:
    signs = torch.tensor([1.0, -1.0]).repeat(50)
    # Variances: 1, 0.04, 0.0081, 0, and 0 about a mean of 5.
    means = torch.stack([signs, 0.2 * signs, 0.09 * signs, 0 * signs, 0 * signs + 5], dim=1)

    assert active_units(means) == 2
    assert active_units(means, threshold=0.005) == 3
    assert active_units(means, threshold=0.5) == 1
    assert active_units(means, threshold=1.0) == 0


def test_a_variance_equal_to_the_threshold_is_not_above_it() -> None:
    assert active_units(torch.tensor([[0.5], [-0.5]]), threshold=0.25) == 0


@given(
    values=arrays(np.float64, st.tuples(st.integers(1, 40), st.integers(1, 4)), elements=st.floats(-1e3, 1e3)),
    cuts=st.lists(st.integers(0, 40), max_size=5),
)
def test_batches_give_the_moments_of_the_whole(values: np.ndarray, cuts: list[int]) -> None:
    moments = streamed([torch.tensor(part) for part in np.split(values, sorted(min(cut, len(values)) for cut in cuts))])

    assert moments.count == len(values)
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(moments.variance, values.var(0), rtol=1e-10, atol=1e-8)


def test_a_large_mean_does_not_swallow_a_small_variance() -> None:
    x = torch.randn(10_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    moments = streamed(list((1e6 + 1e-2 * x).split(77)))

    torch.testing.assert_close(moments.variance, 1e-4 * x.var(0, correction=0), rtol=1e-6, atol=0)


def test_streamed_and_whole_counts_agree_on_float32() -> None:
    scale = torch.tensor([1.0, 0.3, 0.12, 0.08, 0.01, 0.0])
    means = scale * torch.randn(1003, 6, generator=torch.Generator().manual_seed(1))

    assert active_units(streamed(list(means.split(100)))) == active_units(means) == 3


def test_moments_are_float64_and_hold_no_graph() -> None:
    moments = streamed([torch.ones(3, 2, requires_grad=True)])

    assert moments.variance.dtype == moments.mean.dtype == torch.float64
    assert not moments.variance.requires_grad


@pytest.mark.parametrize("threshold", [-0.1, float("nan")])
def test_a_threshold_that_is_no_variance_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="at least 0"):
        active_units(torch.zeros(2, 2), threshold)


@pytest.mark.parametrize(
    "means", [torch.zeros(3), torch.zeros(3, 2, 2), torch.tensor([[float("nan")]]), torch.zeros(0, 2)]
)
def test_means_that_cannot_be_counted_are_refused(means: Tensor) -> None:
    with pytest.raises(DataError):
        active_units(means)


def test_a_batch_with_other_latents_is_refused() -> None:
    moments = streamed([torch.zeros(3, 2)])

    with pytest.raises(DataError, match=r"expected a batch of shape \[B, 2\]; got \[3, 4\]"):
        moments.update(torch.zeros(3, 4))


def test_moments_of_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="0 examples"):
        _ = MeanVariance().variance
    with pytest.raises(DataError, match="0 examples"):
        _ = MeanVariance().mean
