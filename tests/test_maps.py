import math

import pytest
import torch
from numpy.polynomial import Legendre
from torch.autograd import gradcheck, gradgradcheck

from multirate.maps import bent, cubic_maps

BATCH, CHANNELS = 5, 3


def operands(requires_grad=False):
    g = torch.Generator().manual_seed(0)
    shapes = ((BATCH, 1), (CHANNELS,), (CHANNELS,), (2, CHANNELS))
    return [torch.randn(s, generator=g, dtype=torch.float64).requires_grad_(requires_grad) for s in shapes]


def test_cubic_maps_are_legendre_series_of_the_place_in_the_range():
    column, bias, weight, curvature = operands()
    maps = cubic_maps(column, bias, weight, curvature)
    for channel in range(CHANNELS):
        # The affine part is b + w s, and P1 of the place s / sqrt 3 is that place.
        coefficients = [bias[channel], weight[channel] * math.sqrt(3), *curvature[:, channel]]
        series = Legendre([float(c) for c in coefficients])
        assert maps[:, channel].numpy() == pytest.approx(series(column[:, 0].numpy() / math.sqrt(3)), abs=1e-12)


def test_first_and_second_derivatives_of_cubic_maps_are_those_of_finite_differences():
    assert gradcheck(cubic_maps, operands(requires_grad=True))
    assert gradgradcheck(cubic_maps, operands(requires_grad=True))


def test_cubic_maps_in_one_go_equal_the_plain_sum_bit_for_bit():
    column, bias, weight, curvature = operands(requires_grad=True)
    plain = bent(torch.addcmul(bias, column, weight), column, curvature)
    assert torch.equal(cubic_maps(column, bias, weight, curvature), plain)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # within torch
def test_functional_transforms_go_through_cubic_maps():
    column, *rest = operands()
    slope = torch.func.jvp(lambda c: cubic_maps(c, *rest), (column,), (torch.ones_like(column),))[1]
    step = 1e-6
    difference = (cubic_maps(column + step, *rest) - cubic_maps(column - step, *rest)) / (2 * step)
    assert torch.allclose(slope, difference, atol=1e-8)
