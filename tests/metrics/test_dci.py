import math

import pytest
import torch
from torch import Tensor

from factor_cases import grid, noise, one_latent_each
from multirate.errors import DataError, UsageError
from multirate.metrics.dci import completeness, dci, disentanglement, importances

FACTORS = grid(repeats=15)
PERFECT = torch.eye(3)
# Importances [Z, F], disentanglement, completeness.
KNOWN = {
    "perfect": (PERFECT, 1.0, 1.0),
    "permuted": (PERFECT[[2, 0, 1]], 1.0, 1.0),
    "perfect and latents that hold nothing": (torch.cat([PERFECT, torch.zeros(2, 3)]), 1.0, 1.0),
    "uniform": (torch.ones(4, 3) / 4, 0.0, 0.0),
    "nothing": (torch.zeros(4, 3), 0.0, 0.0),
    "duplicated": (torch.cat([PERFECT, PERFECT]) / 2, 1.0, 1 - math.log(2) / math.log(6)),
    "one latent for all": (torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]), 0.0, 1.0),
    "one factor unpredictable": (torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), 1.0, 0.5),
    # A latent of weight 3/4 split 2 to 1, and one of weight 1/4 for the second factor alone.
    "weighted": (
        torch.tensor([[1.0, 0.5], [0.0, 0.5]]),
        1 - 0.75 * (2 / 3 * math.log2(3 / 2) + 1 / 3 * math.log2(3)),
        0.5,
    ),
}


def rotated(means: Tensor, angle: float = math.pi / 4) -> Tensor:
    """Turn the first two latents."""
    turn = torch.eye(means.shape[1], dtype=means.dtype)
    turn[:2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return means @ turn


@pytest.mark.parametrize(("matrix", "d", "c"), KNOWN.values(), ids=KNOWN)
def test_scores_of_known_importances(matrix: Tensor, d: float, c: float) -> None:
    assert disentanglement(matrix) == pytest.approx(d, abs=1e-12)
    assert completeness(matrix) == pytest.approx(c, abs=1e-12)


def test_the_order_of_latents_and_factors_does_not_matter_and_the_scale_of_all_importances_neither() -> None:
    matrix = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    changed = 7 * matrix[[4, 2, 0, 1, 3]][:, [1, 2, 0]]
    assert disentanglement(changed) == pytest.approx(disentanglement(matrix))
    assert completeness(changed) == pytest.approx(completeness(matrix))


def test_disentanglement_weighs_latents_and_completeness_does_not_weigh_factors() -> None:
    # The second latent mixes, but hardly matters.
    assert disentanglement(torch.tensor([[1.0, 0.0], [0.01, 0.01]])) > 0.97
    assert completeness(torch.tensor([[1.0, 0.01], [0.0, 0.01]])) == pytest.approx(0.5)


def test_one_latent_a_factor_has_all_three_at_one() -> None:
    means = torch.cat([one_latent_each(FACTORS), noise(len(FACTORS), 2)], 1)
    assert dci(means, FACTORS) == pytest.approx(dict.fromkeys(dci(means, FACTORS), 1.0), abs=0.02)


def test_constant_latents_have_all_three_at_zero() -> None:
    found = dci(torch.zeros(len(FACTORS), 4), FACTORS)
    assert found == {
        "dci_disentanglement": 0.0,
        "dci_completeness": 0.0,
        "dci_informativeness": pytest.approx(0, abs=0.01),
    }


def test_latents_that_hold_nothing_inform_of_nothing() -> None:
    assert dci(noise(len(FACTORS), 4), FACTORS)["dci_informativeness"] < 0.02


def test_a_duplicated_latent_costs_completeness_alone() -> None:
    found = dci(one_latent_each(FACTORS).repeat(1, 2), FACTORS)
    assert found["dci_disentanglement"] > 0.98
    assert found["dci_completeness"] == pytest.approx(1 - math.log(2) / math.log(6), abs=0.05)


def test_two_latents_that_mix_two_factors_evenly_are_not_disentangled() -> None:
    factors = grid((8, 8), repeats=15)
    means = one_latent_each(factors)
    assert dci(means, factors)["dci_disentanglement"] > 0.98
    mixed = dci(rotated(means), factors)
    assert mixed["dci_disentanglement"] < 0.05
    assert mixed["dci_completeness"] < 0.05
    assert mixed["dci_informativeness"] > 0.9


def test_importance_does_not_leak_to_latents_that_hold_nothing() -> None:
    factors = grid((8, 8), repeats=60)
    # Each latent tells about half of its factor's variance.
    means = torch.cat([one_latent_each(factors) + 2.3 * noise(len(factors), 2), noise(len(factors), 4, seed=5)], 1)
    found, explained = importances(means, factors)
    torch.testing.assert_close(explained, torch.full_like(explained, 0.5), atol=0.1, rtol=0)
    assert float(found[2:].max()) < 0.03


def test_the_share_explained_is_that_of_the_best_predictor() -> None:
    # A latent that tells whether the value is in the upper half: of 0..3, 4/5 of the variance.
    factors = grid((4, 4), repeats=60)
    means = torch.stack([(factors[:, 0] >= 2).double(), factors[:, 1].double()], 1)
    _, explained = importances(means, factors)
    torch.testing.assert_close(explained, torch.tensor([0.8, 1.0], dtype=torch.float64), atol=0.02, rtol=0)


def test_importances_of_a_factor_sum_to_one() -> None:
    found, _ = importances(one_latent_each(FACTORS) + noise(len(FACTORS), 3), FACTORS)
    assert found.shape == (3, 3)
    torch.testing.assert_close(found.sum(0), torch.ones(3, dtype=torch.float64))


def test_rows_of_importances_are_latents_and_columns_factors() -> None:
    means = torch.cat([one_latent_each(FACTORS)[:, [1, 2, 0]], noise(len(FACTORS), 1)], 1)
    found, _ = importances(means, FACTORS)
    assert found.argmax(0).tolist() == [2, 0, 1]


def test_the_order_sign_and_scale_of_latents_do_not_matter() -> None:
    means = one_latent_each(FACTORS) + 0.5 * noise(len(FACTORS), 3)
    changed = means[:, [2, 0, 1]] * torch.tensor([-8.0, 0.25, 2.0])
    assert dci(changed, FACTORS) == pytest.approx(dci(means, FACTORS), abs=0.03)


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    means = one_latent_each(FACTORS) + noise(len(FACTORS), 3)
    state = torch.get_rng_state()
    assert dci(means, FACTORS, trees=3, seed=4) == dci(means, FACTORS, trees=3, seed=4)
    assert dci(means, FACTORS, trees=3, seed=4) != dci(means, FACTORS, trees=3, seed=5)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_tree_is_enough_and_another_number_of_them_is_another_predictor() -> None:
    means = noise(len(FACTORS), 3)
    one, few = (importances(means, FACTORS, trees=trees)[0] for trees in (1, 3))
    default = importances(means, FACTORS)[0]
    assert not torch.equal(one, few) and not torch.equal(few, default)


def test_the_seed_decides_which_examples_are_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "multirate.metrics.dci.generator", lambda *words: asked.append(words) or torch.Generator().manual_seed(0)
    )
    importances(noise(len(FACTORS), 3), FACTORS, trees=1, seed=7)
    assert [words[0] for words in asked] == [7]


