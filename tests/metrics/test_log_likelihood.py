"""Importance-weighted log-likelihood: the linear VAE's closed form, a slow reference, and what must not change it."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

import multirate as mr
from multirate import models
from multirate.errors import DataError, UsageError
from multirate.metrics.log_likelihood import LogMeanExp, log_likelihood
from multirate.metrics.options import MeasureOptions
from multirate.models.hierarchical.configurations import Configuration
from multirate.models.hierarchical.model import NVAE
from multirate.seeding import seeded
from multirate.terms import diagonal_gaussian, gaussian, gaussian_kl
from multirate.theory import LinearVAE as Theory
from multirate.theory import linear_terms

SENTENCES = torch.tensor([[5, 6, 9, 3, 0, 0], [7, 3, 0, 0, 0, 0], [4, 8, 1, 5, 10, 3]])


@pytest.fixture
def data() -> Tensor:
    scale = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2], dtype=torch.float64)
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * scale
    return x - x.mean(0)


class Fixed(nn.Module):
    """q(z|x) = N(E x, C) and p(x|z) = N(D z, 1) with given matrices."""

    def __init__(self, decoder: Tensor, encoder: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.maps = decoder, encoder
        self.log_variance = nn.Parameter(variance.log())

    def encode(self, x: Tensor) -> Any:
        mean = x @ self.maps[1].T
        return diagonal_gaussian(mean, self.log_variance.expand_as(mean))

    def decode(self, z: Tensor) -> Any:
        return gaussian(z @ self.maps[0].T)

    def prior(self) -> Any:
        zeros = torch.zeros_like(self.log_variance)
        return diagonal_gaussian(zeros, zeros)

    def terms(self, x: Tensor) -> mr.Terms:
        posterior = self.encode(x)
        rate = gaussian_kl(posterior.mean, self.log_variance.expand_as(posterior.mean)).sum(-1)
        return mr.Terms(rate, -self.decode(posterior.rsample()).log_prob(x))

    def marginal(self, x: Tensor) -> Tensor:
        """Exact log p(x): a Gaussian with the decoder's covariance and the likelihood's noise."""
        covariance = self.maps[0] @ self.maps[0].T + torch.eye(5, dtype=torch.float64)
        return MultivariateNormal(torch.zeros(5, dtype=torch.float64), covariance).log_prob(x)


@pytest.fixture
def exact(data: Tensor) -> Fixed:
    """The optimum at beta 1, whose posterior is the decoder's own."""
    best = Theory(torch.cov(data.T, correction=0), 2).parameters(1.0)
    return Fixed(best.decoder, best.encoder, best.variance)


@pytest.fixture
def linear(exact: Fixed) -> Fixed:
    """The same with a posterior that is off."""
    return Fixed(exact.maps[0], 0.9 * exact.maps[1], 2.5 * exact.log_variance.detach().exp())


@torch.no_grad()
def measured(model: nn.Module, x: Tensor, samples: int, seed: int = 0, **options: Any) -> Tensor:
    with seeded(seed):
        return log_likelihood(model, x, samples, **options)


def test_tends_to_the_closed_form_of_the_linear_vae_from_below(linear: Fixed, data: Tensor) -> None:
    truth = float(linear.marginal(data).mean())

    gaps = [truth - float(measured(linear, data, samples).mean()) for samples in (1, 4, 3000)]

    assert gaps[0] > gaps[1] + 0.1 > gaps[2] + 0.2
    assert gaps[0] > 0.5
    assert gaps[-1] == pytest.approx(0, abs=3e-3)


def test_one_sample_is_enough_where_the_posterior_is_the_exact_one(exact: Fixed, data: Tensor) -> None:
    torch.testing.assert_close(measured(exact, data, 1), exact.marginal(data), rtol=0, atol=1e-9)


def test_one_sample_gives_the_elbo_in_expectation(linear: Fixed, data: Tensor) -> None:
    covariance = torch.cov(data.T, correction=0)
    elbo = -float(sum(linear_terms(*linear.maps, linear.log_variance.detach().exp(), covariance)))

    draws = torch.stack([measured(linear, data, 1, seed=seed).mean() for seed in range(200)])

    assert float(draws.mean()) == pytest.approx(elbo, abs=4 * float(draws.std()) / 200**0.5)


@pytest.mark.parametrize("rows", [1, 120, 121, 10_000])
def test_the_size_of_the_chunks_does_not_change_it(rows: int, linear: Fixed, data: Tensor) -> None:
    torch.testing.assert_close(
        measured(linear, data, 13, rows=rows), measured(linear, data, 13, rows=280), rtol=1e-12, atol=0
    )


def test_no_more_rows_are_decoded_at_a_time_than_allowed(data: Tensor) -> None:
    seen = []

    class Watched(Fixed):
        def decode(self, z: Tensor) -> Any:
            seen.append(len(z))
            return super().decode(z)

    decoder = torch.ones(5, 2, dtype=torch.float64)
    measured(Watched(decoder, decoder.T, torch.ones(2).double()), data, 9, rows=100)

    assert seen == [80, 80, 80, 80, 40]


@pytest.mark.parametrize("far", [1e4, -1e4, 1e6], ids="{:g}".format)
def test_weights_of_any_size_neither_overflow_nor_vanish(far: float) -> None:
    spread = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5
    streamed = LogMeanExp()
    for part in (spread - far).split(7):
        streamed.update(part)

    truth = spread.exp().mean(0).log() - far
    torch.testing.assert_close(streamed.value, truth, rtol=1e-12, atol=0)
    assert streamed.count == 50


