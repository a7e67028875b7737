"""Colour images: the networks at each size, and what their output can mean."""

import math

import pytest
import torch
from torch.distributions import Normal

import multirate as mr
from multirate import models
from multirate.models.gaussian import LIKELIHOODS
from multirate.seeding import seeded

# Counted by hand: weights of the strided convolutions, residual blocks, heads, stem, transposed convolutions, output.
BLOCKS = 2 * 2 * (128 * 128 * 9 + 128)
COLOUR_32 = {
    "resnet": (3 * 64 * 16 + 64)
    + (64 * 128 * 16 + 128)
    + (128 * 128 * 9 + 128)
    + BLOCKS
    + 2 * (2048 * 256 + 256)
    + (256 * 2048 + 2048)
    + (128 * 128 * 9 + 128)
    + BLOCKS
    + (128 * 64 * 9 + 64)
    + (64 * 3 * 9 + 3),
    "convnet": 16 * (3 * 128 + 128 * 256 + 256 * 512 + 512 * 1024)
    + 2 * (128 + 256 + 512 + 1024)
    + 2 * (4 * 1024 * 256 + 256)
    + (256 + 1) * 16384
    + 9 * (1024 * 512 + 512 * 256)
    + 2 * (512 + 256)
    + (9 * 256 * 3 + 3),
}
COLOUR_64 = {
    "resnet": COLOUR_32["resnet"]
    + (128 * 128 * 16 + 128)
    + (128 * 128 * 9 + 128)
    - 2 * 192 * 2049  # 64 latents for 256 in both heads
    - 192 * 2048,  # and in the stem
    "convnet": COLOUR_32["convnet"]
    - 2 * (4 * 1024 * 256 + 256)
    + 2 * (16 * 1024 * 64 + 64)
    - 192 * 16384
    + 9 * 256 * 128
    + 2 * 128
    - 9 * 128 * 3,
}
SIZES = [(name, 32, 256, count) for name, count in COLOUR_32.items()]
SIZES += [(name, 64, 64, count) for name, count in COLOUR_64.items()]


@pytest.mark.parametrize(("name", "size", "latents", "count"), SIZES)
def test_colour_networks_have_the_parameters_counted_by_hand(name, size, latents, count):
    with torch.device("meta"):
        model = models.build(name, shape=(3, size, size), latents=latents, likelihood="gaussian")
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnet", "resnet"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_at_every_size_gives_terms_and_gradients(name, likelihood):
    with seeded(0):
        for size in (28, 32, 64):
            model = models.build(name, shape=(3, size, size), latents=3, likelihood=likelihood)
            x = torch.rand(2, 3, size, size)
            terms = model.terms(x)
            assert model(x).shape == x.shape
            assert terms.dimensions.tolist() == [3 * size**2] * 2
            terms.objective(1.0).mean().backward()
            assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def small(likelihood):
    with seeded(0):
        return models.mlp(shape=(3, 4, 4), latents=2, hidden=(8,), likelihood=likelihood).double()


def test_squared_error_is_the_sum_over_the_pixels_without_constants():
    model, x = small("squared_error"), torch.rand(5, 3, 4, 4, dtype=torch.float64)
    with seeded(1):
        terms = model.terms(x)
    expected = (x - model.decode(terms.posterior.sample).mean).square().flatten(1).sum(1)
    torch.testing.assert_close(terms.distortion, expected)


def test_squared_error_is_a_gaussian_of_variance_one_half_less_its_constant():
    model, x = small("squared_error"), torch.rand(5, 3, 4, 4, dtype=torch.float64)
    with seeded(1):
        terms = model.terms(x)
    mean = model.decode(terms.posterior.sample).mean
    density = Normal(mean, math.sqrt(0.5)).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(terms.distortion, -density - 0.5 * 48 * math.log(math.pi))


@pytest.mark.parametrize("log_variance", [-3.0, 0.0, 2.0])
def test_a_learnt_variance_enters_the_density(log_variance):
    model, x = small("gaussian_learned"), torch.rand(5, 3, 4, 4, dtype=torch.float64)
    torch.nn.init.constant_(model.variance.decoder.bias, log_variance)
    with seeded(1):
        terms = model.terms(x)
    mean = model.decode(terms.posterior.sample).mean
    density = Normal(mean, math.exp(log_variance / 2)).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(terms.distortion, -density)


def test_the_learnt_variance_is_gated_so_that_it_follows_beta_and_folds():
    model = mr.convert(small("gaussian_learned"), mr.BetaRange(0.01, 10.0))
    assert "variance.decoder" in {layer.at for layer in model.plan.gated}
    with torch.no_grad():
        for parameter in model.response.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter, dtype=parameter.dtype))
    z = torch.zeros(1, 2, dtype=torch.float64)
    variances = []
    for beta in (0.02, 5.0):
        with model.at(beta):
            variances.append(float(model.base.decode(z).variance.flatten()[0].detach()))
        folded = float(mr.fold(model, beta).decode(z).variance.flatten()[0].detach())
        assert folded == pytest.approx(variances[-1], rel=1e-12)
    assert abs(variances[0] / variances[1] - 1) > 1e-3


@pytest.mark.slow
def test_training_finds_the_variance_of_the_noise():
    g = torch.Generator().manual_seed(0)
    x = 0.2 * torch.randn(512, 1, 4, 4, generator=g)
    with seeded(0):
        model = models.mlp(shape=(1, 4, 4), latents=1, hidden=(4,), likelihood="gaussian_learned")
    mr.fit(model, x, epochs=150, beta=1.0, learning_rate=0.02, progress=False)
    learnt = float(model.decode(torch.zeros(1, 1)).variance.flatten()[0].detach())
    assert learnt == pytest.approx(0.04, rel=0.15)


def test_tanh_is_for_the_decoder_and_starts_with_xaviers_weights():
    with seeded(0):
        model = models.mlp(shape=(1, 64, 64), latents=10, hidden=(1200, 1200), decoder_activation="tanh")
    assert [type(layer).__name__ for layer in model.decoder] == ["Linear", "Tanh", "Linear", "Tanh"]
    assert [type(layer).__name__ for layer in model.encoder][1:] == ["Linear", "ReLU", "Linear", "ReLU"]
    std = (5 / 3) * math.sqrt(2 / (1200 + 1200))
    assert float(model.decoder[2].weight.detach().std()) == pytest.approx(std, rel=0.01)


def test_an_unknown_activation_is_refused():
    with pytest.raises(mr.errors.UsageError, match="decoder_activation must be one of relu, tanh; got 'gelu'"):
        models.mlp(decoder_activation="gelu")
