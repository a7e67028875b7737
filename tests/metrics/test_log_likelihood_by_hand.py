"""Importance weights by hand: one sample after another, streamed, in chunks, and as a measure."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from factor_cases import Sprites, grid, noise
from multirate.errors import DataError, UsageError
from multirate.metrics.base import Batch
from multirate.metrics.log_likelihood import LogLikelihood, LogMeanExp, log_likelihood, make_log_likelihood
from multirate.metrics.options import MeasureOptions
from multirate.terms import Terms, diagonal_gaussian, gaussian

FACTORS = torch.cat([grid((3, 4), 4), torch.zeros(48, 2, dtype=torch.int64)], 1)


class Gaussian(nn.Module):
    """A linear Gaussian model, whose likelihood is known in closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.8], [0.3]], dtype=torch.float64))

    def encode(self, x: Tensor) -> Distribution:
        return diagonal_gaussian(0.3 * x.sum(1, keepdim=True), torch.full((len(x), 1), -0.4, dtype=x.dtype))

    def prior(self) -> Distribution:
        return Independent(Normal(torch.zeros(1, dtype=torch.float64), 1.0), 1)

    def decode(self, z: Tensor) -> Distribution:
        return gaussian(z @ self.weight.T)


def test_log_likelihood_is_the_mean_over_all_batches() -> None:
    model, source = Gaussian(), Sprites(FACTORS)
    parts = []
    for rows in (torch.arange(20), torch.arange(20, 48)):
        x = FACTORS[rows, :2].double() / 10
        parts.append(Batch(model, 0.5, x, Terms(x.sum(1), x.sum(1)), rows, source))
    torch.manual_seed(0)
    measure = LogLikelihood(7)
    for part in parts:
        measure.update(part)
    torch.manual_seed(0)
    expected = torch.cat([log_likelihood(model, part.x, 7) for part in parts]).mean().item()

    assert measure.result(model, 0.5) == {"log_likelihood": pytest.approx(expected)}
    assert measure.settings() == {"samples": 7}
    assert LogLikelihood().settings() == {"samples": 64}
    made = make_log_likelihood(MeasureOptions(importance_samples=9))()
    assert made.settings() == {"samples": 9}


def test_importance_weights_are_those_of_the_samples_one_after_another() -> None:
    model, x = Gaussian(), noise(5, 2)
    torch.manual_seed(1)
    posterior = model.encode(x)
    weights = []
    for _ in range(6):
        z = posterior.sample()
        likelihood = Normal(z @ model.weight.T, 1.0).log_prob(x).sum(1)
        prior = Normal(0.0, 1.0).log_prob(z).sum(1)
        own = Normal(0.3 * x.sum(1), math.exp(-0.2)).log_prob(z[:, 0])
        weights.append(likelihood + prior - own)
    expected = torch.stack(weights).logsumexp(0) - math.log(6)

    for rows in (1, 5, 9, 10, 14, 1000):
        torch.manual_seed(1)
        torch.testing.assert_close(log_likelihood(model, x, 6, rows=rows), expected.detach(), rtol=1e-12, atol=0)


def test_a_distortion_of_the_model_is_for_decoders_that_need_the_data() -> None:
    class WithItsOwn(Gaussian):
        def distortion(self, z: Tensor, x: Tensor) -> Tensor:
            raise AssertionError("the likelihood of decode(z) says it all")

    torch.manual_seed(2)
    expected = log_likelihood(Gaussian(), noise(5, 2), 3)
    torch.manual_seed(2)
    assert torch.equal(log_likelihood(WithItsOwn(), noise(5, 2), 3), expected)


def test_an_encoder_that_returns_no_distribution_is_told_so() -> None:
    class Moments(Gaussian):
        def encode(self, x: Tensor) -> Any:
            return x

    with pytest.raises(UsageError, match=r"encode\(x\) that returns a distribution with sample and log_prob"):
        log_likelihood(Moments(), noise(5, 2), 3)


def test_as_many_samples_are_decoded_at_a_time_as_rows_allow() -> None:
    class Counting(Gaussian):
        def decode(self, z: Tensor) -> Distribution:
            seen.append(len(z))
            return super().decode(z)

    for rows, expected in ((1, [5] * 4), (9, [5] * 4), (10, [10, 10]), (14, [10, 10]), (15, [15, 5]), (1000, [20])):
        seen: list[int] = []
        log_likelihood(Counting(), noise(5, 2), 4, rows=rows)
        assert seen == expected, rows


def test_a_mean_of_exponentials_streams_over_any_size_of_weight() -> None:
    weights = torch.tensor(
        [[-1e4, 800.0, 0.0, -math.inf], [-1e4 + 1, 801.0, -math.inf, -math.inf]], dtype=torch.float64
    )
    last = torch.tensor([[-1e4 + 2, -800.0, 1.0, -3.0]], dtype=torch.float64)
    total = LogMeanExp()
    total.update(weights[:1])
    total.update(weights[1:])
    total.update(torch.zeros(0, 4))
    assert total.count == 2
    torch.testing.assert_close(total.value, weights.logsumexp(0) - math.log(2), rtol=1e-14, atol=0)
    total.update(last)

    torch.testing.assert_close(
        total.value, torch.cat([weights, last]).logsumexp(0) - math.log(3), rtol=1e-14, atol=1e-14
    )
    with pytest.raises(DataError, match=r"shape \[K, 4\]; got \[1, 3\]"):
        total.update(torch.zeros(1, 3))
    for wrong in (math.nan, math.inf):
        with pytest.raises(DataError, match="not finite"):
            total.update(torch.full((1, 4), wrong))
    with pytest.raises(DataError, match=r"shape \[K, B\]; got \[4\]"):
        LogMeanExp().update(torch.zeros(4))
    with pytest.raises(DataError, match="of 0 samples"):
        _ = LogMeanExp().value
