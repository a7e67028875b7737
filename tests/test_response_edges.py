"""Corners of the response: how it runs under a compiler, types, devices, and what it says of itself."""

import pytest
import torch

from multirate.beta import BetaRange
from multirate.response import GATES, RESPONSES, GateFunction, Response, Slot, linear_gate

BETAS = BetaRange(0.01, 10.0)
SLOTS = {
    "cubic alone": [Slot("cubic", 3, True), Slot("cubic", 2, False)],
    "cubic beside affine": [Slot("sigmoid", 2, False), Slot("cubic", 3, True)],
    "every kind": [*(Slot(name, 2, gate.shift) for name, gate in GATES.items()), Slot("latent mean", 4, False)],
}


def randomized(slots: list[Slot], **options: torch.dtype) -> Response:
    response = Response(slots, BETAS, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in response.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return response


@pytest.mark.parametrize("name", SLOTS)
def test_gates_are_the_same_where_their_kernels_would_be_merged(name, monkeypatch):
    response = randomized(SLOTS[name], dtype=torch.float64)
    standardized = torch.linspace(-1.7, 1.7, 5, dtype=torch.float64)
    eager = response(standardized)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr(torch, "addmm", None)
    for gate, compiled in zip(eager, response(standardized), strict=True):
        assert torch.allclose(gate.scale, compiled.scale, rtol=1e-12, atol=0)
        assert (gate.shift is None) == (compiled.shift is None)
        if gate.shift is not None:
            assert torch.allclose(gate.shift, compiled.shift, rtol=1e-12, atol=1e-15)


def test_only_gates_that_leave_the_maps_as_they_are_take_shifts():
    maps = torch.tensor([[-2.0, 0.5, 3.0]])
    assert torch.equal(linear_gate(maps), maps)
    assert {gate.name for gate in GATES.values() if gate.shift} == {"film", "cubic"}
    assert all(gate.scale is linear_gate for gate in GATES.values() if gate.shift)


def test_names_that_files_and_options_hold_mean_what_they_meant() -> None:
    assert dict(RESPONSES) == {
        "default": {"encoder": "cubic", "decoder": "cubic", "latents": "threshold"},
        "paper": {"encoder": "sigmoid", "decoder": "sqrt"},
        "sigmoid": {"encoder": "sigmoid", "decoder": "sigmoid"},
        "film": {"encoder": "film", "decoder": "film"},
        "mlp": {"encoder": "mlp-sigmoid", "decoder": "mlp-sqrt"},
        "water-filling": {"*log_variance*": "ramp", "encoder": "sqrt", "decoder": "sqrt"},
    }
    # Sigmoids start at 0.88, square roots at 0.93, ramps and linear gates at 1.
    assert {gate.name: gate.offset for gate in GATES.values()} == {
        "sigmoid": 2.0,
        "sqrt": -2.0,
        "ramp": -1.0,
        "film": 1.0,
        "cubic": 1.0,
        "mlp-sigmoid": 2.0,
        "mlp-sqrt": -2.0,
    }


def test_a_gate_function_is_affine_flat_and_without_shift_unless_it_says_so():
    gate = GateFunction("plain", torch.sigmoid, offset=1.0)
    assert (gate.shift, gate.slope, gate.bent, gate.coefficients) == (False, 0.0, "", 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_parameter_is_of_the_type_and_on_the_device_that_were_asked_for(dtype, device):
    response = Response(SLOTS["every kind"], BETAS, dtype=dtype, device=device)
    parameters = dict(response.named_parameters())
    assert set(parameters) == {
        *("weight", "bias", "curvature", "hidden_weight", "hidden_bias", "mixing", "thresholds"),
    }
    assert {(value.dtype, value.device.type) for value in parameters.values()} == {(dtype, device)}


def test_it_says_how_many_layers_channels_and_latents_are_gated():
    latents = [Slot("latent mean", 4, False), Slot("latent input", 4, False)]
    assert Response([Slot("cubic", 3, True), Slot("sqrt", 2, False), *latents], BETAS).extra_repr() == (
        "layers=2, channels=5, latents=4"
    )
    assert Response([Slot("sqrt", 2, False)], BETAS).extra_repr() == "layers=1, channels=2, latents=0"
