import hashlib

import numpy as np
import pytest

from multirate.data.binarize import binarized, permutation, static_bits
from multirate.errors import UsageError

GRAY = np.arange(256, dtype=np.uint8).repeat(400)


def slow_static_bits(gray, levels, seed):
    stream = np.random.RandomState(seed)
    return np.array([stream.random_sample() < int(g) / levels for g in gray.ravel()]).reshape(gray.shape)


def test_static_bits_equal_a_draw_pixel_by_pixel():
    gray = GRAY[::40].reshape(2, 64, 20)
    np.testing.assert_array_equal(static_bits(gray, 255, 3), slow_static_bits(gray, 255, 3))


def test_the_draw_does_not_depend_on_how_it_is_cut(monkeypatch):
    whole = static_bits(GRAY, 255, 1)
    monkeypatch.setattr("multirate.data.binarize._CHUNK", 1009)
    np.testing.assert_array_equal(static_bits(GRAY, 255, 1), whole)


def test_static_bits_are_the_same_on_every_machine():
    digest = hashlib.sha256(np.packbits(static_bits(GRAY, 255, 1)).tobytes()).hexdigest()
    assert digest == "7106bb39d4d4e5456cabd83e7ab7ceeac0ee0e6aff11aa3720bc7be7e4d25b1a"


def test_static_bits_have_the_mean_of_the_intensities():
    bits = static_bits(GRAY, 255, 1)
    p = GRAY / 255
    error = bits.mean() - p.mean()
    assert abs(error) < 4 * np.sqrt((p * (1 - p)).mean() / p.size)
    assert not bits[GRAY == 0].any()
    assert bits[GRAY == 255].all()


def test_another_seed_is_another_draw():
    assert (static_bits(GRAY, 255, 1) != static_bits(GRAY, 255, 2)).any()


def test_threshold_cuts_above_half():
    bits, details = binarized(np.array([[0, 127, 128, 255]], dtype=np.uint8), "threshold", levels=255, seed=0)
    assert bits.tolist() == [[False, False, True, True]]
    assert details == {"binarize": "threshold"}


def test_none_leaves_gray_values():
    gray, details = binarized(GRAY, "none", levels=255, seed=0)
    assert gray is GRAY
    assert details == {"binarize": "none"}


def test_an_unknown_way_is_refused_with_the_choices():
    with pytest.raises(UsageError, match="unknown binarize 'dynamic'; choose one of static, threshold, none"):
        binarized(GRAY, "dynamic", levels=255, seed=0)


def test_the_permutation_is_the_same_on_every_machine():
    assert permutation(10, 0).tolist() == [2, 8, 4, 9, 1, 6, 7, 3, 0, 5]
