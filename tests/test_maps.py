import math

import pytest
import torch
from numpy.polynomial import Legendre

from multirate.maps import bends, plain_eager, without_autocast


def test_bends_are_the_legendre_polynomials_of_the_place_in_the_range():
    column = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    place = column[:, 0].numpy() / math.sqrt(3)
    for degree, found in zip((2, 3), bends(column).unbind(dim=1), strict=True):
        assert found.numpy() == pytest.approx(Legendre.basis(degree)(place), abs=1e-12)


def test_plain_eager_is_what_neither_compiler_nor_transform_sees():
    seen = []

    def look(x):
        seen.append(plain_eager())
        return x * 2

    look(torch.ones(3))
    torch.func.vmap(look)(torch.ones(3))
    with torch.autograd.forward_ad.dual_level():
        look(torch.ones(3))
    look(torch.ones(3))
    assert seen == [True, False, False, True]


def test_without_autocast_products_keep_their_precision():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with without_autocast("cpu"):
            assert (x @ x).dtype == torch.float32
    with without_autocast("meta"):
        assert (x.to("meta") @ x.to("meta")).dtype == torch.float32
