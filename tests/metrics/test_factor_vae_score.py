import math

import pytest
import torch

from factor_cases import grid, noise, one_latent_each
from multirate.errors import DataError, UsageError
from multirate.metrics.factor_vae_score import _votes, factor_vae_score, majority

FACTORS = grid(repeats=4)
MEANS = one_latent_each(FACTORS)
FEW = {"train_votes": 500, "test_votes": 500}


def test_one_latent_a_factor_scores_one() -> None:
    assert factor_vae_score(MEANS, FACTORS) == 1


def test_a_latent_a_factor_beside_noise_scores_one() -> None:
    means = torch.cat([noise(len(FACTORS), 3), MEANS + 0.1 * noise(len(FACTORS), 3, seed=1)], 1)
    assert factor_vae_score(means, FACTORS, **FEW) > 0.99


def test_constant_latents_score_zero() -> None:
    assert factor_vae_score(torch.full_like(MEANS, 3.0), FACTORS) == 0


def test_latents_that_hold_nothing_score_chance() -> None:
    # 1/3, with a standard error of 0.0067; and what a majority over chance votes adds.
    assert factor_vae_score(noise(len(FACTORS), 4), FACTORS) == pytest.approx(1 / 3, abs=0.06)


def test_a_single_latent_scores_chance() -> None:
    assert factor_vae_score(MEANS[:, :1], FACTORS) == pytest.approx(1 / 3, abs=0.03)


def test_a_factor_without_a_latent_is_mistaken_for_another() -> None:
    # Two of three factors are told; for the third the votes are right as often as the rest leaves it a latent.
    assert factor_vae_score(MEANS[:, :2], FACTORS) == pytest.approx(2 / 3, abs=0.03)


def test_a_dead_latent_has_no_vote() -> None:
    # Its mean hardly moves, and not at all where the first factor is 0.
    dead = (0.02 * (FACTORS[:, :1] > 0)).double()
    means = torch.cat([dead, MEANS], 1)
    assert float(dead.var()) < 1e-3
    assert factor_vae_score(means, FACTORS) == 1
    mixed = torch.cat([(FACTORS.sum(1, keepdim=True) % 2).double() * 1e-3, MEANS], 1)
    assert factor_vae_score(mixed, FACTORS, threshold=0) == factor_vae_score(mixed, FACTORS) == 1


def test_the_threshold_decides_which_latents_vote() -> None:
    means = MEANS * torch.tensor([1.0, 1.0, 0.01])
    assert factor_vae_score(means, FACTORS, threshold=0) == 1
    assert factor_vae_score(means, FACTORS) == pytest.approx(2 / 3, abs=0.03)


def test_variances_are_compared_in_units_of_each_latent_s_own() -> None:
    # Without normalization the small latent would always vary least.
    assert factor_vae_score(MEANS * torch.tensor([100.0, 1.0, 0.2]), FACTORS) == 1


def test_the_order_sign_and_scale_of_latents_do_not_matter() -> None:
    means = MEANS + 1.2 * noise(len(FACTORS), 3)
    changed = means[:, [2, 0, 1]] * torch.tensor([-3.0, 0.5, 10.0]) + 7
    score = factor_vae_score(means, FACTORS, batch_size=8)
    assert 0.4 < score < 0.95
    assert factor_vae_score(changed, FACTORS, batch_size=8) == score


def test_a_value_that_one_example_has_is_not_fixed() -> None:
    # Fixing it would still every latent at once, and the vote would go to the first.
    factors = torch.cat([FACTORS, torch.tensor([[9, 9, 9]])])
    means = torch.cat([MEANS, torch.zeros(1, 3, dtype=torch.float64)])[:, [2, 0, 1]]
    assert factor_vae_score(means, factors) == 1


def test_the_majority_is_counted_latent_by_latent() -> None:
    latents = torch.tensor([0, 0, 0, 2, 2, 2, 2])
    factors = torch.tensor([1, 1, 0, 0, 2, 2, 1])
    assert majority(latents, factors, 4, 3).tolist() == [1, 0, 2, 0]


def test_the_score_is_taken_on_other_votes_than_the_majority() -> None:
    # As many latents as votes: scored on its own votes the majority would be right far more often.
    means = noise(len(FACTORS), 60)
    assert factor_vae_score(means, FACTORS, train_votes=60, test_votes=2000) < 0.45


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    means = MEANS + noise(len(FACTORS), 3)
    state = torch.get_rng_state()
    assert factor_vae_score(means, FACTORS, **FEW, seed=4) == factor_vae_score(means, FACTORS, **FEW, seed=4)
    assert factor_vae_score(means, FACTORS, **FEW, seed=4) != factor_vae_score(means, FACTORS, **FEW, seed=5)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(UsageError, match="needs at least 2 that vary; got 1"):
        factor_vae_score(MEANS, FACTORS[:, :1])
    with pytest.raises(UsageError, match="batch_size must be at least 2"):
        factor_vae_score(MEANS, FACTORS, batch_size=1)
    with pytest.raises(DataError, match="no two examples share a value"):
        factor_vae_score(MEANS[:5], torch.arange(5)[:, None].repeat(1, 2))


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 1}, {"train_votes": 0}, {"test_votes": 0}, {"threshold": -0.1}, {"threshold": math.nan}]
)
def test_a_size_that_cannot_be_is_refused_by_itself(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="batch_size must be at least 2"):
        factor_vae_score(one_latent_each(FACTORS), FACTORS, **wrong)


def test_the_smallest_sizes_are_taken() -> None:
    sizes = {"batch_size": 2, "train_votes": 1, "test_votes": 1}
    assert factor_vae_score(one_latent_each(FACTORS), FACTORS, **sizes, threshold=0.0) in (0.0, 1.0)


def test_a_latent_is_active_when_its_own_variance_is_above_the_threshold() -> None:
    factors = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).repeat_interleave(2, 0)
    means = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(4)[:, None]
    # Of the eight numbers 0 and 1 it is 1/4; an unbiased estimate would be 2/7.
    assert factor_vae_score(means, factors, threshold=0.27) == 0.0
    assert factor_vae_score(means, factors, threshold=0.24) > 0.0
    assert factor_vae_score(0 * means, factors, threshold=0.0) == 0.0


def test_a_batch_is_of_one_value_however_many_examples_each_has() -> None:
    column = torch.tensor([1, 0, 2, 1, 1, 2, 1, 0, 1, 1, 1, 1, 1])
    unlike = torch.linspace(0, 1e-3, len(column), dtype=torch.float64)
    normalized = torch.stack([column.double(), unlike], 1)
    votes = _votes(normalized, column, 400, 5, torch.Generator().manual_seed(0))
    assert torch.equal(votes, torch.zeros(400, dtype=torch.int64))


def test_two_examples_of_a_value_are_enough() -> None:
    column = torch.arange(6).repeat(2)
    normalized = torch.stack([column.double(), torch.arange(12).double()], 1)
    votes = _votes(normalized, column, 50, 4, torch.Generator().manual_seed(0))
    assert int(votes.sum()) < 15  # but for batches that drew one example four times