def test_the_seed_is_zero_unless_said_otherwise_and_numbers_are_float64() -> None:
    means = noise(len(FACTORS), 3)
    assert dci(means, FACTORS, trees=2) == dci(means, FACTORS, trees=2, seed=0)
    first, zero = importances(means, FACTORS, trees=2), importances(means, FACTORS, trees=2, seed=0)
    assert all(torch.equal(*pair) for pair in zip(first, zero, strict=True))
    assert [part.dtype for part in first] == [torch.float64, torch.float64]


def test_importances_of_one_latent_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        importances(noise(len(FACTORS), 1), FACTORS, trees=1)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2; got 1"):
        dci(one_latent_each(FACTORS)[:, :1], FACTORS)
    with pytest.raises(UsageError, match="needs at least 2 that vary; got 1"):
        dci(one_latent_each(FACTORS), FACTORS[:, :1])
    with pytest.raises(UsageError, match="at least 2; got 1"):
        completeness(torch.ones(1, 3))
    with pytest.raises(UsageError, match="trees must be at least 1; got 0"):
        dci(one_latent_each(FACTORS), FACTORS, trees=0)


@pytest.mark.parametrize("matrix", [torch.ones(3), torch.tensor([[1.0, -0.1]]), torch.ones(2, 2) / 0], ids=str)
def test_what_are_no_importances_is_refused(matrix: Tensor) -> None:
    with pytest.raises(DataError, match="at least 0; got"):
        disentanglement(matrix)
