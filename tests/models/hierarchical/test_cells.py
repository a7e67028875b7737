"""Residual cells: what they compute, and that no layer is in place."""

import pytest
import torch
from torch import nn

from multirate.models.hierarchical.cells import SqueezeExcite, decoder_cell, encoder_cell

KINDS = {
    "encoder": ["BatchNorm2d", "SiLU", "Conv2d", "BatchNorm2d", "SiLU", "Conv2d", "SqueezeExcite"],
    "decoder": [
        *("BatchNorm2d", "Conv2d", "BatchNorm2d", "SiLU", "Conv2d", "BatchNorm2d", "SiLU", "Conv2d", "BatchNorm2d"),
        "SqueezeExcite",
    ],
}
CELLS = {
    "encoder": lambda: encoder_cell(4, 4),
    "encoder down": lambda: encoder_cell(4, 8, stride=2),
    "decoder": lambda: decoder_cell(4, 4, 3),
    "decoder up": lambda: decoder_cell(4, 2, 3, upsample=2),
}
SHAPES = {"encoder": (4, 6, 6), "encoder down": (8, 3, 3), "decoder": (4, 6, 6), "decoder up": (2, 12, 12)}


@pytest.mark.parametrize("name", KINDS)
def test_a_cell_has_the_layers_of_the_paper(name):
    assert [type(layer).__name__ for layer in CELLS[name]().residual] == KINDS[name]


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_has_the_size_asked_for_and_leaves_its_input_alone(name):
    x = torch.randn(2, 4, 6, 6)
    before = x.clone()
    assert CELLS[name]()(x).shape == (2, *SHAPES[name])
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_its_skip_where_the_residual_is_nothing(name):
    cell, x = CELLS[name](), torch.randn(2, 4, 6, 6)
    last = cell.residual[-2]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    expected = x
    if cell.skip is not None:
        matrix = next(layer for layer in cell.skip if isinstance(layer, nn.Conv2d))
        mixed = torch.einsum("oi,bihw->bohw", matrix.weight[:, :, 0, 0], x) + matrix.bias[:, None, None]
        if "up" in name:
            expected = mixed.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        else:
            expected = mixed.reshape(2, -1, 3, 2, 3, 2).mean((3, 5))
    torch.testing.assert_close(cell(x), expected)


def test_the_depthwise_convolution_has_one_5x5_filter_for_each_of_the_expanded_channels():
    depthwise = decoder_cell(4, 4, 3).residual[4]
    assert depthwise.weight.shape == (12, 1, 5, 5)


def test_squeeze_and_excitation_scales_channels_by_what_their_means_say():
    torch.manual_seed(0)
    layer, x = SqueezeExcite(32), torch.randn(2, 32, 3, 3)
    first, second = layer.scale[0], layer.scale[2]
    assert first.out_features == 4
    means = x.flatten(2).mean(2)
    hidden = (means @ first.weight.T + first.bias).clamp(min=0)
    expected = x * torch.sigmoid(hidden @ second.weight.T + second.bias)[:, :, None, None]
    torch.testing.assert_close(layer(x), expected)
