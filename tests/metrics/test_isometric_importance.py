"""Importance of latents in the implicit isometric space: the eigenvalues of a linear VAE, and what must not change."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import multirate as mr
from multirate import models
from multirate.errors import BetaError, DataError, UsageError
from multirate.metrics.isometric_importance import isometric_importance
from multirate.seeding import seeded
from multirate.terms import GaussianPosterior, Terms, diagonal_gaussian, gaussian_kl
from multirate.theory import LinearVAE as Theory

EIGENVALUES = torch.tensor([9.0, 4.0, 1.0, 0.3, 0.05], dtype=torch.float64)
BETAS = [0.01, 0.2, 0.9, 3.0, 20.0]


@pytest.fixture
def theory() -> Theory:
    basis, _ = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    return Theory(basis @ EIGENVALUES.diag() @ basis.T, 5)


@pytest.mark.parametrize("beta", BETAS)
def test_of_the_exact_linear_vae_it_is_the_eigenvalues_down_to_beta(beta: float, theory: Theory) -> None:
    log_variance = theory.parameters(beta).variance.log().expand(7, 5)

    found = isometric_importance(log_variance, beta)

    torch.testing.assert_close(found, EIGENVALUES.clamp_min(beta))


def test_halving_the_distortion_halves_the_papers_beta(theory: Theory) -> None:
    # D + beta R with D half the squared error is half of (squared error + 2 beta R): the same optimum.
    log_variance = theory.parameters(0.2).variance.log()[None]

    torch.testing.assert_close(
        isometric_importance(log_variance, 2 * 0.2, factor=0.5), isometric_importance(log_variance, 0.2)
    )


def test_it_is_a_mean_over_examples_of_the_inverse_variance() -> None:
    log_variance = torch.tensor([[0.5, 1.0], [0.1, 0.25]]).log()

    found = isometric_importance(log_variance, 0.5)

    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([0.5 * (2 + 10) / 2, 0.5 * (1 + 4) / 2])


class Exact(nn.Module):
    """The optimal linear VAE as a model of a user's: its posterior stands in the terms, or in ``encode`` alone."""

    def __init__(self, theory: Theory, beta: float, *, in_terms: bool) -> None:
        super().__init__()
        best = theory.parameters(beta)
        self.encoder = nn.Parameter(best.encoder)
        self.log_variance = nn.Parameter(best.variance.log())
        self.in_terms = in_terms

    def encode(self, x: Tensor) -> Any:
        mean = x @ self.encoder.T
        return diagonal_gaussian(mean, self.log_variance.expand_as(mean))

    def terms(self, x: Tensor) -> Terms:
        mean = x @ self.encoder.T
        log_variance = self.log_variance.expand_as(mean)
        rate = gaussian_kl(mean, log_variance).sum(-1)
        posterior = GaussianPosterior(mean, log_variance, mean) if self.in_terms else None
        return Terms(rate, x.square().sum(-1), posterior=posterior)


@pytest.mark.parametrize("in_terms", [True, False])
def test_the_curve_has_a_row_a_point_and_says_the_factor(in_terms: bool, theory: Theory) -> None:
    x = torch.randn(11, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = Exact(theory, 0.2, in_terms=in_terms)

    curve = mr.evaluate(model, x, beta=0.2, measures=("isometric_importance",), batch_size=4, progress=False)

    (row,) = curve.details["isometric_importance"]
    assert row == pytest.approx(EIGENVALUES.clamp_min(0.2).tolist())
    assert curve.details["measures"]["isometric_importance"] == {
        "factor": 1.0,
        "distortion": "negative log-likelihood",
    }
    assert "isometric_importance" not in curve.measures


def test_a_squared_error_has_the_factor_of_the_papers() -> None:
    with seeded(0):
        model = models.mlp(shape=(4,), latents=3, hidden=(8,), likelihood="squared_error")
        x = torch.randn(6, 4)
    curve = mr.evaluate(model, x, beta=0.7, measures=("isometric_importance",), progress=False)

    with torch.no_grad():
        _, log_variance = model.posterior_parameters(x)
    expected = 0.5 * 0.7 * (-log_variance.double()).exp().mean(0)
    assert curve.details["isometric_importance"] == [pytest.approx(expected.tolist(), rel=1e-6)]
    assert curve.details["measures"]["isometric_importance"] == {"factor": 0.5, "distortion": "squared error"}


class Grouped(nn.Module):
    def encode(self, x: Tensor) -> Any:
        return diagonal_gaussian(x, x)

    def terms(self, x: Tensor) -> Terms:
        return Terms(x.sum(-1), x.sum(-1), group_rate=x)


class Bare(nn.Module):
    def terms(self, x: Tensor) -> Terms:
        return Terms(x.sum(-1), x.sum(-1))


@pytest.mark.parametrize("model", [Grouped(), Bare()], ids=lambda model: type(model).__name__)
def test_a_model_without_one_vector_of_latents_is_refused(model: nn.Module) -> None:
    with pytest.raises(UsageError, match="needs the posterior variance of one vector of latents"):
        mr.evaluate(model, torch.ones(3, 2), beta=1.0, measures=("isometric_importance",), progress=False)


@pytest.mark.parametrize("values", [torch.zeros(3), torch.full((2, 2), -1e4), torch.full((2, 2), torch.nan)], ids=str)
def test_log_variances_that_are_none_are_refused(values: Tensor) -> None:
    with pytest.raises(DataError, match="variance"):
        isometric_importance(values, 1.0)


def test_no_examples_and_no_beta_are_refused() -> None:
    with pytest.raises(DataError, match="0 examples"):
        isometric_importance(torch.zeros(0, 2), 1.0)
    with pytest.raises(BetaError, match="positive; got 0"):
        isometric_importance(torch.zeros(1, 2), 0.0)
