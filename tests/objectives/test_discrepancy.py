import math

import pytest
import torch
from torch import Tensor

from multirate.errors import UsageError
from multirate.objectives import InfoVAE
from multirate.objectives.discrepancy import discrepancies
from objective_cases import random_posterior, terms_of

# Mean of each latent, standard deviation, latents, squared bandwidth over latents.
GAUSSIANS = [(0.0, 1.0, 3, 1.0), (0.5, 1.0, 2, 1.0), (0.0, 0.3, 4, 1.0), (1.0, 2.0, 1, 0.5), (0.3, 0.7, 8, 2.0)]


def gaussian_discrepancy(mean: float, scale: float, latents: int, ratio: float) -> float:
    """Closed form of the squared MMD of N(mean, scale^2 I) and N(0, I)."""
    h, variance, norm = ratio * latents, scale**2, latents * mean**2
    among = (h / (h + 2 * variance)) ** (latents / 2)
    across = (h / (h + 1 + variance)) ** (latents / 2) * math.exp(-norm / (2 * (h + 1 + variance)))
    return among - 2 * across + (h / (h + 2)) ** (latents / 2)


def normal(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("mean", "scale", "latents", "ratio"), GAUSSIANS)
def test_the_mean_over_batches_is_the_closed_form(mean: float, scale: float, latents: int, ratio: float) -> None:
    batches = 2000
    samples = mean + scale * normal((batches, 8, latents))

    estimates = torch.stack([discrepancies(sample, (ratio,)).mean() for sample in samples])

    error = estimates.std() / math.sqrt(batches)
    assert error < 0.01
    assert abs(estimates.mean() - gaussian_discrepancy(mean, scale, latents, ratio)) < 4 * error


def test_prior_samples_have_about_no_discrepancy_and_others_have_some() -> None:
    prior = normal((2000, 4))

    assert abs(discrepancies(prior).mean()) < 1e-3
    assert discrepancies(prior + 1).mean() == pytest.approx(gaussian_discrepancy(1.0, 1.0, 4, 1.0), abs=0.02)


def test_the_expectation_over_the_prior_is_that_of_many_prior_samples() -> None:
    sample, prior = normal((2, 3)), normal((200_000, 3), seed=1)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-(a - b).square().sum(-1) / (2 * 3)).exp()

    between = kernel(sample[0], sample[1])
    expected = [between - 2 * kernel(z, prior).mean() + kernel(prior[::2], prior[1::2]).mean() for z in sample]

    torch.testing.assert_close(discrepancies(sample), torch.stack(expected), rtol=0, atol=4e-3)


def test_of_several_bandwidths_the_mean_is_taken() -> None:
    sample = normal((20, 3))

    single = torch.stack([discrepancies(sample, (ratio,)) for ratio in (0.5, 1.0, 4.0)])

    torch.testing.assert_close(discrepancies(sample, (0.5, 1.0, 4.0)), single.mean(0))


def test_a_wider_kernel_still_pulls_codes_that_are_far_away() -> None:
    sizes = []
    for bandwidths in ((1.0,), (1.0, 1000.0)):
        sample = (normal((10, 2)) + 60).requires_grad_()
        discrepancies(sample, bandwidths).mean().backward()
        assert sample.grad is not None
        sizes.append(float(sample.grad.sum(0).abs().max()))

    assert sizes[0] < 1e-12
    assert sizes[1] > 1e-3


def test_codes_far_from_the_prior_keep_the_precision_of_those_close_to_it() -> None:
    # Multiples of 1/64, so that moving them by 4096 rounds nothing in float32; no prior sample is near them there.
    sample = (64 * normal((30, 2))).round().float() / 64
    h = 2.0
    norms = sample.double().square().sum(-1)
    across = 2 * h / (h + 1) * (-norms / (2 * (h + 1))).exp()

    moved = discrepancies(sample + 4096)

    torch.testing.assert_close(moved.double(), discrepancies(sample.double()) + across, rtol=0, atol=1e-6)


def test_the_gradient_is_the_difference_quotient() -> None:
    assert torch.autograd.gradcheck(discrepancies, (normal((5, 2)).requires_grad_(),))


def test_coinciding_codes_have_finite_gradients() -> None:
    sample = torch.zeros(4, 2, requires_grad=True)

    discrepancies(sample).mean().backward()

    assert sample.grad is not None
    assert sample.grad.isfinite().all()


@pytest.mark.parametrize("alpha", [1.0, 0.0, -2.0])
def test_the_loss_is_the_papers_sum(alpha: float) -> None:
    terms = terms_of(random_posterior(10, 3))
    assert terms.posterior is not None
    discrepancy = discrepancies(terms.posterior.sample)

    loss = InfoVAE(alpha)(terms, 500.0)

    torch.testing.assert_close(loss, terms.distortion + (1 - alpha) * terms.rate + (alpha + 499.0) * discrepancy)


def test_alpha_zero_at_beta_one_is_minus_the_elbo() -> None:
    terms = terms_of(random_posterior(10, 3))

    torch.testing.assert_close(InfoVAE(alpha=0.0)(terms, 1.0), -terms.elbo)


@pytest.mark.parametrize(
    "options", [{"alpha": 1.5}, {"alpha": float("nan")}, {"bandwidths": ()}, {"bandwidths": (1.0, 0.0)}], ids=str
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="got"):
        InfoVAE(**options)  # type: ignore[arg-type]


def test_the_objective_weighs_its_own_discrepancies_by_alpha_and_beta() -> None:
    terms = terms_of(random_posterior(6, 3))
    assert terms.posterior is not None
    sample = terms.posterior.sample

    for alpha, bandwidths, beta in ((1.0, (1.0,), 7.0), (0.25, (0.5, 2.0), 7.0), (-1.0, (3.0,), 0.5)):
        discrepancy = discrepancies(sample, bandwidths)
        expected = terms.distortion + (1 - alpha) * terms.rate + (alpha + beta - 1) * discrepancy
        torch.testing.assert_close(InfoVAE(alpha, bandwidths)(terms, beta), expected, rtol=1e-12, atol=1e-12)
    assert InfoVAE() == InfoVAE(1.0, (1.0,))
    torch.testing.assert_close(discrepancies(sample), discrepancies(sample, (1.0,)), rtol=0, atol=0)
