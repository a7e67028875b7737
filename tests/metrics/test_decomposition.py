import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.quasirandom import SobolEngine

from multirate.errors import DataError, UsageError
from multirate.metrics.decomposition import AggregatePosterior, decomposition
from multirate.objectives.aggregate import aggregate_log_densities
from multirate.terms import GaussianPosterior, gaussian_kl
from objective_cases import chosen, random_posterior

# Means and variances of four posteriors in the plane, some close together and some apart.
MEANS = torch.tensor([[1.5, 1.0], [-1.0, -1.5], [0.8, 0.9], [-0.2, 0.3]], dtype=torch.float64)
VARIANCES = torch.tensor([[0.2, 0.5], [0.3, 0.3], [0.6, 0.1], [1.0, 0.9]], dtype=torch.float64)
# Weights of a linear encoder of two standard normals, and its posterior variances.
ENCODERS = {
    "correlated": ([[1.0, 0.5], [0.7, 0.9]], [0.3, 0.5]),
    "independent": ([[0.9, 0.0], [0.0, 0.6]], [0.2, 0.64]),
    "one latent unused": ([[1.2, 0.4], [0.0, 0.0]], [0.1, 1.0]),
}


def quasi_normal(n: int, dimensions: int) -> Tensor:
    """Points whose averages are those of a standard normal, with an error that falls about as 1/n."""
    points = SobolEngine(dimensions, scramble=True, seed=1).draw(n, dtype=torch.float64)
    return torch.special.ndtri(points.clamp(1e-9, 1 - 1e-9))


def integrated_parts(means: Tensor, variances: Tensor) -> dict[str, float]:
    """Slow truth of a mixture in the plane: its three integrals on a grid."""
    axis = torch.linspace(-8, 8, 641, dtype=torch.float64)
    cell = float(axis[1] - axis[0])
    grid = torch.cartesian_prod(axis, axis)
    log_prior = Independent(Normal(torch.zeros(2).double(), torch.ones(2).double()), 1).log_prob(grid)
    equal = Categorical(torch.ones(len(means), dtype=torch.float64))
    mixture = MixtureSameFamily(equal, Independent(Normal(means, variances.sqrt()), 1))
    log_density = mixture.log_prob(grid)
    density = log_density.exp()
    log_product, dimension_wise = torch.zeros_like(log_density), 0.0
    for latent in range(2):
        marginal = MixtureSameFamily(equal, Normal(means[:, latent], variances[:, latent].sqrt()))
        log_product += marginal.log_prob(grid[:, latent])
        on_axis = marginal.log_prob(axis)
        dimension_wise += float((on_axis.exp() * (on_axis - Normal(0.0, 1.0).log_prob(axis))).sum()) * cell
    entropy = -float((density * log_density).sum()) * cell**2
    return {
        "mutual_information": entropy - float(0.5 * (2 * math.pi * math.e * variances).log().sum(-1).mean()),
        "total_correlation": float((density * (log_density - log_product)).sum()) * cell**2,
        "dimension_wise_kl": dimension_wise,
        "marginal_kl": float((density * (log_density - log_prior)).sum()) * cell**2,
    }


def test_parts_of_a_mixture_are_those_integrated_on_a_grid() -> None:
    noise = quasi_normal(1024, 2)
    mean, variance = (v.repeat_interleave(1024, 0) for v in (MEANS, VARIANCES))
    sample = mean + variance.sqrt() * noise.repeat(4, 1)

    found = decomposition(GaussianPosterior(mean, variance.log(), sample))

    assert found == pytest.approx(integrated_parts(MEANS, VARIANCES), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "variances"), ENCODERS.values(), ids=ENCODERS)
def test_parts_of_a_linear_encoder_on_gaussian_data_are_the_closed_forms(
    weights: list[list[float]], variances: list[float]
) -> None:
    encoder, variance = (torch.tensor(v, dtype=torch.float64) for v in (weights, variances))
    covariance = encoder @ encoder.T + variance.diag()
    diagonal = covariance.diagonal()
    points = quasi_normal(8192, 4)
    mean = points[:, :2] @ encoder.T
    posterior = GaussianPosterior(mean, variance.log().expand_as(mean), mean + variance.sqrt() * points[:, 2:])

    found = decomposition(posterior)

    correlation = covariance / (diagonal[:, None] * diagonal).sqrt()
    expected = {
        "mutual_information": float(0.5 * (covariance.logdet() - variance.log().sum())),
        "total_correlation": float(-0.5 * correlation.logdet()),
        "dimension_wise_kl": float(0.5 * (diagonal - 1 - diagonal.log()).sum()),
        "marginal_kl": float(0.5 * (covariance.trace() - 2 - covariance.logdet())),
    }
    assert found == pytest.approx(expected, abs=3e-3)


def test_the_parts_sum_to_the_rate() -> None:
    noise = quasi_normal(1024, 2)
    mean, variance = (v.repeat_interleave(1024, 0) for v in (MEANS, VARIANCES))
    rate = float(gaussian_kl(MEANS, VARIANCES.log()).sum(-1).mean())

    found = decomposition(GaussianPosterior(mean, variance.log(), mean + variance.sqrt() * noise.repeat(4, 1)))

    split = found["mutual_information"], found["total_correlation"], found["dimension_wise_kl"]
    assert sum(split) == pytest.approx(rate, abs=1e-3)
    assert found["mutual_information"] + found["marginal_kl"] == pytest.approx(rate, abs=1e-3)
    assert found["mutual_information"] < rate


