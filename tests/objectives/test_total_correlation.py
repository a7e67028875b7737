import math
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from multirate.errors import UsageError
from multirate.objectives import BetaTCVAE, decompose
from multirate.objectives.aggregate import aggregate_log_densities
from multirate.objectives.total_correlation import ESTIMATORS, Estimator, log_weights
from multirate.terms import GaussianPosterior
from objective_cases import chosen, random_posterior, terms_of

SIZES = [(2, 2), (2, 5), (3, 5), (5, 5), (64, 64), (64, 60_000), (2048, 737_280)]
DATASET, BATCH = 6, 3

every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


def weight_matrix(estimator: Estimator, examples: int, dataset_size: int) -> Tensor:
    own, other = log_weights(estimator, examples, dataset_size)
    weights = torch.full((examples, examples), math.exp(other), dtype=torch.float64)
    return weights.fill_diagonal_(math.exp(own))


def exact_densities(posterior: GaussianPosterior) -> tuple[Tensor, Tensor]:
    """Slow truth: q(z) and q(z_j) of all posteriors at each of their samples."""
    each = Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    single = torch.stack([each.log_prob(z).exp() for z in posterior.sample])
    return single.prod(-1).mean(1), single.mean(1)


def mean_over_batches(posterior: GaussianPosterior, estimator: Estimator) -> tuple[Tensor, Tensor]:
    """Average the estimated densities at each sample over every batch that it can be in."""
    joint = torch.zeros(DATASET, dtype=torch.float64)
    marginals = torch.zeros_like(posterior.sample)
    counts = torch.zeros(DATASET, dtype=torch.float64)
    for batch in combinations(range(DATASET), BATCH):
        rows = torch.tensor(batch)
        found = aggregate_log_densities(chosen(posterior, rows), *log_weights(estimator, BATCH, DATASET))
        joint[rows] += found[0].exp()
        marginals[rows] += found[1].exp()
        counts[rows] += 1
    return joint / counts, marginals / counts[:, None]


@pytest.mark.parametrize(("examples", "dataset_size"), SIZES)
def test_rows_of_stratified_weights_sum_to_one(examples: int, dataset_size: int) -> None:
    weights = weight_matrix("stratified", examples, dataset_size)

    torch.testing.assert_close(weights.sum(1), torch.ones(examples, dtype=torch.float64))
    torch.testing.assert_close(weights.diagonal(), torch.full((examples,), 1 / dataset_size, dtype=torch.float64))
    assert (weights > 0).all()


@pytest.mark.parametrize(("examples", "dataset_size"), SIZES)
def test_rows_of_weighted_weights_sum_to_one_example(examples: int, dataset_size: int) -> None:
    sums = weight_matrix("weighted", examples, dataset_size).sum(1)

    torch.testing.assert_close(sums, torch.full((examples,), 1 / dataset_size, dtype=torch.float64))


@pytest.mark.parametrize(("examples", "dataset_size"), [size for size in SIZES if size[0] < 100])
def test_stratified_weights_are_the_papers_averaged_over_which_example_is_last(
    examples: int, dataset_size: int
) -> None:
    others = examples - 1
    row = torch.full((others, others), 1 / others, dtype=torch.float64)
    row.fill_diagonal_((dataset_size - others) / (dataset_size * others))

    weights = weight_matrix("stratified", examples, dataset_size)

    torch.testing.assert_close(weights[0, 1:], row.mean(0))


def test_the_stratified_density_is_unbiased_over_all_batches() -> None:
    posterior = random_posterior(DATASET, 2)

    found, expected = mean_over_batches(posterior, "stratified"), exact_densities(posterior)

    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-12, atol=0)


def test_the_weighted_density_is_low_by_the_dataset_size_and_counts_its_own_posterior_too_often() -> None:
    posterior = random_posterior(DATASET, 2)
    joint, _ = exact_densities(posterior)
    own = Independent(Normal(posterior.mean, (0.5 * posterior.log_variance).exp()), 1).log_prob(posterior.sample).exp()

    found, _ = mean_over_batches(posterior, "weighted")

    expected = (own + (BATCH - 1) * (DATASET * joint - own) / (DATASET - 1)) / (DATASET * BATCH)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    # Times N it is a density again, whose own term weighs 1/M in place of 1/N.
    torch.testing.assert_close(
        DATASET * found - joint, (own - joint) * (1 / BATCH - 1 / DATASET) * DATASET / (DATASET - 1)
    )


def test_on_the_whole_data_set_the_stratified_decomposition_is_exact() -> None:
    posterior = random_posterior(DATASET, 2)
    joint, marginals = exact_densities(posterior)

    split = decompose(posterior, DATASET, "stratified")

    torch.testing.assert_close(split.total_correlation, joint.log() - marginals.log().sum(-1))


@every_estimator
def test_the_parts_sum_to_the_sampled_rate_of_each_example(estimator: Estimator) -> None:
    posterior = random_posterior(20, 3)
    each = Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    prior = Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    expected = (each.log_prob(posterior.sample) - prior.log_prob(posterior.sample)).sum(-1)

    split = decompose(posterior, 1000, estimator)

    assert all(part.shape == (20,) for part in split)
    torch.testing.assert_close(sum(split), expected, rtol=1e-12, atol=1e-12)