def test_a_distortion_of_ten_thousand_nats_is_measured_in_float32_too() -> None:
    decoder = torch.zeros(5, 2)
    model = Fixed(decoder, torch.zeros(2, 5), torch.ones(2))
    x = torch.full((3, 5), math.sqrt(2e4 / 5))

    found = measured(model, x, 64)

    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.full((3,), -1e4 - 2.5 * math.log(2 * math.pi)).double(), rtol=1e-6, atol=0)


def test_a_sample_of_weight_zero_counts_as_zero() -> None:
    total = LogMeanExp()
    total.update(torch.tensor([[-math.inf, -math.inf]]))
    total.update(torch.tensor([[0.0, -math.inf]]))

    assert total.value.tolist() == [math.log(0.5), -math.inf]


@pytest.mark.parametrize("weights", [torch.zeros(3), torch.tensor([[math.nan]]), torch.tensor([[math.inf]])], ids=str)
def test_weights_that_are_none_are_refused(weights: Tensor) -> None:
    with pytest.raises(DataError, match="log weight"):
        LogMeanExp().update(weights)


def test_no_samples_and_another_number_of_examples_are_refused(data: Tensor, linear: Fixed) -> None:
    total = LogMeanExp()
    with pytest.raises(DataError, match="0 samples"):
        _ = total.value
    total.update(torch.zeros(1, 2))
    with pytest.raises(DataError, match=r"shape \[K, 2\]; got \[1, 3\]"):
        total.update(torch.zeros(1, 3))
    with pytest.raises(UsageError, match="at least 1; got 0"):
        log_likelihood(linear, data, 0)


def lstm() -> nn.Module:
    with seeded(0):
        model = models.lstm((8,), latents=3, vocabulary_size=11, embedding=5, hidden=6).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model


@torch.no_grad()
def test_sentences_are_weighed_by_their_own_words() -> None:
    model: Any = lstm()
    posterior, weights = model.encode(SENTENCES), []
    with seeded(5):
        for _ in range(6):
            z = posterior.sample()
            prior = Independent(Normal(torch.zeros(3).double(), torch.ones(3).double()), 1).log_prob(z)
            logits = model.decode(z, SENTENCES).log_softmax(-1)
            words = logits.gather(-1, SENTENCES[..., None])[..., 0] * (SENTENCES != 0)
            weights.append(words.sum(-1) + prior - posterior.log_prob(z))

    found = measured(model, SENTENCES, 6, seed=5)

    torch.testing.assert_close(found, torch.stack(weights).logsumexp(0) - math.log(6))


@torch.no_grad()
def test_a_hierarchical_model_weighs_its_own_samples() -> None:
    with seeded(0):
        sizes = Configuration(groups=(2, 1), halvings=1, channels=4, latents=2, cells=1, outer_cells=1, expansion=2)
        model = NVAE((1, 28, 28), sizes).double().eval()
    x = torch.randint(2, (2, 1, 28, 28), generator=torch.Generator().manual_seed(0)).double()
    with seeded(1):
        singles = torch.stack([model.log_weight(x) for _ in range(3)])

    torch.testing.assert_close(measured(model, x, 3, seed=1), singles.logsumexp(0) - math.log(3))


@pytest.mark.parametrize("make", [lambda: models.mlp(shape=(5,), latents=2, hidden=(8,), likelihood="gaussian")])
def test_the_measure_of_a_multi_rate_model_is_that_of_its_folded_ones(make: Callable[[], nn.Module]) -> None:
    with seeded(0):
        model = mr.convert(make(), mr.BetaRange(0.01, 10.0)).double()
        with torch.no_grad():
            for parameter in model.response.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"measures": ("log_likelihood",), "progress": False, "batch_size": 12}

    curve = mr.evaluate(model, x, [0.1, 3.0], measure_options=MeasureOptions(importance_samples=5), **options)

    assert curve.details["measures"]["log_likelihood"] == {"samples": 5}
    for known in curve.points:
        folded = mr.evaluate(
            mr.fold(model, known["beta"]),
            x,
            beta=known["beta"],
            measure_options=MeasureOptions(importance_samples=5),
            **options,
        )
        assert folded.points[0]["log_likelihood"] == pytest.approx(known["log_likelihood"], rel=1e-9)
    assert len(set(curve.values("log_likelihood"))) == 2


def test_the_mean_is_over_all_examples_of_all_batches(linear: Fixed, data: Tensor) -> None:
    options = MeasureOptions(importance_samples=1000)
    curve = mr.evaluate(
        linear, data, beta=1.0, measures=("log_likelihood",), measure_options=options, batch_size=15, progress=False
    )
    assert curve.points[0]["log_likelihood"] == pytest.approx(float(linear.marginal(data).mean()), abs=0.01)
    assert curve.points[0]["log_likelihood"] > curve.points[0]["elbo"]


class Bare(nn.Module):
    def terms(self, x: Tensor) -> mr.Terms:
        return mr.Terms(x.square().sum(-1), x.abs().sum(-1))


class Points(Fixed):
    """A model of a user's whose decoder gives a tensor."""

    def decode(self, z: Tensor) -> Any:
        return z @ self.maps[0].T


def test_a_model_without_densities_is_told_what_it_lacks(data: Tensor) -> None:
    with pytest.raises(UsageError, match=r"Bare has no encode: add it, or leave the measure out"):
        mr.evaluate(Bare(), data, beta=1.0, measures=("log_likelihood",), progress=False)
    decoder = torch.ones(5, 2, dtype=torch.float64)
    with pytest.raises(UsageError, match=r"decode\(z\) that returns a distribution"):
        measured(Points(decoder, decoder.T, torch.ones(2).double()), data, 2)
