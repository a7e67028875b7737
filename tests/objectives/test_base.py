"""What objectives ask of a batch and its betas."""

import pytest
import torch
from torch import Tensor

from multirate.errors import BetaError, UsageError
from multirate.objectives import DistortionWeighted, by_name, couples_examples
from multirate.objectives.base import batch_posterior, check_betas, check_one_beta
from objective_cases import random_posterior, terms_of

TERMS = terms_of(random_posterior(2, 3))
NAMES = {
    "beta-tcvae": "beta-TCVAE",
    "dip-vae-i": "DIP-VAE-I",
    "dip-vae-ii": "DIP-VAE-II",
    "info-vae": "InfoVAE",
    "free-bits": "free bits",
    "sigma-vae": "sigma-VAE",
}


@pytest.mark.parametrize("beta", [0.5, torch.tensor(0.5), torch.tensor([0.5, 2.0])], ids=str)
def test_one_number_or_one_an_example_is_taken(beta: float | Tensor) -> None:
    check_betas(TERMS, beta)


@pytest.mark.parametrize("beta", [torch.ones(3), torch.ones(1), torch.ones(2, 1)], ids=str)
def test_any_other_number_of_betas_is_refused_with_both_counts(beta: Tensor) -> None:
    with pytest.raises(BetaError, match=rf"^\[{beta.shape[0]}(, 1)?\] betas for 2 examples"):
        check_betas(TERMS, beta)
    with pytest.raises(BetaError, match="for 2 examples"):
        check_one_beta(TERMS, beta, "mine")


@pytest.mark.parametrize("beta", [0.5, torch.tensor(0.5), torch.tensor([0.5, 0.5])], ids=str)
def test_one_beta_of_a_batch_gives_its_posterior_from_two_examples_on(beta: float | Tensor) -> None:
    assert batch_posterior(TERMS, beta, "mine") is TERMS.posterior


def test_an_empty_batch_has_no_betas_that_differ() -> None:
    empty = terms_of(random_posterior(0, 3))

    check_one_beta(empty, torch.ones(0), "mine")
    with pytest.raises(UsageError, match="mine compares the examples of a batch and got 0"):
        batch_posterior(empty, torch.ones(0), "mine")


@pytest.mark.parametrize("name", NAMES)
def test_an_objective_that_refuses_betas_says_which_it_is(name: str) -> None:
    objective = by_name(name, dataset_size=10, free_bits=0.5)

    with pytest.raises(BetaError, match=rf"^{NAMES[name]} compares .* got 0\.5 to 2: draw one beta a batch"):
        objective(TERMS, torch.tensor([2.0, 0.5]))


def test_betas_that_differ_by_one_rounding_are_two_betas() -> None:
    one = torch.tensor(0.5)

    with pytest.raises(BetaError, match="must share one beta"):
        check_one_beta(TERMS, torch.stack([one, torch.nextafter(one, torch.tensor(1.0))]), "mine")


def test_what_says_nothing_of_its_batch_takes_examples_one_by_one() -> None:
    def mine(terms: object, beta: object) -> None: ...

    assert couples_examples(mine) is False  # type: ignore[arg-type]
    mine.couples_examples = True  # type: ignore[attr-defined]
    assert couples_examples(mine) is True  # type: ignore[arg-type]


def test_an_objective_of_lambda_refuses_the_betas_that_do_not_fit_before_it_asks_another() -> None:
    def asked(terms: object, beta: object) -> Tensor:
        raise AssertionError("asked")

    with pytest.raises(BetaError, match=r"^\[3\] betas for 2 examples"):
        DistortionWeighted(asked)(TERMS, torch.ones(3))
