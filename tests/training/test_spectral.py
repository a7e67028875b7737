"""Spectral regularisation against singular values by decomposition."""

import copy
import io

import pytest
import torch
from torch import nn

from multirate.convert import convert
from multirate.errors import UsageError
from multirate.models import mlp, nvae
from multirate.training.spectral import SpectralPenalty, layer_matrix, spectral_penalty

LAYERS = {
    "linear": lambda: nn.Linear(5, 7),
    "convolution": lambda: nn.Conv2d(3, 4, 3),
    "depthwise": lambda: nn.Conv2d(4, 4, 5, groups=4),
    "transposed": lambda: nn.ConvTranspose2d(3, 4, 3),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).double()


def by_decomposition(model):
    """The penalty by definition: matrix norms of weights by output channel, and the largest scale of each norm."""
    total = torch.zeros((), dtype=torch.float64)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            total = total + torch.linalg.matrix_norm(module.weight.reshape(module.weight.shape[0], -1), ord=2)
        elif isinstance(module, nn.ConvTranspose2d):
            rows = torch.stack([module.weight[:, channel].flatten() for channel in range(module.weight.shape[1])])
            total = total + torch.linalg.matrix_norm(rows, ord=2)
        elif isinstance(module, nn.BatchNorm2d):
            total = total + module.weight.abs().max()
    return total


def after(penalty, calls):
    for _ in range(calls):
        value = penalty()
    return value


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_one_layer_has_its_matrix_norm(name):
    layer = LAYERS[name]().double()
    value = after(SpectralPenalty(layer), 500)
    torch.testing.assert_close(value, by_decomposition(layer), rtol=1e-9, atol=0)


def test_the_penalty_is_the_sum_over_layers_and_normalizations():
    model = network()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.5, -3.0, 1.0, 2.0]))
    value = after(SpectralPenalty(model), 500)
    torch.testing.assert_close(value, by_decomposition(model), rtol=1e-9, atol=0)


def test_its_gradient_is_that_of_the_singular_values():
    model, other = network(), network()
    after(SpectralPenalty(model), 500).backward()
    by_decomposition(other).backward()
    for found, expected in zip(model.parameters(), other.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad, rtol=1e-6, atol=1e-8)
        else:
            assert found.grad is None


def test_ten_iterations_at_the_start_are_close_and_later_ones_follow_the_weights():
    model = network()
    penalty = SpectralPenalty(model)
    assert penalty().item() == pytest.approx(by_decomposition(model).item(), rel=0.05)
    for _ in range(50):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        value = penalty()
    assert value.item() == pytest.approx(by_decomposition(model).item(), rel=0.05)


def test_a_penalty_never_exceeds_the_truth():
    model = network()
    penalty = SpectralPenalty(model)
    assert all(penalty() <= by_decomposition(model) * (1 + 1e-12) for _ in range(5))


def test_the_state_goes_on_bit_for_bit_after_it_was_saved():
    model = network()
    penalty = SpectralPenalty(model, seed=3)
    after(penalty, 3)
    file = io.BytesIO()
    torch.save(penalty.state_dict(), file)
    expected = after(penalty, 4)
    resumed = SpectralPenalty(copy.deepcopy(model), seed=8)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(after(resumed, 4), expected)


def test_the_state_holds_no_parameters_and_no_layer_of_the_model():
    penalty = SpectralPenalty(network())
    assert list(penalty.parameters()) == []
    assert set(penalty.state_dict()) == {"left_0", "left_1"}


def test_the_seed_decides_the_start_and_the_global_generator_is_left_alone():
    model, before = network(), torch.get_rng_state()
    first, second, other = (SpectralPenalty(model, seed=seed)() for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.slow
def test_a_multirate_model_has_the_penalty_of_its_base():
    torch.manual_seed(0)
    base = mlp(hidden=(8,)).double()
    multi = convert(base)
    assert after(SpectralPenalty(multi), 300).item() == pytest.approx(by_decomposition(base).item(), rel=1e-6)


def test_shared_weights_count_once_and_frozen_ones_not_at_all():
    linear, tied, frozen = (nn.Linear(3, 3).double() for _ in range(3))
    tied.weight = linear.weight
    frozen.weight.requires_grad_(False)
    model = nn.Sequential(linear, tied, linear, frozen)
    value = after(SpectralPenalty(model), 500)
    assert value.item() == pytest.approx(torch.linalg.matrix_norm(linear.weight, ord=2).item(), rel=1e-6)


def test_a_weight_of_zeros_has_no_penalty_and_finite_gradients():
    linear = nn.Linear(3, 2)
    nn.init.zeros_(linear.weight)
    value = SpectralPenalty(linear)()
    value.backward()
    assert value.item() == 0
    assert linear.weight.grad.isfinite().all()


def test_one_call_serves_without_a_state():
    model = network()
    assert torch.equal(spectral_penalty(model), SpectralPenalty(model)())
    state = SpectralPenalty(model)
    first, second = spectral_penalty(model, state), spectral_penalty(model, state)
    assert second >= first


def test_every_layer_of_an_nvae_counts():
    model = nvae()
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(SpectralPenalty(model).state_dict()) == len(layers)
    assert layer_matrix(layers[0]).shape == (16, 16)


def test_a_model_without_layers_is_refused():
    with pytest.raises(UsageError, match="ReLU has no layer for spectral regularization"):
        SpectralPenalty(nn.ReLU())
