"""Posteriors and terms for the tests of objectives."""

import torch
from torch import Tensor

from multirate.terms import GaussianPosterior, Reconstruction, Terms, gaussian, gaussian_kl


def random_posterior(examples: int, latents: int, seed: int = 0) -> GaussianPosterior:
    """Make different float64 posteriors that overlap, and a sample of each."""
    source = torch.Generator().manual_seed(seed)
    mean, noise, shape = torch.randn(3, examples, latents, generator=source, dtype=torch.float64)
    log_variance = shape - 1
    return GaussianPosterior(mean, log_variance, mean + (0.5 * log_variance).exp() * noise)


def terms_of(posterior: GaussianPosterior) -> Terms:
    """Make terms with the rate of a posterior and some distortion that follows its sample."""
    latent_rate = gaussian_kl(posterior.mean, posterior.log_variance)
    reconstruction = Reconstruction(gaussian(0.5 * posterior.sample), posterior.mean + 1)
    distortion = posterior.sample.square().sum(-1)
    return Terms(latent_rate.sum(-1), distortion, latent_rate, posterior=posterior, reconstruction=reconstruction)


def chosen(posterior: GaussianPosterior, rows: Tensor) -> GaussianPosterior:
    """Return the posteriors of some examples."""
    return GaussianPosterior(posterior.mean[rows], posterior.log_variance[rows], posterior.sample[rows])
