"""The two-layer linear MR-VAE with the exact gates is optimal at every beta (Bae et al. 2023, Theorem 1)."""

import math

import pytest
import torch
from tests.reference.latent_gate import FLOOR, latent_gate

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


# What the softness of a latent's gate costs at most, and a nat and two nats from its threshold, in units of beta:
# half of t - e^D (1 - e^-t) below the threshold and of e^(D-t) - 1 + t - D above it, D nats from it.
SOFTEST, A_NAT_BELOW, A_NAT_ABOVE, TWO_NATS_BELOW = 2.75e-3, 1.4e-5, 5e-10, 1e-6


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


def by_thresholds(theory: LinearVAE) -> MultiRate:
    """Put the exact weights and thresholds into a linear VAE that is converted as any VAE is."""
    base = models.linear(shape=(SIZE,), latents=LATENTS).double()
    model = convert(base, RANGE)
    gates = theory.exact_gates()
    encoder, decoder = model.base.encoder, model.base.decoder
    weights = [
        (encoder.mean[0], gates.encoder_first, -gates.encoder_first @ gates.mean),
        (encoder.mean[1], gates.encoder_second, 0),
        (decoder[0], gates.decoder_first, 0),
        (decoder[1], gates.decoder_second, gates.mean),
        (encoder.log_variance, 0, 0),
    ]
    with torch.no_grad():
        for layer, weight, bias in weights:
            layer.weight.copy_(torch.as_tensor(weight))
            layer.bias.copy_(torch.as_tensor(bias))
        model.response.weight.zero_()
        eigenvalues = theory.eigenvalues[:LATENTS]
        model.response.thresholds.copy_((eigenvalues.log() - RANGE.log_mean) / RANGE.log_std)
    return model


def softness(distance: float) -> float:
    """Return what one direction costs beyond the optimum, over beta, so many nats above its threshold."""
    t, _ = latent_gate(distance, 1.0)
    if distance > 0:
        return 0.5 * (math.expm1(distance - t) + t - distance)
    return 0.5 * (t + math.exp(distance) * math.expm1(-t))


def excess(theory: LinearVAE, model: MultiRate, matrix: torch.Tensor, beta: float) -> float:
    rate, distortion = linear_terms(*fold(model, beta).effective_parameters(), matrix)
    return float(distortion + beta * rate - theory.objective(beta))


def test_the_bounds_of_what_softness_costs_are_those_of_the_formula():
    costs = [softness(-4 + 8 * i / 10_000) for i in range(10_001)]
    assert 0.95 * SOFTEST < max(costs) < SOFTEST
    assert softness(-1.0) < A_NAT_BELOW == pytest.approx(softness(-1.0), rel=0.1)
    assert softness(1.0) < A_NAT_ABOVE == pytest.approx(softness(1.0), rel=0.2)
    assert softness(-2.0) < TWO_NATS_BELOW


@pytest.mark.parametrize("name", list(SPECTRA))
def test_thresholds_at_the_eigenvalues_are_optimal_but_for_their_softness(name):
    theory = LinearVAE(covariance(name), LATENTS, mean=torch.linspace(-1, 2, SIZE, dtype=torch.float64))
    model = by_thresholds(theory)
    logs = theory.eigenvalues[:LATENTS].log().tolist()
    for beta in RANGE.grid(50).tolist():
        distances = [log - math.log(beta) for log in logs]
        found = excess(theory, model, covariance(name), beta)
        expected = beta * sum(softness(distance) for distance in distances)
        assert found == pytest.approx(expected, abs=LATENTS * FLOOR * beta + 1e-9)
        assert -1e-9 <= found <= LATENTS * beta * SOFTEST
        if beta <= 3.6:
            assert found <= LATENTS * 0.01


def test_a_direction_a_nat_from_its_threshold_costs_next_to_nothing():
    for power in (-1.0, 0.0, 1.0, 2.0):
        matrix = math.exp(power) * torch.eye(SIZE, dtype=torch.float64)
        theory = LinearVAE(matrix, LATENTS)
        model = by_thresholds(theory)
        for below, bound in ((1.0, A_NAT_BELOW + FLOOR), (2.0, TWO_NATS_BELOW)):
            if (beta := math.exp(power + below)) in RANGE:
                assert -1e-9 <= excess(theory, model, matrix, beta) <= LATENTS * beta * bound
        for above in (1.0, 2.0, 3.0):
            if (beta := math.exp(power - above)) in RANGE:
                assert -1e-9 <= excess(theory, model, matrix, beta) < 1e-6


@pytest.mark.parametrize("off", [-0.3, 0.3])
def test_thresholds_beside_the_eigenvalues_cost_more(off):
    theory = LinearVAE(covariance("inside the range"), LATENTS)
    right, wrong = by_thresholds(theory), by_thresholds(theory)
    with torch.no_grad():
        wrong.response.thresholds.add_(off / RANGE.log_std)
    for beta in (0.01, 0.1, 1.0):
        costs = [excess(theory, model, covariance("inside the range"), beta) for model in (right, wrong)]
        assert costs[1] > 10 * max(costs[0], 1e-4 * beta)
