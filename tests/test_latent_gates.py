import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.latent_gate import latent_gate as slow
from torch.nn import functional as F

from latent_cases import BETAS, RANGE, VAES, Convolutional, Inner, Joint, Named, nats, randomized
from multirate.beta import BetaRange
from multirate.errors import BetaError, UsageError
from multirate.response import LATENT_GATES, Response, Slot, latent_gate

# torch's softplus is linear where it exceeds its argument by less than this, after the division by 8.
LINEAR = math.log1p(math.exp(-20)) / 8
TWO_SITES = [Slot("latent mean", 4, False), Slot("latent log-variance", 4, False), Slot("latent input", 4, False)]


def excesses(dtype):
    sizes = [0.0, 1e-30, 1e-9, 1e-3, 0.1, 1.0, 2.5, 3.0, 10.0, 100.0, 1e4, 1e30]
    return torch.tensor([sign * size for sign in (-1, 1) for size in sizes], dtype=dtype, requires_grad=True)


@given(st.floats(-60, 60), st.floats(1e-6, 1e6))
def test_latent_gate_is_the_equation_in_float64(threshold, beta):
    t, g = latent_gate(torch.tensor(threshold - math.log(beta), dtype=torch.float64))
    expected_t, expected_g = slow(threshold, beta)
    assert t.item() == pytest.approx(expected_t, rel=1e-12, abs=LINEAR)
    assert g.item() == pytest.approx(expected_g, rel=1e-9, abs=1e-12)


def test_latent_gate_has_its_known_values():
    t, g = latent_gate(torch.tensor([0.0, math.log(1.5), 50.0, -50.0], dtype=torch.float64))
    assert t.tolist() == pytest.approx([math.log(2) / 8, math.log(1 + 1.5**8) / 8, 50, 0], abs=1e-12)
    assert g[0].item() == pytest.approx(math.sqrt(1 - 2**-0.125))
    assert g[1].item() == pytest.approx(math.sqrt(1 - (1 + 1.5**8) ** -0.125))
    assert g[2].item() == 1.0
    assert g[3].item() == pytest.approx(1e-3)  # the floor, at which the slope is cut


def test_far_from_its_threshold_a_latent_is_that_of_the_optimal_linear_vae():
    excess = torch.tensor([-9.0, -5.0, -3.0, 3.0, 5.0, 9.0], dtype=torch.float64)
    t, g = latent_gate(excess)
    torch.testing.assert_close(t, excess.clamp(min=0), rtol=0, atol=1e-11)
    optimal = (1 - torch.exp(-excess)).clamp(min=0).sqrt()
    torch.testing.assert_close(g, optimal, rtol=0, atol=1.001e-3)
    torch.testing.assert_close(g[3:], optimal[3:], rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_latent_gates_and_gradients_are_finite_everywhere(dtype):
    excess = excesses(dtype)
    t, g = latent_gate(excess)
    assert (t >= 0).all()
    assert ((g > 0) & (g <= 1)).all()
    for value, most in ((t, 1.0), (g, 500.0)):
        (slope,) = torch.autograd.grad(value.sum(), excess, retain_graph=True)
        assert torch.isfinite(value).all()
        assert torch.isfinite(slope).all()
        assert slope.min() >= 0
        assert slope.max() <= most * 1.001


def test_latent_gates_rise_with_the_threshold():
    t, g = latent_gate(torch.linspace(-1.4, 4.0, 200, dtype=torch.float64))
    assert (t.diff() > 0).all()
    assert (g.diff() > 0).all()


@pytest.mark.parametrize("excess", [-1.5, -0.3, 0.0, 0.4, 2.0])
def test_latent_gates_have_the_slope_of_the_equation(excess):
    value, step = torch.tensor(excess, dtype=torch.float64, requires_grad=True), 1e-6
    for part in (0, 1):
        (slope,) = torch.autograd.grad(latent_gate(value)[part], value)
        up, down = (slow(excess + sign * step, 1.0)[part] for sign in (1, -1))
        assert slope.item() == pytest.approx((up - down) / (2 * step), rel=1e-6)


def test_moments_are_the_gates_of_mean_and_log_variance_side_by_side():
    t, g = latent_gate(torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 4))
    mean, log_variance, moments = (LATENT_GATES[f"latent {what}"](t, g) for what in ("mean", "log-variance", "moments"))
    assert torch.equal(moments.scale, torch.cat([mean.scale, log_variance.scale], dim=1))
    assert torch.equal(moments.shift, torch.cat([torch.zeros(3, 4, dtype=torch.float64), log_variance.shift], dim=1))
    assert torch.equal(mean.scale, g)
    assert torch.equal(log_variance.scale, g * g)
    assert torch.equal(log_variance.shift, -t)
    assert mean.shift is None


@pytest.mark.parametrize("beta_range", [RANGE, BetaRange(1e-6, 1e3)], ids=str)
def test_thresholds_start_within_two_nats_of_the_upper_end_and_all_learn(beta_range):
    response = Response(TWO_SITES, beta_range, dtype=torch.float64)
    start = response.thresholds.detach() * beta_range.log_std + beta_range.log_mean
    expected = math.log(beta_range.high) - torch.tensor([2, 4 / 3, 2 / 3, 0], dtype=torch.float64)
    torch.testing.assert_close(start, expected)
    gates = response(beta_range.standardize(beta_range.grid(50)))
    assert gates[0].scale[0].min() > 0.99
    sum(gate.scale.sum() for gate in gates).backward()
    assert (response.thresholds.grad.abs() > 1e-3).all()
    assert torch.isfinite(response.thresholds.grad).all()


