import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import legendre

import multirate as mr
from multirate.beta import BetaRange
from multirate.errors import UsageError
from multirate.response import GATES, RESPONSES, Response, Slot, linear_gate, ramp_gate, sigmoid_gate, sqrt_gate

# Curved gates start with slopes of 0.4 a standard deviation: at the ends of the range, sqrt(3) of them away.
LEAST = {"cubic": 1 - 0.4 * math.sqrt(3) - 1e-9}

VALUES = [
    (sigmoid_gate, 0.0, 0.5),
    (sigmoid_gate, math.log(3.0), 0.75),
    (sqrt_gate, -50.0, 1.0),
    (sqrt_gate, math.log(0.75), 0.5),
    (sqrt_gate, math.log1p(-1e-10), 1e-5),
    (sqrt_gate, 0.0, 0.0),
    (sqrt_gate, 3.0, 0.0),
    (ramp_gate, -2.5, 2.5),
    (ramp_gate, 2.5, 0.0),
    (linear_gate, -2.5, -2.5),
]
RANGES = [BetaRange(0.01, 10.0), BetaRange(1e-6, 1e3)]
FUNCTIONS = [sigmoid_gate, sqrt_gate, ramp_gate, linear_gate]


@pytest.mark.parametrize(("gate", "u", "expected"), VALUES)
def test_gate_has_its_known_value(gate, u, expected):
    assert gate(torch.tensor(u, dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.floats(-700, 700))
def test_sqrt_gate_is_the_equation_in_float64(u):
    expected = math.sqrt(max(0.0, -math.expm1(u)))
    assert sqrt_gate(torch.tensor(u, dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("u", [-5.0, -1.0, -0.1, -1e-3])
def test_sqrt_gate_has_the_slope_of_the_equation(u):
    value = torch.tensor(u, dtype=torch.float64, requires_grad=True)
    sqrt_gate(value).backward()
    assert value.grad.item() == pytest.approx(-math.exp(u) / (2 * math.sqrt(1 - math.exp(u))), rel=1e-9)


@pytest.mark.parametrize("gate", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gates_and_gradients_are_finite_at_and_beyond_the_threshold(gate, dtype):
    u = torch.tensor(
        [-1e4, -100.0, -1.0, -1e-3, -1e-6, -1e-9, -1e-20, 0.0, 1e-20, 1e-9, 1.0, 100.0, 1e4],
        dtype=dtype,
        requires_grad=True,
    )
    values = gate(u)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(u.grad).all()
    assert u.grad.abs().max() <= 500.0 * 1.01


@pytest.mark.parametrize("name", list(RESPONSES))
@pytest.mark.parametrize("beta_range", RANGES, ids=str)
def test_no_gate_is_dead_anywhere_in_the_range_at_the_start(name, beta_range):
    slots = [Slot(gate, 3, GATES[gate].shift) for gate in RESPONSES[name].values() if gate in GATES]
    response = Response(slots, dtype=torch.float64)
    gates = response(beta_range.standardize(beta_range.grid(200)))
    for slot, gate in zip(slots, gates, strict=True):
        assert gate.scale.min() > LEAST.get(slot.gate, 0.5)
    sum(gate.scale.sum() + (0 if gate.shift is None else gate.shift.sum()) for gate in gates).backward()
    assert torch.isfinite(response.weight.grad).all()
    assert (response.bias.grad != 0).all()


def test_every_slope_learns_at_the_start_from_a_single_beta():
    response = Response([Slot(gate, 2, GATES[gate].shift) for gate in GATES], dtype=torch.float64)
    gates = response(torch.tensor(1.3, dtype=torch.float64))
    sum(gate.scale.sum() + (0 if gate.shift is None else gate.shift.sum()) for gate in gates).backward()
    assert (response.weight.grad != 0).all()


@torch.no_grad()
def test_response_is_one_affine_map_per_channel_whatever_the_order_of_slots():
    slots = [Slot("film", 2, True), Slot("sigmoid", 3, False), Slot("film", 1, False), Slot("sqrt", 2, False)]
    response = Response(slots, dtype=torch.float64)
    torch.nn.init.normal_(response.weight)
    torch.nn.init.normal_(response.bias)
    eta = torch.tensor([-1.0, 0.2, 1.7], dtype=torch.float64)
    for slot, gate, (scale_at, shift_at) in zip(slots, response(eta), response.channel_slices(), strict=True):
        for b in range(3):
            for c in range(slot.channels):
                u = response.weight[scale_at][c] * eta[b] + response.bias[scale_at][c]
                expected = {"film": u, "sigmoid": 1 / (1 + math.exp(-u)), "sqrt": math.sqrt(max(0, 1 - math.exp(u)))}
                assert gate.scale[b, c].item() == pytest.approx(float(expected[slot.gate]), abs=1e-12)
                if shift_at is not None:
                    v = response.weight[shift_at][c] * eta[b] + response.bias[shift_at][c]
                    assert gate.shift[b, c].item() == pytest.approx(float(v), abs=1e-12)
        assert (gate.shift is None) == (shift_at is None)


@torch.no_grad()
def test_cubic_gates_add_the_legendre_polynomials_of_the_place_in_the_range():
    slots = [Slot("cubic", 2, True), Slot("sigmoid", 2, False), Slot("cubic", 1, False), Slot("film", 1, True)]
    response, beta_range = Response(slots, dtype=torch.float64), BetaRange(0.01, 10.0)
    for parameter in response.parameters():
        torch.nn.init.normal_(parameter)
    grid = beta_range.grid(7)
    place = np.linspace(-1, 1, 7)
    bends = np.stack([legendre.legval(place, [0] * degree + [1]) for degree in (2, 3)])
    gates = response(beta_range.standardize(grid))
    count = response.curvature.shape[1]
    assert count == 2 * 2 + 1
    for i in (0, 2):
        for part, where in zip(gates[i], response.channel_slices()[i], strict=True):
            if where is None:
                continue
            affine = place[:, None] * math.sqrt(3) * response.weight[where].numpy() + response.bias[where].numpy()
            own = response.curvature[:, where.start - len(response.weight) + count :][:, : where.stop - where.start]
            np.testing.assert_allclose(part.numpy(), affine + bends.T @ own.numpy(), rtol=1e-9, atol=1e-12)
    response.curvature.zero_()
    without = response(beta_range.standardize(grid))
    assert [torch.equal(a.scale, b.scale) for a, b in zip(gates, without, strict=True)] == [False, True, False, True]
    assert torch.equal(gates[3].shift, without[3].shift)


def test_the_curvature_starts_at_zero_and_learns():
    response, beta_range = Response([Slot("cubic", 3, True)], dtype=torch.float64), BetaRange(0.01, 10.0)
    assert torch.equal(response.curvature, torch.zeros(2, 6, dtype=torch.float64))
    gate = response(beta_range.standardize(torch.tensor([0.02, 0.5], dtype=torch.float64)))[0]
    (gate.scale.sum() + gate.shift.sum()).backward()
    assert (response.curvature.grad != 0).all()


def test_cubic_gates_start_as_slopes_of_alternating_signs():
    response, beta_range = Response([Slot("cubic", 4, True)], dtype=torch.float64), BetaRange(0.01, 10.0)
    scale, shift = (part.detach() for part in response(beta_range.standardize(beta_range.grid(3)))[0])
    fan = 0.4 * math.sqrt(3) * torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    torch.testing.assert_close(scale, 1 + fan * torch.tensor([1.0, -1.0, 1.0, -1.0]))
    assert torch.equal(shift, torch.zeros(3, 4, dtype=torch.float64))


NETWORK = [
    Slot("mlp-sqrt", 2, False),
    Slot("cubic", 2, True),
    Slot("mlp-sigmoid", 3, False),
    Slot("sigmoid", 1, False),
    Slot("mlp-sqrt", 1, False),
]


@torch.no_grad()
def test_gates_of_a_small_network_equal_a_slow_reference():
    response = Response(NETWORK, dtype=torch.float64)
    for parameter in response.parameters():
        torch.nn.init.normal_(parameter)
    etas = [-1.5, 0.3, 1.2]
    gates = response(torch.tensor(etas, dtype=torch.float64))
    first = len(response.weight) - response.mixing.shape[1]
    for slot, gate, (where, _) in zip(NETWORK, gates, response.channel_slices(), strict=True):
        if not slot.gate.startswith("mlp"):
            continue
        for b, eta in enumerate(etas):
            hidden = [
                math.tanh(float(v) * eta + float(a))
                for v, a in zip(response.hidden_weight, response.hidden_bias, strict=True)
            ]
            for c, at in enumerate(range(where.start, where.stop)):
                mixed = sum(h * float(m) for h, m in zip(hidden, response.mixing[:, at - first], strict=True))
                u = float(response.weight[at]) * eta + float(response.bias[at]) + mixed / math.sqrt(len(hidden))
                expected = 1 / (1 + math.exp(-u)) if slot.gate == "mlp-sigmoid" else math.sqrt(max(0, -math.expm1(u)))
                assert gate.scale[b, c].item() == pytest.approx(expected, rel=1e-10, abs=1e-12)
        assert gate.scale.shape == (3, slot.channels)
        assert gate.shift is None


@torch.no_grad()
def test_bent_gates_of_two_kinds_do_not_meet():
    response = Response(NETWORK, dtype=torch.float64)
    for parameter in response.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    response.bias.sub_(3.0)  # no sqrt gate is shut
    eta = torch.tensor(0.7, dtype=torch.float64)
    before = response(eta)
    response.mixing.zero_()
    changed = [not torch.equal(a.scale, b.scale) for a, b in zip(before, response(eta), strict=True)]
    assert changed == [True, False, True, False, True]


def test_gates_of_a_small_network_start_as_the_papers_and_learn():
    response = Response([Slot("mlp-sigmoid", 2, False), Slot("mlp-sqrt", 2, False)], dtype=torch.float64)
    paper = Response([Slot("sigmoid", 2, False), Slot("sqrt", 2, False)], dtype=torch.float64)
    etas = torch.linspace(-1.7, 1.7, 9, dtype=torch.float64)
    for one, other in zip(response(etas), paper(etas), strict=True):
        torch.testing.assert_close(one.scale, other.scale.expand_as(one.scale))
    sum(gate.scale.sum() for gate in response(etas[:3])).backward()
    assert (response.mixing.grad != 0).all()
    torch.nn.init.normal_(response.mixing)
    sum(gate.scale.sum() for gate in response(etas[:3])).backward()
    for parameter in response.parameters():
        assert parameter.grad.isfinite().all()
        assert (parameter.grad != 0).any()


@torch.no_grad()
def test_a_small_network_represents_a_gate_that_shuts_in_the_middle_of_the_range():
    eta = torch.linspace(-math.sqrt(3), math.sqrt(3), 101, dtype=torch.float64)
    target = 0.9 - 0.8 * torch.exp(-4 * eta.square())
    u = target.logit()[:, None]
    response = Response([Slot("mlp-sigmoid", 1, False)], dtype=torch.float64)
    units = torch.tanh(eta[:, None] * response.hidden_weight + response.hidden_bias) / math.sqrt(32)
    affine = torch.stack([torch.ones_like(eta), eta], dim=1)
    both = torch.linalg.lstsq(torch.cat([affine, units], dim=1), u, driver="gelsd").solution
    response.bias.copy_(both[0])
    response.weight.copy_(both[1])
    response.mixing.copy_(both[2:])
    assert (response(eta)[0].scale[:, 0] - target).abs().max() < 0.01
    best_affine = torch.sigmoid(affine @ torch.linalg.lstsq(affine, u).solution)[:, 0]
    assert (best_affine - target).abs().max() > 0.3


def test_a_small_network_costs_its_hidden_layer_once_and_34_numbers_a_channel():
    response = Response([Slot("mlp-sigmoid", 5, False), Slot("mlp-sqrt", 7, False)])
    assert sum(p.numel() for p in response.parameters()) == 2 * 32 + 34 * 12
    base = mr.models.mlp(shape=(1, 4, 4), latents=2, hidden=(5, 3))
    plan = mr.plan(base, response="mlp")
    assert plan.parameters == sum(p.numel() for p in mr.convert(base, response="mlp").response.parameters())


def test_paper_response_costs_two_numbers_a_channel():
    response = Response([Slot("sigmoid", 5, False), Slot("sqrt", 7, False)])
    assert sum(p.numel() for p in response.parameters()) == 2 * 12
    assert set(response.state_dict()) == {"weight", "bias"}


def test_unknown_gate_function_is_refused():
    with pytest.raises(UsageError, match="no gate function 'tanh'"):
        Response([Slot("tanh", 1, False)])