def test_taking_the_dataset_size_out_of_the_weighted_estimate_shifts_each_part_by_a_constant() -> None:
    posterior = random_posterior(20, 3)

    small, large = (decompose(posterior, size, "weighted") for size in (20, 20_000))

    log_ratio = math.log(1000)
    for part, shift in zip(range(3), (log_ratio, 2 * log_ratio, -3 * log_ratio), strict=True):
        torch.testing.assert_close(large[part] - small[part], torch.full((20,), shift, dtype=torch.float64))


@every_estimator
def test_equal_posteriors_have_no_mutual_information_and_no_total_correlation(estimator: Estimator) -> None:
    source = torch.Generator().manual_seed(0)
    sample = torch.randn(50, 3, generator=source, dtype=torch.float64)
    posterior = GaussianPosterior(torch.zeros_like(sample), torch.zeros_like(sample), sample)

    # The weighted estimate is exact here when its N is taken out.
    split = decompose(posterior, 50, estimator)
    shift = math.log(50) if estimator == "weighted" else 0.0

    for part, expected in zip(split, (shift, 2 * shift, -3 * shift), strict=True):
        torch.testing.assert_close(part, torch.full((50,), expected, dtype=torch.float64), rtol=0, atol=1e-12)


@every_estimator
def test_the_loss_is_the_papers_sum(estimator: Estimator) -> None:
    terms = terms_of(random_posterior(20, 3))
    assert terms.posterior is not None
    information, correlation, dimension_wise = decompose(terms.posterior, 100, estimator)

    sampled = BetaTCVAE(100, estimator, analytic_rate=False)(terms, 6.0)
    analytic = BetaTCVAE(100, estimator)(terms, 6.0)

    torch.testing.assert_close(sampled, terms.distortion + information + 6.0 * correlation + dimension_wise)
    torch.testing.assert_close(analytic, terms.distortion + terms.rate + 5.0 * correlation)


def test_the_closed_rate_changes_the_noise_and_not_the_mean() -> None:
    posterior, draws = random_posterior(30, 3), 150
    source = torch.Generator().manual_seed(1)
    scale = (0.5 * posterior.log_variance).exp()
    losses: dict[bool, list[Tensor]] = {True: [], False: []}
    for _ in range(draws):
        noise = torch.randn(posterior.mean.shape, generator=source, dtype=torch.float64)
        terms = terms_of(GaussianPosterior(posterior.mean, posterior.log_variance, posterior.mean + scale * noise))
        for analytic, kept in losses.items():
            kept.append((BetaTCVAE(100, analytic_rate=analytic)(terms, 1.0) - terms.distortion).mean())

    closed, sampled = (torch.stack(losses[analytic]) for analytic in (True, False))

    # At beta 1 what is left is the rate: without noise in closed form, with the same mean at the samples.
    assert closed.std() < 1e-12
    assert abs(sampled.mean() - closed.mean()) < 4 * sampled.std() / math.sqrt(draws)
    assert sampled.std() > 0.1


def test_gradients_of_the_weighted_estimate_do_not_depend_on_the_dataset_size() -> None:
    def gradient(dataset_size: int) -> Tensor:
        posterior = random_posterior(20, 3)
        mean = posterior.mean.requires_grad_()
        shifted = GaussianPosterior(mean, posterior.log_variance, mean + (posterior.sample - mean.detach()))
        BetaTCVAE(dataset_size, "weighted")(terms_of(shifted), 5.0).mean().backward()
        assert mean.grad is not None
        return mean.grad

    torch.testing.assert_close(gradient(20), gradient(60_000))


def test_the_gradient_of_the_loss_is_the_difference_quotient() -> None:
    posterior = random_posterior(5, 2)

    def loss(mean: Tensor, log_variance: Tensor, sample: Tensor) -> Tensor:
        return BetaTCVAE(50)(terms_of(GaussianPosterior(mean, log_variance, sample)), 3.0)

    leaves = tuple(v.requires_grad_() for v in (posterior.mean, posterior.log_variance, posterior.sample))
    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize("dataset_size", [0, 1])
def test_a_data_set_too_small_is_refused_at_once(dataset_size: int) -> None:
    with pytest.raises(UsageError, match="set dataset_size to the number of training examples"):
        BetaTCVAE(dataset_size)


def test_a_batch_larger_than_the_data_set_is_refused() -> None:
    with pytest.raises(UsageError, match=r"of 5 examples .* got a batch of 6"):
        BetaTCVAE(5)(terms_of(random_posterior(6, 2)), 1.0)


def test_an_unknown_estimator_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="one of stratified, weighted; got 'exact'"):
        BetaTCVAE(10, estimator="exact")  # type: ignore[arg-type]


def test_the_default_is_the_stratified_estimate_with_the_closed_rate() -> None:
    posterior = random_posterior(6, 3)

    assert BetaTCVAE(10) == BetaTCVAE(10, "stratified", analytic_rate=True)
    for found, expected in zip(decompose(posterior, 10), decompose(posterior, 10, "stratified"), strict=True):
        assert torch.equal(found, expected)


def test_a_data_set_of_two_is_enough() -> None:
    terms = terms_of(random_posterior(2, 3))

    assert BetaTCVAE(2)(terms, 1.0).isfinite().all()
    torch.testing.assert_close(BetaTCVAE(2)(terms, 1.0), -terms.elbo)
