import math

import pytest
import torch
from sklearn.metrics import mutual_info_score
from tests.reference.factor_information import information_at_samples, information_of_normals, information_of_table
from torch import Tensor

from factor_cases import grid, narrow, noise, one_latent_each
from multirate.errors import DataError, UsageError
from multirate.metrics.mutual_information_gap import (
    binned_information,
    factor_entropies,
    mutual_information_gap,
    posterior_information,
)
from multirate.terms import GaussianPosterior
from objective_cases import chosen, random_posterior

FACTORS = grid(repeats=4)
FULL = torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64).log()
# Counts of each value of the factor (rows) at each place of the latent (columns).
CHANNELS = {
    "noisy": [[30, 10, 0], [5, 20, 15]],
    "deterministic": [[40, 0, 0], [0, 25, 35]],
    "uniform": [[10, 20, 30], [10, 20, 30]],
    "uneven values": [[70, 10, 0], [1, 2, 7]],
}
# Centres of normals in units of their deviation.
CENTERS = {"apart": [-3.0, 3.0], "overlapping": [-0.5, 0.7], "three": [-2.0, 0.0, 1.0], "equal": [0.3, 0.3]}


def gap(means: Tensor, factors: Tensor = FACTORS) -> float:
    return mutual_information_gap(posterior_information(narrow(means), factors), factor_entropies(factors))


def binned_gap(means: Tensor, factors: Tensor = FACTORS) -> float:
    return mutual_information_gap(binned_information(means, factors), factor_entropies(factors))


BOTH = {"posterior": gap, "binned": binned_gap}
by_both = pytest.mark.parametrize("measured", BOTH.values(), ids=BOTH)


@by_both
def test_one_latent_a_factor_has_gap_one(measured) -> None:
    constant = torch.zeros(len(FACTORS), 1, dtype=torch.float64)
    assert measured(torch.cat([one_latent_each(FACTORS), constant], 1)) == pytest.approx(1, abs=1e-9)


@by_both
def test_constant_latents_have_gap_zero(measured) -> None:
    assert measured(torch.zeros(len(FACTORS), 4, dtype=torch.float64)) == pytest.approx(0, abs=1e-9)


@by_both
def test_duplicated_latents_have_gap_zero(measured) -> None:
    assert measured(one_latent_each(FACTORS).repeat(1, 2)) == pytest.approx(0, abs=1e-9)


@by_both
def test_a_latent_that_holds_two_factors_is_no_gap_lost_but_a_second_latent_for_one_is(measured) -> None:
    shape, scale, turn = one_latent_each(FACTORS).T
    # Twelve distances tell the pair (shape, scale).
    both = torch.stack([4 * shape + scale, turn, torch.zeros_like(turn)], 1)
    assert measured(both) == pytest.approx(1, abs=1e-9)
    # The third latent tells turn up to a merging of two of its five values.
    merged = torch.stack([4 * shape + scale, turn, turn.clamp(max=2)], 1)
    lost = 1 - (math.log(5) - 0.4 * math.log(2)) / math.log(5)
    assert measured(merged) == pytest.approx((1 + 1 + lost) / 3, abs=1e-9)


def test_the_binned_gap_does_not_depend_on_order_sign_and_scale() -> None:
    means = one_latent_each(FACTORS) + 0.4 * noise(len(FACTORS), 3)
    changed = means[:, [2, 0, 1]] * torch.tensor([-4.0, 0.25, -2.0])
    assert 0.1 < binned_gap(means) < 0.9
    assert binned_gap(changed) == pytest.approx(binned_gap(means), abs=1e-12)


def test_posterior_information_does_not_depend_on_order_sign_and_scale() -> None:
    whole = random_posterior(60, 3)
    factors = grid((3, 4), repeats=5)
    turned = GaussianPosterior(-4 * whole.mean, whole.log_variance + math.log(16), -4 * whole.sample)
    order, latents = torch.randperm(60, generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0, 1])
    moved = chosen(turned, order)
    moved = GaussianPosterior(moved.mean[:, latents], moved.log_variance[:, latents], moved.sample[:, latents])

    found = posterior_information(moved, factors[order])

    torch.testing.assert_close(found, posterior_information(whole, factors)[latents])


