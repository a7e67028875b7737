"""The two-layer linear MR-VAE with the exact gates is optimal at every beta (Bae et al. 2023, Theorem 1)."""

import pytest
import torch

from multirate import models
from multirate.beta import BetaRange
from multirate.convert import MultiRate, convert
from multirate.fold import fold
from multirate.theory import LinearVAE, linear_terms

RANGE = BetaRange(0.01, 10.0)
SIZE, LATENTS = 12, 5
SPECTRA = {
    "spread": torch.logspace(1.2, -3, SIZE, dtype=torch.float64),
    "inside the range": torch.linspace(9, 0.02, SIZE, dtype=torch.float64),
    "below the range": torch.full((SIZE,), 0.005, dtype=torch.float64),
}


def covariance(name: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(SIZE, SIZE, dtype=torch.float64, generator=generator))[0]
    return basis @ SPECTRA[name].diag() @ basis.T


def exact(theory: LinearVAE) -> MultiRate:
    """Put the exact weights and gates into an ordinary converted linear VAE."""
    base = models.linear(shape=(SIZE,), latents=LATENTS).double()
    model = convert(base, RANGE, response="water-filling")
    gates = theory.exact_gates()
    encoder, decoder = model.base.encoder, model.base.decoder
    weights = [
        (encoder.mean[0], gates.encoder_first, -gates.encoder_first @ gates.mean),
        (encoder.mean[1], gates.encoder_second, torch.zeros(LATENTS)),
        (decoder[0], gates.decoder_first, torch.zeros(LATENTS)),
        (decoder[1], gates.decoder_second, gates.mean),
    ]
    by_layer = {
        "encoder.mean.0": gates.encoder_first_gate,
        "encoder.mean.1": gates.encoder_second_gate,
        "encoder.log_variance": gates.log_variance_gate,
        "decoder.0": gates.decoder_first_gate,
        "decoder.1": gates.decoder_second_gate,
    }
    with torch.no_grad():
        for layer, weight, bias in weights:
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        encoder.log_variance.weight.fill_(-1)
        for gated, (place, _) in zip(model.plan.gated, model.response.channel_slices(), strict=True):
            gate = by_layer[gated.name].standardized(RANGE)
            assert gated.gate == gate.function
            model.response.weight[place] = gate.slope
            model.response.bias[place] = gate.offset
    return model


@pytest.mark.parametrize("name", list(SPECTRA))
def test_exact_gates_reach_the_optimum_at_fifty_betas(name):
    mean = torch.linspace(-1, 2, SIZE, dtype=torch.float64)
    theory = LinearVAE(covariance(name), LATENTS, mean=mean)
    model = exact(theory)
    for beta in RANGE.grid(50).tolist():
        rate, distortion = linear_terms(*fold(model, beta).effective_parameters(), covariance(name))
        assert abs(float(distortion + beta * rate - theory.objective(beta))) < 1e-8
        assert abs(float(rate - theory.rate(beta))) < 1e-8


def test_terms_of_the_exact_model_average_to_the_closed_form():
    theory = LinearVAE(covariance("spread"), LATENTS)
    model = exact(theory)
    generator = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(covariance("spread"))
    x = torch.randn(40_000, SIZE, dtype=torch.float64, generator=generator) @ root.T
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T, correction=0))).T @ root.T
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for beta in (0.01, 0.3, 10.0):
            terms = model.terms(x, beta=beta)
            assert float(terms.rate.mean()) == pytest.approx(float(theory.rate(beta)), abs=1e-8)
            assert float(terms.distortion.mean()) == pytest.approx(float(theory.distortion(beta)), abs=0.06)


@pytest.mark.parametrize("response", ["paper", "film", "water-filling"])
def test_no_random_multirate_model_falls_below_the_optimum(response):
    theory = LinearVAE(covariance("spread"), LATENTS)
    with torch.random.fork_rng():
        for seed in range(10):
            torch.manual_seed(seed)
            model = convert(models.linear(shape=(SIZE,), latents=LATENTS).double(), RANGE, response=response)
            torch.nn.init.normal_(model.response.weight)
            for beta in (0.01, 0.3, 10.0):
                rate, distortion = linear_terms(*fold(model, beta).effective_parameters(), covariance("spread"))
                assert float(distortion + beta * rate) >= float(theory.objective(beta)) - 1e-9
