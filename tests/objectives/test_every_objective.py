"""What holds for each objective that training knows."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from multirate.errors import BetaError, UsageError
from multirate.objectives import OBJECTIVE_NAMES, Objective, by_name, couples_examples
from multirate.terms import GaussianPosterior, Terms
from objective_cases import chosen, random_posterior, terms_of

COUPLED = ("beta-tcvae", "dip-vae-i", "dip-vae-ii", "info-vae", "free-bits", "sigma-vae")
WITH_POSTERIOR = ("beta-tcvae", "dip-vae-i", "dip-vae-ii", "info-vae")
EXTREMES = (-20.0, 0.0, 20.0)

every = pytest.mark.parametrize("name", OBJECTIVE_NAMES)
every_coupled = pytest.mark.parametrize("name", COUPLED)


def objective(name: str) -> Objective:
    return by_name(name, dataset_size=100, free_bits=0.3)


@every
def test_each_gives_one_finite_number_an_example(name: str) -> None:
    loss = objective(name)(terms_of(random_posterior(7, 3)), 0.5)

    assert loss.shape == (7,)
    assert loss.isfinite().all()


@every
def test_reordering_the_batch_reorders_the_losses(name: str) -> None:
    posterior = random_posterior(9, 3)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(5))

    whole, reordered = (objective(name)(terms_of(p), 3.0) for p in (posterior, chosen(posterior, order)))

    torch.testing.assert_close(reordered, whole[order])


@every
def test_an_extra_loss_of_the_terms_is_added_once(name: str) -> None:
    terms, extra = terms_of(random_posterior(7, 3)), torch.arange(7.0, dtype=torch.float64)

    difference = objective(name)(replace(terms, extra=extra), 0.5) - objective(name)(terms, 0.5)

    torch.testing.assert_close(difference, extra)


@every
def test_float32_is_close_to_float64(name: str) -> None:
    exact = random_posterior(50, 4)
    rounded = GaussianPosterior(exact.mean.float(), exact.log_variance.float(), exact.sample.float())

    expected = objective(name)(terms_of(exact), 2.0)
    loss = objective(name)(terms_of(rounded), 2.0)

    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_losses_and_gradients_are_finite_at_extreme_variances(name: str, dtype: torch.dtype) -> None:
    mean = torch.tensor([[0.0, 5.0], [1e-3, -5.0], [0.0, 5.0], [30.0, 0.0]], dtype=dtype)
    for first in EXTREMES:
        for second in EXTREMES:
            leaves = [
                mean.clone().requires_grad_(),
                torch.tensor([first, second], dtype=dtype).repeat(4, 1).requires_grad_(),
            ]
            sample = leaves[0] + (0.5 * leaves[1]).exp() * torch.linspace(-2, 2, 8, dtype=dtype).reshape(4, 2)
            loss = objective(name)(terms_of(GaussianPosterior(leaves[0], leaves[1], sample)), 4.0)
            loss.mean().backward()
            assert loss.isfinite().all()
            assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


@every
def test_one_beta_an_example_is_taken_where_examples_are_not_coupled(name: str) -> None:
    assert couples_examples(objective(name)) == (name in COUPLED)


@pytest.mark.slow
@every
def test_compiled_fullgraph_equals_eager_forward_and_backward(name: str) -> None:
    def loss(mean: Tensor, log_variance: Tensor, noise: Tensor, beta: Tensor) -> Tensor:
        posterior = GaussianPosterior(mean, log_variance, mean + (0.5 * log_variance).exp() * noise)
        return objective(name)(terms_of(posterior), beta).mean()

    leaves = tuple(v.requires_grad_() for v in torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0)))
    others = torch.linspace(-1, 1, 18).reshape(6, 3), torch.full((6,), 2.0)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")

    eager, found = (f(*leaves, *others) for f in (loss, compiled))
    torch.testing.assert_close(found, eager)
    for one, other in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(eager, leaves), strict=True):
        torch.testing.assert_close(one, other)


@every_coupled
def test_equal_betas_of_a_batch_are_one_beta(name: str) -> None:
    terms = terms_of(random_posterior(5, 3))

    for beta in (torch.tensor(0.7), torch.full((5,), 0.7)):
        torch.testing.assert_close(objective(name)(terms, beta), objective(name)(terms, 0.7), rtol=1e-6, atol=1e-6)


@every_coupled
def test_differing_betas_of_a_batch_are_refused(name: str) -> None:
    with pytest.raises(BetaError, match=r"must share one beta; got 0\.1 to 0\.3: draw one beta a batch"):
        objective(name)(terms_of(random_posterior(3, 2)), torch.tensor([0.1, 0.2, 0.3]))


@every
@pytest.mark.parametrize("beta", [torch.ones(2), torch.ones(3, 1), torch.ones(1)], ids=lambda beta: str(beta.shape))
def test_another_number_of_betas_is_refused(name: str, beta: Tensor) -> None:
    with pytest.raises(BetaError, match="for 3 examples"):
        objective(name)(terms_of(random_posterior(3, 2)), beta)


@pytest.mark.parametrize("name", WITH_POSTERIOR)
def test_a_model_without_posterior_is_told_what_to_fill(name: str) -> None:
    terms = replace(terms_of(random_posterior(3, 2)), posterior=None)

    with pytest.raises(UsageError, match=r"(?i)-?vae.* needs the posterior.*fill posterior=GaussianPosterior\(mean"):
        objective(name)(terms, 1.0)


@pytest.mark.parametrize("name", WITH_POSTERIOR)
def test_a_batch_of_one_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="got 1; give it at least 2"):
        objective(name)(terms_of(random_posterior(1, 2)), 1.0)


@pytest.mark.parametrize("name", ["beta-vae", "beta-tcvae"])
def test_at_beta_one_the_loss_is_minus_the_elbo(name: str) -> None:
    terms = terms_of(random_posterior(6, 3))

    torch.testing.assert_close(objective(name)(terms, 1.0), -terms.elbo)


def test_low_precision_of_autocast_does_not_reach_the_penalties() -> None:
    posterior = random_posterior(64, 4)
    terms = terms_of(GaussianPosterior(*(getattr(posterior, n).float() for n in ("mean", "log_variance", "sample"))))

    for name in OBJECTIVE_NAMES:
        expected = objective(name)(terms, 5.0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(objective(name)(terms, 5.0), expected), name


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no objective 'kl'; choose one of beta-vae, beta-tcvae, dip-vae-i"):
        by_name("kl", dataset_size=10)


def test_options_reach_the_objective_they_concern() -> None:
    terms = Terms(torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([[0.5]]))

    assert by_name("free-bits", dataset_size=10, free_bits=2.0)(terms, 1.0).tolist() == [3.0]
    assert by_name("beta-tcvae", dataset_size=10, estimator="weighted") != by_name("beta-tcvae", dataset_size=10)
    assert by_name("dip-vae-i", dataset_size=10) != by_name("dip-vae-ii", dataset_size=10)
