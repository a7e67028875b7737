from typing import Literal

import numpy as np
import pytest
import torch

from multirate.errors import UsageError
from multirate.objectives import DIPVAE
from multirate.terms import GaussianPosterior
from objective_cases import random_posterior, terms_of

# Covariance over the four examples, divided by 4: [[2, 1], [1, 5]]; mean variances: 0.5 and 2.
MEAN = torch.tensor([[3.0, 2.0], [-1.0, 2.0], [1.0, 7.0], [1.0, -3.0]], dtype=torch.float64)
VARIANCE = torch.tensor([[0.25, 1.0], [0.75, 3.0], [0.5, 2.0], [0.5, 2.0]], dtype=torch.float64)
WHITE = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64) + 5
TINY = torch.full((4, 2), -80.0, dtype=torch.float64)


def posterior_of(mean: torch.Tensor, log_variance: torch.Tensor) -> GaussianPosterior:
    return GaussianPosterior(mean, log_variance, mean)


@pytest.mark.parametrize(
    ("kind", "ratio", "expected"),
    [
        # Off the diagonal 0 twice; on it (2 - 1)^2 + (12.5 - 1)^2.
        ("i", 1.0, 1.0 + 132.25),
        ("i", None, 10 * (1.0 + 132.25)),
        ("ii", None, (2.5 - 1) ** 2 + (14.5 - 1) ** 2),
        ("ii", 0.0, 0.0),
    ],
)
def test_penalties_are_those_worked_out_by_hand(kind: Literal["i", "ii"], ratio: float | None, expected: float) -> None:
    penalty = DIPVAE(kind, ratio).penalty(posterior_of(MEAN, VARIANCE.log()))

    assert penalty.item() == pytest.approx(expected, rel=1e-12)


def test_correlated_latents_are_penalised_once_for_each_order() -> None:
    # Covariance [[1, 1], [1, 1]].
    mean = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)

    assert DIPVAE("i").penalty(posterior_of(mean, TINY[:2])).item() == pytest.approx(2.0)


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_penalties_are_those_of_numpy(kind: Literal["i", "ii"]) -> None:
    posterior = random_posterior(40, 5)
    covariance = np.cov(posterior.mean.numpy().T, bias=True)
    if kind == "ii":
        covariance = covariance + np.diag(np.exp(posterior.log_variance.numpy()).mean(0))
    off = covariance - np.diag(np.diag(covariance))

    expected = (off**2).sum() + 3.0 * ((np.diag(covariance) - 1) ** 2).sum()

    assert DIPVAE(kind, 3.0).penalty(posterior).item() == pytest.approx(expected, rel=1e-12)


def test_whitened_latents_have_no_penalty() -> None:
    assert DIPVAE("i").penalty(posterior_of(WHITE, TINY)).item() == pytest.approx(0.0, abs=1e-12)
    # Half of the variance between the means and half within the posteriors.
    half = torch.full((4, 2), 0.5, dtype=torch.float64)
    assert DIPVAE("ii").penalty(posterior_of(half.sqrt() * WHITE, half.log())).item() == pytest.approx(0.0, abs=1e-12)


def test_beta_weighs_the_penalty_and_leaves_the_rate_at_one() -> None:
    terms = terms_of(random_posterior(10, 3))
    assert terms.posterior is not None
    objective = DIPVAE("ii", 2.0)

    expected = terms.distortion + terms.rate + 7.0 * objective.penalty(terms.posterior)

    torch.testing.assert_close(objective(terms, 7.0), expected)


def test_the_name_in_messages_tells_the_kinds_apart() -> None:
    with pytest.raises(UsageError, match="DIP-VAE-II compares"):
        DIPVAE("ii")(terms_of(random_posterior(1, 2)), 1.0)


@pytest.mark.parametrize("options", [{"kind": "iii"}, {"ratio": -1.0}, {"ratio": float("nan")}], ids=str)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="got"):
        DIPVAE(**options)  # type: ignore[arg-type]


def test_the_second_kind_with_the_papers_ratio_is_the_default() -> None:
    assert DIPVAE() == DIPVAE("ii", None)
    posterior = random_posterior(6, 3)

    for kind, ratio in (("i", 10.0), ("ii", 1.0)):
        torch.testing.assert_close(DIPVAE(kind).penalty(posterior), DIPVAE(kind, ratio).penalty(posterior))  # type: ignore[arg-type]
