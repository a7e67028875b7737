"""Measures fed with batches by hand: what they give, keep, and say of themselves, against their functions."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

import multirate as mr
from factor_cases import Sprites, grid, narrow, noise, one_latent_each
from multirate.data import as_source
from multirate.errors import BetaError, DataError, UsageError
from multirate.metrics.active_units import ActiveUnits, MeanVariance, active_units
from multirate.metrics.base import Batch, Measure
from multirate.metrics.dci import DCI, dci
from multirate.metrics.decomposition import AggregatePosterior, Decomposition, decomposition
from multirate.metrics.factor_vae_score import FactorVAEScore, factor_vae_score
from multirate.metrics.isometric_importance import IsometricImportance, isometric_importance
from multirate.metrics.mutual_information_gap import (
    MutualInformationGap,
    factor_entropies,
    mutual_information_gap,
    posterior_information,
)
from multirate.terms import GaussianPosterior, Terms, diagonal_gaussian

FACTORS = torch.cat([grid((3, 4), 4), torch.zeros(48, 2, dtype=torch.int64)], 1)
NAMES = ["colour", "shape"]
POSTERIOR = narrow(torch.cat([one_latent_each(FACTORS[:, :2]), 0.01 * noise(48, 1)], 1), 0.3)


class Encoding(nn.Module):
    """A model whose posterior stands in an ``encode`` alone."""

    def __init__(self, posterior: Distribution | None = None) -> None:
        super().__init__()
        self.likelihood = "gaussian"
        if posterior is not None:
            self.encode = lambda x: posterior  # type: ignore[method-assign]


def batches(
    posterior: GaussianPosterior | None = POSTERIOR,
    model: nn.Module | None = None,
    sizes: tuple[int, ...] = (20, 28),
    factors: Tensor = FACTORS,
) -> list[Batch]:
    source, start, found = Sprites(factors), 0, []
    for size in sizes:
        rows = torch.arange(start, start + size)
        own = None
        if posterior is not None:
            own = GaussianPosterior(posterior.mean[rows], posterior.log_variance[rows], posterior.sample[rows])
        x = factors[rows].float() / 10
        terms = Terms(torch.zeros(size), torch.zeros(size), posterior=own)
        found.append(Batch(model or Encoding(), 0.5, x, terms, rows, source))
        start += size
    return found


def fed(measure: Measure, *given: Batch) -> Measure:
    for batch in given or batches():
        measure.update(batch)
    return measure


def test_active_units_are_counted_over_all_batches() -> None:
    measure = fed(ActiveUnits())

    assert measure.result(Encoding(), 0.5) == {"active_units": active_units(POSTERIOR.mean)} == {"active_units": 2}
    assert measure.settings() == {"threshold": 0.01}
    assert measure.latents() == {}
    assert fed(ActiveUnits(1e-9)).result(Encoding(), 0.5) == {"active_units": 3}
    assert ActiveUnits(0.5).settings() == {"threshold": 0.5}


def test_active_units_of_a_model_without_a_mean_are_absent_whatever_follows() -> None:
    with_means, without = batches()[0], batches(None)[1]

    assert fed(ActiveUnits(), with_means, without, with_means).result(Encoding(), 0.5) == {}
    assert fed(ActiveUnits(), without).result(Encoding(), 0.5) == {}


def test_the_posterior_of_an_encoder_stands_for_that_of_the_terms() -> None:
    posterior = Independent(Normal(POSTERIOR.mean[:20].reshape(20, 3, 1), torch.ones(20, 3, 1).double()), 2)
    (batch,) = batches(None, Encoding(posterior), (20,))

    assert batch.posterior is posterior
    assert batch.means is not None
    assert torch.equal(batch.means, POSTERIOR.mean[:20])
    (own,) = batches(sizes=(20,))
    assert own.posterior.mean is POSTERIOR.mean[:20] or torch.equal(own.posterior.mean, POSTERIOR.mean[:20])
    assert batches(None)[0].posterior is None


@pytest.mark.parametrize("cuts", [(48,), (1, 47), (20, 28), (16, 16, 16)], ids=str)
def test_moments_are_those_of_the_whole_however_it_is_cut(cuts: tuple[int, ...]) -> None:
    values, moments = 1e3 + noise(48, 2), MeanVariance()
    for part in values.split(list(cuts)):
        moments.update(part)
    moments.update(torch.zeros(0, 2))

    assert moments.count == 48
    torch.testing.assert_close(moments.mean, values.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(moments.variance, values.var(0, correction=0), rtol=1e-10, atol=0)


def test_an_empty_first_batch_is_no_example() -> None:
    moments = MeanVariance()
    moments.update(torch.zeros(0, 2))

    with pytest.raises(DataError, match="of 0 examples"):
        _ = moments.mean
    with pytest.raises(DataError, match="of 0 examples"):
        _ = moments.variance
    moments.update(torch.ones(1, 3))
    assert moments.variance.tolist() == [0.0] * 3
    with pytest.raises(DataError, match=r"shape \[B, 3\]; got \[1, 2\]"):
        moments.update(torch.ones(1, 2))
    with pytest.raises(DataError, match=r"shape \[B, Z\]; got \[2\]"):
        MeanVariance().update(torch.ones(2))


@pytest.mark.parametrize("threshold", [-1e-9, math.nan])
def test_a_threshold_is_a_variance(threshold: float) -> None:
    assert active_units(torch.zeros(3, 2), 0.0) == 0
    with pytest.raises(UsageError, match="at least 0"):
        active_units(torch.zeros(3, 2), threshold)


def test_the_decomposition_is_that_of_all_batches() -> None:
    measure = fed(Decomposition())

    found = measure.result(Encoding(), 0.5)
    assert found == pytest.approx(decomposition(POSTERIOR))
    assert list(found) == ["mutual_information", "total_correlation", "dimension_wise_kl", "marginal_kl"]
    assert found["marginal_kl"] == pytest.approx(found["total_correlation"] + found["dimension_wise_kl"])
    sampled = diagonal_gaussian(POSTERIOR.mean, POSTERIOR.log_variance).log_prob(POSTERIOR.sample)
    prior = Normal(0.0, 1.0).log_prob(POSTERIOR.sample).sum(1)
    assert sum(found[name] for name in list(found)[:3]) == pytest.approx((sampled - prior).mean().item())
    assert measure.settings() == {"examples": 48}
    with pytest.raises(UsageError, match="decomposition needs the posterior"):
        fed(Decomposition(), *batches(None))


def test_as_many_posteriors_are_kept_as_the_limit_says() -> None:
    kept = AggregatePosterior(limit=30)
    for batch in [*batches(), *batches()]:
        assert batch.terms.posterior is not None
        kept.update(batch.terms.posterior)

    assert kept.count == 30
    assert torch.equal(kept.posterior.mean, POSTERIOR.mean[:30])
    assert torch.equal(kept.posterior.log_variance, POSTERIOR.log_variance[:30])
    assert torch.equal(kept.posterior.sample, POSTERIOR.sample[:30])
    assert AggregatePosterior().limit == 10_000
    assert AggregatePosterior(1).limit == 1
    for limit in (0, -1):
        with pytest.raises(UsageError, match=f"at least 1 example; got {limit}"):
            AggregatePosterior(limit)


def test_posteriors_of_low_precision_and_with_a_graph_are_kept_in_float64_without_it() -> None:
    parts = [part.float().requires_grad_() for part in (POSTERIOR.mean, POSTERIOR.log_variance, POSTERIOR.sample)]
    kept = AggregatePosterior()
    kept.update(GaussianPosterior(*parts))

    assert kept.posterior.mean.dtype == torch.float64
    assert not kept.posterior.mean.requires_grad


WRONG_POSTERIORS = [
    (torch.zeros(3), r"expected posteriors of shape \[B, Z\]; got \[3\]"),
    (torch.full((3, 2), math.inf), "not finite"),
]


@pytest.mark.parametrize(("part", "message"), WRONG_POSTERIORS, ids=["shape", "infinity"])
def test_posteriors_that_cannot_be_are_refused(part: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        AggregatePosterior().update(GaussianPosterior(part, part, part))


def test_posteriors_of_nothing_or_of_other_latents_are_refused() -> None:
    kept = AggregatePosterior()
    kept.update(GaussianPosterior(*[torch.zeros(0, 2)] * 3))
    with pytest.raises(DataError, match="of 0 examples"):
        _ = kept.posterior
    kept.update(GaussianPosterior(*[torch.zeros(2, 2)] * 3))
    with pytest.raises(DataError, match=r"shape \[B, 2\]; got \[2, 3\]"):
        kept.update(GaussianPosterior(*[torch.zeros(2, 3)] * 3))
    with pytest.raises(DataError, match="of 0 examples"):
        decomposition(GaussianPosterior(*[torch.zeros(0, 2)] * 3))


def test_isometric_importance_is_a_number_a_latent_over_all_batches() -> None:
    measure = fed(IsometricImportance())

    assert measure.result(Encoding(), 0.5) == {}
    expected = isometric_importance(POSTERIOR.log_variance, 0.5).tolist()
    assert measure.latents()["isometric_importance"] == pytest.approx(expected)
    assert measure.settings() == {"factor": 1.0, "distortion": "negative log-likelihood"}


def test_isometric_importance_halves_beside_squared_errors_and_is_of_beta() -> None:
    model = Encoding()
    model.likelihood = "squared_error"
    measure = fed(IsometricImportance(), *batches(model=model))
    measure.result(model, 0.5)

    expected = isometric_importance(POSTERIOR.log_variance, 0.5, 0.5).tolist()
    assert measure.latents()["isometric_importance"] == pytest.approx(expected)
    assert measure.settings() == {"factor": 0.5, "distortion": "squared error"}
    with pytest.raises(BetaError, match="beta must be positive; got 0"):
        isometric_importance(POSTERIOR.log_variance, 0.0)
    with pytest.raises(DataError, match="no importance from 0 examples"):
        isometric_importance(torch.zeros(0, 3), 1.0)


def test_isometric_importance_at_a_lambda_is_that_of_its_beta() -> None:
    weighing = mr.convert(mr.models.linear(shape=(2,), latents=3), mr.BetaRange(0.1, 10.0, weighs="distortion"))
    measure = fed(IsometricImportance(), *batches())
    measure.result(weighing, 4.0)
    expected = isometric_importance(POSTERIOR.log_variance, 0.25).tolist()
    assert measure.latents()["isometric_importance"] == pytest.approx(expected)


def test_isometric_importance_takes_the_variance_of_an_encoder_and_of_no_group() -> None:
    posterior = diagonal_gaussian(POSTERIOR.mean[:20], torch.linspace(-2, 1, 60).double().reshape(20, 3))
    (batch,) = batches(None, Encoding(posterior), (20,))
    measure = fed(IsometricImportance(), batch)
    measure.result(batch.model, 2.0)

    expected = isometric_importance(posterior.variance.log(), 2.0)
    assert measure.latents()["isometric_importance"] == pytest.approx(expected.tolist())
    grouped = Terms(torch.zeros(20), torch.zeros(20), group_rate=torch.zeros(20, 2))
    flat = Independent(Normal(torch.zeros(20, 3, 1), torch.ones(20, 3, 1)), 2)
    for wrong in (
        Batch(batch.model, 0.5, batch.x, grouped, batch.indices, batch.source),
        batches(None, Encoding(flat), (20,))[0],
        batches(None)[0],
    ):
        with pytest.raises(UsageError, match="posterior variance of one vector of latents"):
            fed(IsometricImportance(), wrong)


WRONG_VARIANCES = [
    (torch.zeros(3), r"log-variances of shape \[B, Z\]; got \[3\]"),
    (torch.full((3, 2), -math.inf), "variance is 0 or not finite"),
    (torch.full((3, 2), -1e3), "variance is 0 or not finite"),
    (torch.full((3, 2), math.inf), "variance is 0 or not finite"),
]


@pytest.mark.parametrize(("log_variance", "message"), WRONG_VARIANCES, ids=str)
def test_variances_that_cannot_be_are_refused(log_variance: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        isometric_importance(log_variance, 1.0)


def test_variances_of_other_latents_are_refused() -> None:
    measure = fed(IsometricImportance())
    other = GaussianPosterior(*[torch.zeros(48, 2)] * 3)

    with pytest.raises(DataError, match=r"shape \[B, 3\]; got \[20, 2\]"):
        fed(measure, *batches(other))


def drawn_seed(seed: int) -> int:
    torch.manual_seed(seed)
    number = int(torch.randint(2**31, ()))
    torch.manual_seed(seed)
    return number


def test_the_factor_vae_score_is_that_of_all_batches_with_a_seed_that_was_drawn() -> None:
    measure, seed = fed(FactorVAEScore()), drawn_seed(3)

    found = measure.result(Encoding(), 0.5)

    assert found == {"factor_vae_score": factor_vae_score(POSTERIOR.mean, FACTORS[:, :2], seed=seed)}
    described = {"examples": 48, "factors": {"colour": 3, "shape": 4}, "left_out": ["scale", "turn"]}
    sizes = {"batch_size": 64, "train_votes": 10_000, "test_votes": 5_000, "threshold": 0.01}
    assert measure.settings() == sizes | described
    strict = fed(FactorVAEScore(100.0))
    assert strict.result(Encoding(), 0.5) == {"factor_vae_score": 0.0}
    assert strict.settings()["threshold"] == 100.0


def test_dci_is_that_of_all_batches_and_says_what_each_latent_matters_for() -> None:
    factors = torch.cat([grid((3, 4), 20), torch.zeros(240, 2, dtype=torch.int64)], 1)
    means = one_latent_each(factors[:, :2])
    measure, seed = fed(DCI(), *batches(narrow(means), sizes=(100, 140), factors=factors)), drawn_seed(4)

    found = measure.result(Encoding(), 0.5)

    assert found == pytest.approx(dci(means, factors[:, :2], seed=seed))
    assert list(found) == ["dci_disentanglement", "dci_completeness", "dci_informativeness"]
    assert measure.latents() == {
        "importance_for_colour": pytest.approx([1.0, 0.0], abs=0.05),
        "importance_for_shape": pytest.approx([0.0, 1.0], abs=0.05),
    }
    settings: dict[str, Any] = measure.settings()
    described = {"examples": 240, "factors": {"colour": 3, "shape": 4}, "left_out": ["scale", "turn"]}
    assert (
        settings
        == {
            "predictor": "ExtraTreesRegressor",
            "trees": 50,
            "min_samples_leaf": 20,
            "held_out": 0.2,
        }
        | described
    )


def test_the_mutual_information_gap_is_that_of_all_batches() -> None:
    measure = fed(MutualInformationGap())

    found = measure.result(Encoding(), 0.5)

    information = posterior_information(POSTERIOR, FACTORS[:, :2])
    expected = mutual_information_gap(information, factor_entropies(FACTORS[:, :2]))
    assert found == {"mutual_information_gap": pytest.approx(expected)}
    assert list(measure.latents()) == [f"information_about_{name}" for name in NAMES]
    for place, column in enumerate(measure.latents().values()):
        assert column == pytest.approx(information[:, place].tolist())
    assert measure.settings() == {
        "estimator": "posterior densities, one sample an example",
        "examples": 48,
        "factors": {"colour": 3, "shape": 4},
        "left_out": ["scale", "turn"],
    }
    with pytest.raises(UsageError, match="mutual_information_gap needs the posterior"):
        fed(MutualInformationGap(), *batches(None))


def test_dci_is_predicted_with_the_seed_that_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def predicted(means: Tensor, factors: Tensor, *, seed: int = -1) -> tuple[Tensor, Tensor]:
        seeds.append(seed)
        return torch.ones(3, 2), torch.ones(2)

    monkeypatch.setattr("multirate.metrics.dci.importances", predicted)
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        fed(DCI()).result(Encoding(), 0.5)
    assert seeds[0] == seeds[2] != seeds[1] and -1 not in seeds


def test_the_factor_vae_score_is_of_the_seed_that_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def scored(means: Tensor, factors: Tensor, *, threshold: float, seed: int = -1) -> float:
        seeds.append(seed)
        return 0.5

    monkeypatch.setattr("multirate.metrics.factor_vae_score.factor_vae_score", scored)
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        fed(FactorVAEScore()).result(Encoding(), 0.5)
    assert seeds[0] == seeds[2] != seeds[1] and -1 not in seeds


@pytest.mark.parametrize(
    ("measure", "name"),
    [
        (MutualInformationGap, "mutual_information_gap"),
        (DCI, "dci"),
        (FactorVAEScore, "factor_vae_score"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_measure_that_needs_factors_says_which_it_is(measure: Any, name: str) -> None:
    (batch,) = batches(sizes=(20,))
    without = dataclasses.replace(batch, source=as_source(torch.zeros(20, 2)))
    with pytest.raises(UsageError, match=rf"^{name} needs the factors of each example"):
        measure().update(without)