def test_posterior_information_is_the_sum_over_all_pairs() -> None:
    whole = random_posterior(60, 3)
    factors = torch.stack([torch.arange(60) % 4, torch.arange(60) // 37], 1)

    found = posterior_information(whole, factors)

    expected = [
        [
            information_at_samples(
                whole.sample[:, latent].tolist(),
                whole.mean[:, latent].tolist(),
                whole.log_variance[:, latent].exp().tolist(),
                column.tolist(),
            )
            for column in factors.T
        ]
        for latent in range(3)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_chunks_do_not_change_the_information(monkeypatch: pytest.MonkeyPatch) -> None:
    from multirate.metrics import mutual_information_gap as module

    whole, factors = random_posterior(60, 3), grid((3, 4), repeats=5)
    expected = posterior_information(whole, factors)
    for chunk in (1, 7 * 60):
        monkeypatch.setattr(module, "_CHUNK", chunk)
        torch.testing.assert_close(posterior_information(whole, factors), expected)


@pytest.mark.parametrize("counts", CHANNELS.values(), ids=CHANNELS)
def test_information_through_a_discrete_channel_is_that_of_its_table(counts: list[list[int]]) -> None:
    cells = [(v, z) for v, row in enumerate(counts) for z, count in enumerate(row) for _ in range(count)]
    values, places = torch.tensor(cells).T
    means = places[:, None].to(torch.float64)
    expected = information_of_table(counts)

    assert float(posterior_information(narrow(means), values[:, None])) == pytest.approx(expected, abs=1e-9)
    assert float(binned_information(means, values[:, None])) == pytest.approx(expected, abs=1e-12)
    frequencies = [sum(row) / len(cells) for row in counts]
    entropy = -sum(p * math.log(p) for p in frequencies)
    assert float(factor_entropies(values[:, None])) == pytest.approx(entropy)


@pytest.mark.parametrize("centers", CENTERS.values(), ids=CENTERS)
def test_information_of_normals_about_their_centres_is_the_integral(centers: list[float]) -> None:
    count = 600
    values = torch.arange(len(centers)).repeat_interleave(count)
    means = torch.tensor(centers, dtype=torch.float64)[values][:, None]
    # Quantiles in place of draws: averages over them have next to no noise.
    quantiles = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count).repeat(len(centers))
    posterior = GaussianPosterior(means, torch.zeros_like(means), means + quantiles[:, None])

    found = float(posterior_information(posterior, values[:, None]))

    assert found == pytest.approx(information_of_normals(centers, 1.0), abs=1e-3)


def test_binned_information_is_that_of_scikit_learn() -> None:
    means = one_latent_each(FACTORS) + noise(len(FACTORS), 3)
    edges = [torch.linspace(float(m.min()), float(m.max()), 21, dtype=torch.float64)[1:-1] for m in means.T]
    found = binned_information(means, FACTORS)
    for latent, column in enumerate(means.T.contiguous()):
        cells = torch.bucketize(column, edges[latent], right=True)
        for factor in range(3):
            expected = mutual_info_score(cells.numpy(), FACTORS[:, factor].numpy())
            assert float(found[latent, factor]) == pytest.approx(expected, abs=1e-12)


def test_the_gap_divides_by_each_factor_s_own_entropy() -> None:
    information = torch.tensor([[0.6, 0.1], [0.2, 0.5], [0.0, 0.4]])
    entropies = torch.tensor([0.8, 2.0])
    assert mutual_information_gap(information, entropies) == pytest.approx((0.4 / 0.8 + 0.1 / 2.0) / 2)


def test_entropies_of_uniform_factors_are_the_logarithms_of_their_sizes() -> None:
    torch.testing.assert_close(factor_entropies(FACTORS), FULL)


def test_labels_of_values_do_not_matter() -> None:
    means = one_latent_each(FACTORS) + 0.4 * noise(len(FACTORS), 3)
    assert binned_gap(means, 7 - 3 * FACTORS) == pytest.approx(binned_gap(means), abs=1e-12)
    assert gap(means, 7 - 3 * FACTORS) == pytest.approx(gap(means), abs=1e-12)


def test_information_reaches_latents_off_the_diagonal() -> None:
    # The first factor lies in the third latent alone.
    means = torch.cat([torch.zeros(len(FACTORS), 2, dtype=torch.float64), one_latent_each(FACTORS)[:, :1]], 1)
    expected = torch.zeros(3, 3, dtype=torch.float64)
    expected[2, 0] = math.log(3)
    torch.testing.assert_close(posterior_information(narrow(means), FACTORS), expected, atol=1e-9, rtol=0)


def test_single_precision_posteriors_are_measured_in_double() -> None:
    whole = random_posterior(60, 2)
    single = GaussianPosterior(whole.mean.float(), whole.log_variance.float(), whole.sample.float())
    found = posterior_information(single, grid((3, 4), repeats=5))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, posterior_information(whole, grid((3, 4), repeats=5)), atol=1e-5, rtol=0)


def test_two_latents_and_two_bins_are_enough() -> None:
    information = torch.tensor([[0.1, 0.6], [0.3, 0.2]])
    entropies = torch.tensor([0.5, 0.8], dtype=torch.float64)
    exact = information.double()
    expected = ((exact[1, 0] - exact[0, 0]) / 0.5 + (exact[0, 1] - exact[1, 1]) / 0.8) / 2
    assert mutual_information_gap(information, entropies) == pytest.approx(float(expected), rel=1e-15)

    means = noise(40, 1)
    factors = (torch.arange(40) % 3)[:, None]
    middle = (means.min() + means.max()) / 2
    halves = (means[:, 0] >= middle).long()
    found = binned_information(means, factors, bins=2)
    assert float(found) == pytest.approx(mutual_info_score(factors[:, 0], halves), abs=1e-12)


def test_one_latent_has_no_gap() -> None:
    with pytest.raises(UsageError, match="needs at least 2; got 1"):
        gap(one_latent_each(FACTORS)[:, :1])


def test_what_is_no_information_is_refused() -> None:
    with pytest.raises(DataError, match=r"got \[3, 2\] and \[3\]"):
        mutual_information_gap(torch.zeros(3, 2), torch.ones(3))
    with pytest.raises(DataError, match="entropy 0"):
        mutual_information_gap(torch.zeros(3, 2), torch.tensor([1.0, 0.0]))
    with pytest.raises(UsageError, match="at least 2 bins; got 1"):
        binned_information(one_latent_each(FACTORS), FACTORS, bins=1)
