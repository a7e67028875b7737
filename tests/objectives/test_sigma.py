"""The sigma-VAE: its formula, its gradient, the variance that is best."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from multirate.errors import UsageError
from multirate.models import mlp
from multirate.objectives import SigmaVAE, beta_vae, optimal_beta
from multirate.seeding import seeded
from multirate.terms import Reconstruction, Terms, bernoulli, gaussian, squared_error
from objective_cases import random_posterior, terms_of

# Two examples of three values, with errors 1 + 0 + 4 and 0 + 9 + 0.
MEAN = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
DATA = torch.tensor([[2.0, 2.0, 1.0], [0.0, 4.0, 0.0]], dtype=torch.float64)
RATE = torch.tensor([0.5, 1.5], dtype=torch.float64)
VARIANCE = (5 + 9) / 6


def terms() -> Terms:
    likelihood = gaussian(MEAN)
    return Terms(RATE, -likelihood.log_prob(DATA), reconstruction=Reconstruction(likelihood, DATA))


def network(likelihood: str) -> tuple[torch.nn.Module, Tensor]:
    with seeded(0):
        model = mlp((1, 4, 4), latents=3, hidden=(8,), likelihood=likelihood).double()
        return model, torch.rand(10, 1, 4, 4, dtype=torch.float64).round()


def gradient(objective: object, likelihood: str, beta: float) -> tuple[list[Tensor], float]:
    model, x = network(likelihood)
    with seeded(1):
        found = model.terms(x)  # type: ignore[operator]
    objective(found, beta).mean().backward()  # type: ignore[operator]
    variance = float(found.reconstruction.squared_error().detach().mean()) / 16
    return [p.grad for p in model.parameters() if p.grad is not None], variance


def test_a_known_answer() -> None:
    loss = SigmaVAE()(terms(), 1.0)
    constant = 1.5 * math.log(2 * math.pi * VARIANCE)
    assert loss.tolist() == pytest.approx([constant + 5 / (2 * VARIANCE) + 0.5, constant + 9 / (2 * VARIANCE) + 1.5])
    assert loss.mean().item() == pytest.approx(1.5 * math.log(2 * math.pi * math.e * VARIANCE) + 1.0)


def test_the_variance_is_the_one_that_autograd_finds_best() -> None:
    log_variance = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_variance], max_iter=100, tolerance_grad=1e-12, tolerance_change=1e-15)

    def negative_log_likelihood() -> Tensor:
        optimizer.zero_grad()
        value = -gaussian(MEAN, log_variance.exp()).log_prob(DATA).mean()
        value.backward()
        return value

    optimizer.step(negative_log_likelihood)
    assert log_variance.exp().item() == pytest.approx(VARIANCE, rel=1e-8)
    best = float(negative_log_likelihood().detach()) + float(RATE.mean())
    assert SigmaVAE()(terms(), 1.0).mean().item() == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("likelihood", ["gaussian", "squared_error"])
def test_the_gradient_is_that_of_the_beta_vae_at_its_beta(likelihood: str) -> None:
    ours, variance = gradient(SigmaVAE(), likelihood, 1.0)
    beta = optimal_beta(likelihood, variance)
    theirs, _ = gradient(beta_vae, likelihood, beta)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one * beta, other, rtol=1e-10, atol=1e-12)


def test_the_gradient_is_that_of_the_formula_with_the_variance_followed_through() -> None:
    ours, _ = gradient(SigmaVAE(), "bernoulli", 1.0)

    def formula(found: Terms, beta: float) -> Tensor:
        assert found.reconstruction is not None
        variance = (found.reconstruction.x - found.reconstruction.likelihood.mean).square().mean()
        return 8 * (2 * math.pi * math.e * variance).log() + found.rate

    theirs, _ = gradient(formula, "bernoulli", 1.0)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_beta_is_not_used() -> None:
    assert torch.equal(SigmaVAE()(terms(), 0.1), SigmaVAE()(terms(), 7.0))


def test_data_reproduced_exactly_have_a_finite_loss() -> None:
    exact = replace(terms(), reconstruction=Reconstruction(gaussian(DATA), DATA))
    assert SigmaVAE()(exact, 1.0).isfinite().all()


def test_the_beta_of_the_point_depends_on_the_distortion() -> None:
    assert [optimal_beta(name, 0.04) for name in ("gaussian", "squared_error", "bernoulli", None)] == [
        0.04,
        0.08,
        1.0,
        1.0,
    ]


def test_terms_without_a_reconstruction_are_told_what_to_fill() -> None:
    with pytest.raises(UsageError, match=r"fill reconstruction=Reconstruction\(likelihood, x\)"):
        SigmaVAE()(replace(terms_of(random_posterior(3, 2)), reconstruction=None), 1.0)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "squared_error", "gaussian_learned"])
def test_the_squared_error_is_that_of_the_reconstruction(likelihood: str) -> None:
    model, x = network(likelihood)
    with seeded(2):
        found = model.terms(x)  # type: ignore[operator]
    with seeded(2):
        mean = model.decode(model.encode(x).rsample()).mean  # type: ignore[operator]
    expected = [sum(e**2 for e in row) for row in (x - mean).flatten(1).tolist()]
    assert found.reconstruction.squared_error().tolist() == pytest.approx(expected, rel=1e-12)
    assert found.reconstruction.dimensions == 16


@pytest.mark.parametrize("make", [bernoulli, gaussian, squared_error])
def test_the_mean_is_the_likelihoods_own(make: object) -> None:
    likelihood = make(MEAN)  # type: ignore[operator]
    expected = (DATA - likelihood.base_dist.mean).square().sum(-1)
    torch.testing.assert_close(Reconstruction(likelihood, DATA).squared_error(), expected)
