import math

import pytest
import torch
from torch import nn

from multirate import models
from multirate.models.initial import he_normal
from multirate.seeding import seeded

# A layer wide enough for its weights to tell their variance, and how many inputs one output value sums over: counted by
# hand. A transposed convolution of stride 2 and kernel 4 meets 2 of 4 positions along each axis.
LAYERS = {
    "linear": (lambda: nn.Linear(200, 300), 200),
    "conv1d": (lambda: nn.Conv1d(40, 300, 5), 200),
    "conv2d": (lambda: nn.Conv2d(40, 200, 3, stride=2), 360),
    "conv2d of groups": (lambda: nn.Conv2d(40, 400, 3, groups=4), 90),
    "conv2d without bias": (lambda: nn.Conv2d(40, 200, 3, bias=False), 360),
    "conv3d": (lambda: nn.Conv3d(20, 100, 2), 160),
    "transposed1d": (lambda: nn.ConvTranspose1d(60, 200, 4, stride=2), 120),
    "transposed2d": (lambda: nn.ConvTranspose2d(60, 100, 4, stride=2, padding=1), 240),
    "transposed2d of stride 1": (lambda: nn.ConvTranspose2d(40, 100, 3), 360),
    "transposed2d of groups": (lambda: nn.ConvTranspose2d(80, 100, 4, stride=2, groups=2), 160),
    "transposed3d": (lambda: nn.ConvTranspose3d(20, 50, 4, stride=2), 160),
}
SIGNALS = {
    "linear": (lambda: nn.Linear(200, 300), (200,)),
    "conv2d": (lambda: nn.Conv2d(40, 100, 3, padding=1), (40, 8, 8)),
    "strided conv2d": (lambda: nn.Conv2d(40, 100, 4, stride=2, padding=1), (40, 12, 12)),
    "strided transposed2d": (lambda: nn.ConvTranspose2d(40, 60, 4, stride=2, padding=1), (40, 8, 8)),
    "transposed2d of kernel 3 and stride 2": (
        lambda: nn.ConvTranspose2d(60, 60, 3, stride=2, padding=1, output_padding=1),
        (60, 8, 8),
    ),
}


def drawn(make):
    layer = make()
    with seeded(0):
        he_normal(layer)
    return layer


@pytest.mark.parametrize("name", LAYERS)
def test_weights_have_the_variance_of_two_over_the_inputs_and_biases_are_zero(name):
    make, inputs = LAYERS[name]
    layer = drawn(make)
    weight = layer.weight.detach().double()
    # Standard errors: 1 / sqrt(n) of the mean over the deviation, sqrt(2 / n) of the variance.
    count = weight.numel()
    assert weight.var().item() == pytest.approx(2 / inputs, rel=5 * math.sqrt(2 / count))
    assert abs(weight.mean().item()) < 5 * math.sqrt(2 / inputs / count)
    assert weight.abs().max() > 3 * math.sqrt(2 / inputs)  # no uniform distribution reaches there
    assert layer.bias is None or not layer.bias.any()


@torch.no_grad()
@pytest.mark.parametrize("name", SIGNALS)
def test_noise_of_unit_variance_leaves_a_layer_with_twice_its_variance(name):
    make, shape = SIGNALS[name]
    layer = drawn(make)
    x = torch.randn(40, *shape, generator=torch.Generator().manual_seed(1))
    output = layer(x)
    if output.ndim > 2:
        output = output[..., 2:-2, 2:-2]
    assert output.var().item() == pytest.approx(2, rel=0.06)


@torch.no_grad()
def test_the_signal_of_a_deep_mlp_neither_shrinks_nor_grows():
    with seeded(0):
        model = models.mlp(shape=(256,), latents=256, hidden=(256,) * 8, likelihood="gaussian")
    generator = torch.Generator().manual_seed(1)
    for part in (model.encoder, model.decoder):
        x, moments = torch.randn(500, 256, generator=generator), []
        for layer in part:
            x = layer(x)
            if isinstance(layer, nn.Linear):
                moments.append(x.square().mean().item())
        assert len(moments) == 8
        assert all(1.0 < moment < 4.0 for moment in moments)


def test_hidden_layers_of_the_mlp_start_so_and_heads_and_output_as_in_torch():
    with seeded(0):
        model = models.mlp()
    for part in (model.encoder, model.decoder):
        for layer in part.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                weight = layer.weight.detach()
                assert weight.abs().max() > 2.9 * weight.std()  # normal, where torch's uniform ends at 1.73
                assert layer.bias is None or not layer.bias.any()
    for layer in (model.mean, model.log_variance, model.output):
        fan_in = nn.init._calculate_fan_in_and_fan_out(layer.weight)[0]
        assert layer.weight.abs().max() <= 1 / math.sqrt(fan_in)
        assert layer.bias.any()


@torch.no_grad()
def test_other_layers_are_left_alone():
    norm, recurrent = nn.BatchNorm2d(3), nn.GRU(3, 4)
    nn.init.normal_(norm.weight)
    before = [p.clone() for p in (*norm.parameters(), *recurrent.parameters())]
    he_normal(nn.Sequential(norm), recurrent)
    after = (*norm.parameters(), *recurrent.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_seed_decides_the_start():
    twins = []
    for seed in (0, 0, 1):
        with seeded(seed):
            twins.append(models.mlp(shape=(4,), latents=2, hidden=(8,)).encoder[1].weight)
    assert torch.equal(twins[0], twins[1])
    assert not torch.equal(twins[0], twins[2])