@torch.no_grad()
def test_all_gates_of_a_latent_follow_from_one_threshold():
    response = Response([*TWO_SITES, Slot("film", 2, True)], RANGE, dtype=torch.float64)
    before = response(RANGE.standardize(BETAS))
    response.thresholds[2] += 0.7
    for old, new in zip(before[:3], response(RANGE.standardize(BETAS))[:3], strict=True):
        changed = (old.scale != new.scale).any(dim=0)
        assert changed.tolist() == [False, False, True, False]
    assert torch.equal(before[0].scale, before[2].scale)
    assert torch.equal(before[1].scale, before[0].scale.square())
    assert response.channel_slices()[:3] == ((None, None),) * 3


def test_latent_gates_that_differ_in_number_are_refused():
    with pytest.raises(UsageError, match="differ in number: 3, 4"):
        Response([Slot("latent mean", 4, False), Slot("latent moments", 6, False)])


def raw(layer, x):
    """Apply a layer's own weights, past every hook."""
    if x.ndim == 2:
        return F.linear(x, layer.weight, layer.bias)
    if "Transpose" in type(layer).__name__:
        return F.conv_transpose2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.output_padding)
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)


def by_hand(model, like):
    """Return t and g at BETAS, ``[6, latents, 1, ...]`` to multiply latents with, from the slow reference."""
    table = torch.tensor([[slow(xi, float(beta)) for xi in nats(model)] for beta in BETAS], dtype=torch.float64)
    return (table[..., part].reshape(len(BETAS), -1, *[1] * (like.ndim - 2)) for part in (0, 1))


@torch.no_grad()
@pytest.mark.parametrize("vae", VAES, ids=lambda vae: vae.__name__)
def test_the_posterior_of_a_gated_vae_is_the_formula_at_a_beta_an_example(vae):
    model = randomized(vae)
    x = model.base.batch()
    kept = {}
    heads = [model.base.get_submodule(name) for name in vae.heads]
    hooks = [head.register_forward_pre_hook(lambda layer, args: kept.update({layer: args[0]})) for head in heads]
    with model.at(BETAS):
        mean, log_variance = model.base.posterior(x)
    for hook in hooks:
        hook.remove()
    m, v = (raw(head, kept[head]) for head in heads)
    if vae is Joint:
        m, v = m.chunk(2, dim=1)
    t, g = by_hand(model, m)
    torch.testing.assert_close(mean, g * m, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_variance, g.square() * v - t, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(mean, m)


@torch.no_grad()
@pytest.mark.parametrize("vae", VAES, ids=lambda vae: vae.__name__)
def test_the_decoder_of_a_gated_vae_takes_gated_latents_at_a_beta_an_example(vae):
    model = randomized(vae)
    taker, z = model.base.get_submodule(vae.taker), model.base.latent()
    own = [i for i, layer in enumerate(model.plan.gated) if layer.name == vae.taker and not layer.on_input]
    _, g = by_hand(model, z)
    expected = raw(taker, g * z)
    for index in own:
        gate = model.gates(BETAS)[index]
        shape = (len(BETAS), -1, *[1] * (z.ndim - 2))
        expected = gate.scale.reshape(shape) * expected + gate.shift.reshape(shape)
    with model.at(BETAS):
        torch.testing.assert_close(taker(z), expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(taker(input=z), taker(z), rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("vae", VAES, ids=lambda vae: vae.__name__)
def test_a_beta_an_example_equals_one_call_an_example(vae):
    model = randomized(vae)
    x = model.base.batch()
    together = model(x, beta=BETAS)
    for i, beta in enumerate(BETAS.tolist()):
        for whole, alone in zip(together, model(x[i : i + 1], beta=beta), strict=True):
            torch.testing.assert_close(whole[i : i + 1], alone, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_latent_far_above_its_threshold_costs_nothing_and_carries_nothing():
    model = randomized(Named)
    model.response.thresholds.fill_(float(RANGE.standardize(0.001)))
    with model.at(10.0):
        mean, log_variance = model.base.posterior(model.base.batch())
        z = model.base.latent()
        near = model.base.decoder_input(z) - model.base.decoder_input(torch.zeros_like(z))
    rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    assert rate.max() < 1e-5
    assert near.abs().max() < 1e-2


@pytest.mark.parametrize("vae", [Named, Convolutional, Inner, Joint], ids=lambda vae: vae.__name__)
def test_every_threshold_learns_from_the_terms(vae):
    model = randomized(vae)
    torch.manual_seed(0)
    terms = model.terms(model.base.batch(), beta=BETAS)
    (terms.distortion + BETAS * terms.rate).sum().backward()
    assert (model.response.thresholds.grad != 0).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_input_layer_refuses_betas_that_fit_no_example():
    model = randomized(Named)
    with model.at(BETAS), pytest.raises(BetaError, match="6 betas for layer 'decoder_input', which sees 4 examples"):
        model.base.decoder_input(model.base.latent(4))
    with pytest.raises(BetaError, match="layer 'decoder_input' is gated and no beta is set"):
        model.base.decoder_input(model.base.latent())