def test_at_rate_zero_all_parts_are_zero() -> None:
    sample = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    zeros = torch.zeros_like(sample)

    found = decomposition(GaussianPosterior(zeros, zeros, sample))

    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-9)


def test_a_small_set_equals_every_pair_written_out() -> None:
    posterior = random_posterior(7, 3)
    mean, std, z = posterior.mean, (posterior.log_variance / 2).exp(), posterior.sample
    information = marginal = 0.0
    for i in range(7):
        own = float(Normal(mean[i], std[i]).log_prob(z[i]).sum())
        pairs = [math.exp(float(Normal(mean[j], std[j]).log_prob(z[i]).sum())) for j in range(7)]
        aggregate = math.log(math.fsum(pairs) / 7)
        information += (own - aggregate) / 7
        marginal += (aggregate - float(Normal(0.0, 1.0).log_prob(z[i]).sum())) / 7

    found = decomposition(posterior)

    assert found["mutual_information"] == pytest.approx(information, abs=1e-12)
    assert found["marginal_kl"] == pytest.approx(marginal, abs=1e-12)


@pytest.mark.parametrize("chunk", [1, 100, 2**18])
def test_pairs_are_compared_in_chunks_of_any_size(chunk: int) -> None:
    posterior = random_posterior(61, 2)
    whole = decomposition(posterior)
    weight = -math.log(61)
    joint, _ = aggregate_log_densities(posterior, weight, weight, chunk)
    own = Independent(Normal(posterior.mean, (posterior.log_variance / 2).exp()), 1).log_prob(posterior.sample)

    assert float((own - joint).mean()) == pytest.approx(whole["mutual_information"], abs=1e-12)


@pytest.mark.parametrize("scale", [0.05, 0.5, 2.0, 20.0])
def test_mutual_information_is_between_zero_and_rate_and_log_n_but_for_noise(scale: float) -> None:
    generator = torch.Generator().manual_seed(3)
    mean = scale * torch.randn(2000, 2, generator=generator, dtype=torch.float64)
    log_variance = torch.full_like(mean, -math.log(1 + scale**2))
    noise = torch.randn(2000, 2, generator=generator, dtype=torch.float64)
    rate = float(gaussian_kl(mean, log_variance).sum(-1).mean())

    found = decomposition(GaussianPosterior(mean, log_variance, mean + (0.5 * log_variance).exp() * noise))

    assert -0.05 <= found["mutual_information"] <= min(rate + 0.05, math.log(2000) + 1e-9)
    assert found["marginal_kl"] >= -0.05


def test_posteriors_that_do_not_overlap_tell_their_examples_apart() -> None:
    mean = 1000 * torch.arange(50.0)[:, None].expand(50, 2)

    found = decomposition(GaussianPosterior(mean, torch.zeros(50, 2), mean))

    # Either latent alone tells which of the examples it was.
    assert found["mutual_information"] == pytest.approx(math.log(50))
    assert found["total_correlation"] == pytest.approx(math.log(50))


def test_the_result_does_not_depend_on_how_examples_are_cut_in_batches_nor_on_their_order() -> None:
    whole = random_posterior(101, 3)
    streamed = AggregatePosterior()
    for rows in torch.randperm(101, generator=torch.Generator().manual_seed(2)).split(17):
        streamed.update(chosen(whole, rows))

    assert streamed.count == 101
    assert decomposition(streamed) == pytest.approx(decomposition(whole), abs=1e-12)


def test_the_limit_keeps_the_first_examples() -> None:
    whole = random_posterior(30, 2)
    kept = AggregatePosterior(limit=25)
    for rows in torch.arange(30).split(10):
        kept.update(chosen(whole, rows))

    assert kept.count == 25
    assert decomposition(kept) == decomposition(chosen(whole, torch.arange(25)))


def test_kept_posteriors_are_float64_and_hold_no_graph() -> None:
    kept = AggregatePosterior()
    kept.update(GaussianPosterior(*(torch.zeros(3, 2, requires_grad=True) for _ in range(3))))

    assert kept.posterior.mean.dtype == torch.float64
    assert not kept.posterior.sample.requires_grad


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2)], ids=str)
def test_posteriors_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"expected posteriors of shape \[B, Z\]"):
        decomposition(GaussianPosterior(*(torch.zeros(shape) for _ in range(3))))


def test_a_batch_with_other_latents_is_refused() -> None:
    kept = AggregatePosterior()
    kept.update(random_posterior(3, 2))

    with pytest.raises(DataError, match=r"expected posteriors of shape \[B, 2\]; got \[3, 4\]"):
        kept.update(random_posterior(3, 4))


def test_posteriors_that_are_not_finite_are_refused() -> None:
    zeros = torch.zeros(2, 2)

    with pytest.raises(DataError, match="not finite"):
        decomposition(GaussianPosterior(zeros, zeros, zeros / 0))


def test_no_examples_and_no_room_are_refused() -> None:
    with pytest.raises(DataError, match="of 0 examples"):
        decomposition(AggregatePosterior())
    with pytest.raises(DataError, match="of 0 examples"):
        decomposition(GaussianPosterior(*(torch.zeros(0, 2) for _ in range(3))))
    with pytest.raises(UsageError, match="at least 1 example; got 0"):
        AggregatePosterior(limit=0)
