import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference.water_filling import least_objective, rate_at_squared_error
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from multirate.beta import BetaRange
from multirate.errors import BetaError, UsageError
from multirate.theory import FixedDecoderGates, LinearGate, LinearVAE, fixed_decoder_gates, linear_terms

BETAS = torch.logspace(-4, 3, 50, dtype=torch.float64)
SPECTRA = {
    "spread": ([9.0, 4.0, 1.0, 0.25, 0.05, 0.01], 4),
    "repeated": ([2.0, 2.0, 2.0, 0.5], 2),
    "one": ([4.0], 1),
    "all kept": ([3.0, 1.0, 0.1], 3),
    "singular": ([5.0, 1.0, 0.0, 0.0], 3),
    "more latents than data": ([5.0, 1.0], 4),
    "constant data": ([0.0, 0.0, 0.0], 2),
}
GATE_FUNCTIONS = {
    "sigmoid": torch.sigmoid,
    "sqrt": lambda u: (-torch.expm1(u)).clamp_min(0).sqrt(),
    "ramp": lambda u: (-u).clamp_min(0),
}


def rotation(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=rng(seed), dtype=torch.float64))[0]


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def covariance_of(eigenvalues: list[float], seed: int = 0) -> Tensor:
    basis = rotation(len(eigenvalues), seed)
    matrix = basis * torch.tensor(eigenvalues, dtype=torch.float64) @ basis.T
    return (matrix + matrix.T) / 2


def value(gate: LinearGate, log_beta: Tensor) -> Tensor:
    return GATE_FUNCTIONS[gate.function](gate.slope * log_beta + gate.offset)


@pytest.fixture(params=SPECTRA.values(), ids=SPECTRA.keys())
def case(request: pytest.FixtureRequest) -> tuple[Tensor, LinearVAE]:
    eigenvalues, latents = request.param
    covariance = covariance_of(eigenvalues)
    return covariance, LinearVAE(covariance, latents)


def test_one_dimension_has_the_known_answer() -> None:
    optimum = LinearVAE([[4.0]], latents=1)
    parameters = optimum.parameters(1.0)

    assert optimum.rate(1.0).item() == pytest.approx(math.log(2))
    assert optimum.distortion(1.0).item() == pytest.approx(0.5 + 0.5 * math.log(2 * math.pi))
    assert abs(parameters.decoder.item()) == pytest.approx(math.sqrt(3))
    assert abs(parameters.encoder.item()) == pytest.approx(math.sqrt(3) / 4)
    assert parameters.variance.item() == pytest.approx(0.25)


def test_nothing_is_sent_when_beta_is_above_every_eigenvalue() -> None:
    optimum = LinearVAE(torch.diag(torch.tensor([4.0, 1.0])), latents=2)

    assert optimum.rate(4.0).item() == 0
    assert optimum.distortion(4.0).item() == pytest.approx(2.5 + math.log(2 * math.pi))
    assert optimum.parameters(4.0).variance.tolist() == [1.0, 1.0]
    assert not optimum.parameters(4.0).encoder.any()


@pytest.mark.parametrize(
    ("eigenvalues", "latents"), [SPECTRA[name] for name in ("spread", "repeated", "one", "all kept")]
)
def test_curve_is_reverse_water_filling_of_the_kept_directions(eigenvalues: list[float], latents: int) -> None:
    optimum = LinearVAE(covariance_of(eigenvalues), latents)
    constant = len(eigenvalues) / 2 * math.log(2 * math.pi)
    kept, left_out = eigenvalues[:latents], eigenvalues[latents:]

    for beta in BETAS.tolist():
        squared_error = 2 * (optimum.distortion(beta).item() - constant) - sum(left_out)
        if beta < max(kept):
            assert optimum.rate(beta).item() == pytest.approx(
                rate_at_squared_error(kept, squared_error), rel=1e-8, abs=1e-8
            )
        least = least_objective(kept, left_out, beta)
        assert optimum.objective(beta).item() - constant == pytest.approx(least, rel=1e-12, abs=1e-12)


def test_parameters_reach_the_optimum_at_every_beta(case: tuple[Tensor, LinearVAE]) -> None:
    covariance, optimum = case

    for beta in BETAS:
        parameters = optimum.parameters(beta)
        rate, distortion = linear_terms(parameters.decoder, parameters.encoder, parameters.variance, covariance)

        torch.testing.assert_close(rate, optimum.rate(beta), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(distortion, optimum.distortion(beta), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("standardized", [False, True])
def test_exact_gates_are_optimal_at_every_beta(case: tuple[Tensor, LinearVAE], standardized: bool) -> None:
    covariance, optimum = case
    beta_range = BetaRange(0.01, 10.0)
    gates = optimum.exact_gates().standardized(beta_range) if standardized else optimum.exact_gates()

    for beta in BETAS:
        t = beta_range.standardize(beta) if standardized else beta.log()
        hidden = value(gates.encoder_first_gate, t)[:, None] * gates.encoder_first
        encoder = value(gates.encoder_second_gate, t)[:, None] * (gates.encoder_second @ hidden)
        first = value(gates.decoder_first_gate, t)[:, None] * gates.decoder_first
        decoder = value(gates.decoder_second_gate, t)[:, None] * (gates.decoder_second @ first)
        variance = (-value(gates.log_variance_gate, t)).exp()
        rate, distortion = linear_terms(decoder, encoder, variance, covariance)

        torch.testing.assert_close(distortion + beta * rate, optimum.objective(beta), rtol=0, atol=1e-8)
        torch.testing.assert_close(rate, optimum.rate(beta), rtol=0, atol=1e-8)


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize(("size", "latents", "kept"), [(6, 3, 3), (4, 4, 4), (1, 1, 1), (6, 3, 2)])
def test_fixed_decoder_gates_give_the_best_encoder_for_that_decoder(
    size: int, latents: int, kept: int, standardized: bool
) -> None:
    decoder = torch.randn(size, latents, generator=rng(1), dtype=torch.float64)
    decoder[:, kept:] = 0
    beta_range = BetaRange(0.1, 1.0)
    gates: FixedDecoderGates = fixed_decoder_gates(decoder)
    gates = gates.standardized(beta_range) if standardized else gates
    gram = decoder.T @ decoder

    for beta in BETAS:
        t = beta_range.standardize(beta) if standardized else beta.log()
        hidden = value(gates.encoder_first_gate, t)[:, None] * gates.encoder_first
        encoder = value(gates.encoder_second_gate, t)[:, None] * (gates.encoder_second @ hidden)

        best = torch.linalg.solve(gram + beta * torch.eye(latents, dtype=torch.float64), decoder.T)
        torch.testing.assert_close(encoder, best, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(
            value(gates.variance_gate, t), beta / (gram.diagonal() + beta), rtol=1e-10, atol=1e-10
        )


def test_best_encoder_for_a_fixed_decoder_is_a_stationary_point() -> None:
    covariance = covariance_of([3.0, 2.0, 1.0, 0.5])
    decoder = torch.randn(4, 2, generator=rng(2), dtype=torch.float64)
    gates, beta = fixed_decoder_gates(decoder), torch.tensor(0.7, dtype=torch.float64)
    scale = value(gates.encoder_first_gate, beta.log()) / 2
    encoder = (gates.encoder_second @ (scale[:, None] * gates.encoder_first)).requires_grad_()
    variance = value(gates.variance_gate, beta.log()).requires_grad_()

    rate, distortion = linear_terms(decoder, encoder, variance, covariance)
    slopes = torch.autograd.grad(distortion + beta * rate, [encoder, variance])

    assert max(float(slope.abs().max()) for slope in slopes) < 1e-12


def test_fixed_decoder_gates_miss_the_joint_optimum_when_the_decoder_follows_beta() -> None:
    covariance, beta = torch.tensor([[4.0]], dtype=torch.float64), 1.0
    optimum = LinearVAE(covariance, 1)
    for_full_decoder = fixed_decoder_gates(torch.tensor([[2.0]], dtype=torch.float64))
    encoder = for_full_decoder.encoder_first * for_full_decoder.encoder_second / 2 * 0.8
    variance = torch.tensor([0.2], dtype=torch.float64)

    rate, distortion = linear_terms(optimum.parameters(beta).decoder.abs(), encoder.abs(), variance, covariance)

    assert abs(encoder.item()) == pytest.approx(0.4)
    assert (distortion + beta * rate - optimum.objective(beta)).item() == pytest.approx(0.0202905, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    eigenvalues=st.lists(st.floats(1e-3, 1e2), min_size=2, max_size=5),
    latents=st.integers(1, 6),
    log_beta=st.floats(-8, 6),
    seed=st.integers(0, 2**31),
    spread=st.floats(0.01, 3),
)
def test_no_linear_vae_falls_below_the_optimum(
    eigenvalues: list[float], latents: int, log_beta: float, seed: int, spread: float
) -> None:
    covariance, beta = covariance_of(eigenvalues, seed), math.exp(log_beta)
    optimum = LinearVAE(covariance, latents)
    best = optimum.parameters(beta)
    generator = rng(seed)

    def near(tensor: Tensor) -> Tensor:
        return tensor + spread * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)

    for anchor in (0.0, 1.0):
        decoder, encoder = near(anchor * best.decoder), near(anchor * best.encoder)
        variance = best.variance * near(torch.zeros_like(best.variance)).exp()
        rate, distortion = linear_terms(decoder, encoder, variance, covariance)
        assert distortion + beta * rate >= optimum.objective(beta) - 1e-9


@pytest.mark.parametrize("beta", [0.2, 0.7, 2.0, 20.0])
def test_a_trained_linear_vae_comes_to_the_optimum_and_stays_above(beta: float) -> None:
    covariance = covariance_of([9.0, 4.0, 1.5, 0.5, 0.2, 0.1], seed=3)
    optimum = LinearVAE(covariance, latents=3)
    generator = rng(4)
    shapes = [(6, 3), (3, 6), (3,)]
    weights = [
        torch.randn(shape, generator=generator, dtype=torch.float64).mul_(0.5).requires_grad_() for shape in shapes
    ]
    optimizer = torch.optim.LBFGS(
        weights,
        max_iter=2000,
        max_eval=4000,
        tolerance_grad=1e-12,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )
    seen = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        decoder, encoder, log_variance = weights
        rate, distortion = linear_terms(decoder, encoder, log_variance.exp(), covariance)
        loss = distortion + beta * rate
        seen.append(loss.item())
        loss.backward()
        return loss

    optimizer.step(closure)
    excess = np.array(seen) - optimum.objective(beta).item()

    assert excess.min() > -1e-10
    assert excess[-1] < 1e-6


def test_slope_of_the_curve_is_minus_beta() -> None:
    optimum = LinearVAE(covariance_of([9.0, 4.0, 1.0, 0.25]), latents=3)
    beta = torch.tensor([0.02, 0.3, 0.9, 1.7, 3.5, 7.0], dtype=torch.float64)
    step = 1e-5 * beta

    slope = (optimum.distortion(beta + step) - optimum.distortion(beta - step)) / (
        optimum.rate(beta + step) - optimum.rate(beta - step)
    )

    torch.testing.assert_close(slope, -beta, rtol=1e-8, atol=0)


def test_slope_of_the_objective_is_the_rate() -> None:
    optimum = LinearVAE(covariance_of([9.0, 4.0, 1.0, 0.25]), latents=3)
    beta = torch.tensor([0.02, 0.3, 2.0, 20.0], dtype=torch.float64, requires_grad=True)

    (slope,) = torch.autograd.grad(optimum.objective(beta).sum(), beta)

    torch.testing.assert_close(slope, optimum.rate(beta.detach()))


def test_rate_falls_and_distortion_rises_with_beta(case: tuple[Tensor, LinearVAE]) -> None:
    _, optimum = case

    assert (optimum.rate(BETAS).diff() <= 0).all()
    assert (optimum.distortion(BETAS).diff() >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_rotating_the_data_changes_nothing(seed: int) -> None:
    covariance = covariance_of([9.0, 4.0, 1.0, 0.25])
    turn = rotation(4, seed + 10)
    turned = turn @ covariance @ turn.T

    for measure in (LinearVAE.rate, LinearVAE.distortion):
        torch.testing.assert_close(
            measure(LinearVAE((turned + turned.T) / 2, 2), BETAS), measure(LinearVAE(covariance, 2), BETAS)
        )


def test_mixing_latents_of_different_variance_costs_something() -> None:
    covariance = covariance_of([9.0, 4.0])
    optimum = LinearVAE(covariance, 2)
    best = optimum.parameters(0.5)
    turn = rotation(2, 5)

    rate, distortion = linear_terms(best.decoder @ turn, turn.T @ best.encoder, best.variance, covariance)

    assert distortion + 0.5 * rate > optimum.objective(0.5)


@pytest.mark.parametrize("least_variance", [0.1, 1.0])
def test_linear_terms_agree_with_monte_carlo(least_variance: float) -> None:
    generator = torch.Generator().manual_seed(6)
    covariance = covariance_of([3.0, 1.0, 0.5, 0.2, 0.1], seed=7)
    decoder = 0.5 * torch.randn(5, 2, generator=generator, dtype=torch.float64)
    encoder = 0.5 * torch.randn(2, 5, generator=generator, dtype=torch.float64)
    variance = torch.rand(2, generator=generator, dtype=torch.float64) + least_variance
    with torch.random.fork_rng():
        torch.manual_seed(8)
        x = MultivariateNormal(torch.zeros(5, dtype=torch.float64), covariance).sample((200_000,))
        posterior = Independent(Normal(x @ encoder.T, variance.sqrt()), 1)
        z = posterior.sample()
    prior = Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1)
    likelihood = Independent(Normal(z @ decoder.T, torch.ones(5, dtype=torch.float64)), 1)

    draws = kl_divergence(posterior, prior), -likelihood.log_prob(x)

    for exact, drawn in zip(linear_terms(decoder, encoder, variance, covariance), draws, strict=True):
        error = float(drawn.std()) / math.sqrt(drawn.numel())
        assert abs(float(drawn.mean() - exact)) < 4 * error
        assert error < 0.005 * float(exact)


def test_eigenvalues_are_all_there_in_decreasing_order() -> None:
    optimum = LinearVAE(covariance_of([0.25, 9.0, 1.0, 4.0]), latents=2)

    torch.testing.assert_close(optimum.eigenvalues, torch.tensor([9.0, 4.0, 1.0, 0.25], dtype=torch.float64))


def test_covariance_of_the_size_of_an_image_agrees_with_the_singular_values_of_the_data() -> None:
    x = np.random.default_rng(1).normal(size=(300, 784)) * np.geomspace(3, 0.01, 784)
    kept = (np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / len(x))[:32]
    total = x.var(0).sum()
    beta = 0.5 * kept[16]

    optimum = LinearVAE(np.cov(x.T, bias=True), latents=32)

    squared_error = np.minimum(kept, beta).sum() + total - kept.sum()
    assert optimum.rate(beta).item() == pytest.approx(np.log(np.maximum(kept / beta, 1)).sum() / 2, rel=1e-10)
    assert optimum.distortion(beta).item() == pytest.approx(squared_error / 2 + 392 * np.log(2 * np.pi), rel=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_read_only_array_of_any_precision_is_taken(dtype: type) -> None:
    x = np.random.default_rng(0).normal(size=(500, 20)).astype(dtype)
    covariance = np.cov(x.T, bias=True).astype(dtype)
    covariance.flags.writeable = False

    assert LinearVAE(covariance, 5, mean=x.mean(0)).objective(0.1).dtype == torch.float64


def test_rank_deficient_data_is_taken_whatever_the_sign_of_rounding() -> None:
    x = torch.randn(10, 40, generator=rng(9), dtype=torch.float64)

    optimum = LinearVAE(torch.cov(x.T, correction=0), latents=30)

    assert int((optimum.eigenvalues > 0).sum()) == 9
    assert optimum.objective(BETAS).isfinite().all()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
def test_results_have_the_shape_of_beta_and_are_float64(shape: tuple[int, ...]) -> None:
    optimum = LinearVAE(covariance_of([2.0, 1.0]), 1)

    for result in (optimum.rate, optimum.distortion, optimum.objective):
        value = result(torch.ones(shape))
        assert value.shape == shape
        assert value.dtype == torch.float64
    assert optimum.rate(0.5).shape == ()
    assert optimum.rate([0.5, 1.0]).shape == (2,)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, math.inf, [1.0, -2.0]])
def test_a_beta_that_is_not_positive_and_finite_is_refused(beta: float | list[float]) -> None:
    with pytest.raises(BetaError, match="positive and finite"):
        LinearVAE([[1.0]], 1).rate(beta)


def test_parameters_of_several_betas_are_refused() -> None:
    with pytest.raises(BetaError, match="one beta"):
        LinearVAE([[1.0]], 1).parameters(torch.ones(2))


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        ([1.0, 2.0], "square"),
        ([[1.0, 2.0]], "square"),
        (torch.zeros(0, 0), "square"),
        ([[1.0, 0.5], [0.0, 1.0]], "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "negative eigenvalue, -1"),
        ([[-1.0]], "negative eigenvalue"),
        ([[math.nan]], "not finite"),
        ([[math.inf, 0.0], [0.0, 1.0]], "not finite"),
        ([[1j]], "real"),
        ("covariance", "array of numbers"),
        ([[1.0], [1.0, 2.0]], "array of numbers"),
    ],
)
def test_a_matrix_that_is_no_covariance_is_refused(covariance: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LinearVAE(covariance, 1)


@pytest.mark.parametrize("latents", [0, -1, 1.5, True, "2"])
def test_latents_that_are_no_positive_whole_number_are_refused(latents: object) -> None:
    with pytest.raises(UsageError, match="at least 1 latent"):
        LinearVAE([[1.0]], latents)  # type: ignore[arg-type] # the mistake under test


@pytest.mark.parametrize("mean", [[1.0, 2.0], 1.0, [math.nan]])
def test_a_mean_that_does_not_fit_is_refused(mean: object) -> None:
    with pytest.raises(UsageError, match="mean must be 1 finite"):
        LinearVAE([[1.0]], 1, mean=mean)


@pytest.mark.parametrize("decoder", [torch.ones(3), torch.ones(2, 3), torch.full((3, 2), math.nan)])
def test_a_decoder_that_is_no_tall_finite_matrix_is_refused(decoder: Tensor) -> None:
    with pytest.raises(UsageError, match="finite matrix"):
        fixed_decoder_gates(decoder)


def test_linear_terms_refuse_shapes_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match=r"must be \[d, k\]"):
        linear_terms(torch.ones(3, 2), torch.ones(3, 2), torch.ones(2), torch.eye(3))
