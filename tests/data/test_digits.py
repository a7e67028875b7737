import hashlib

import numpy as np
import pytest
import torch
from sklearn import datasets

from multirate.data import load

SIZES = {"train": 1297, "validation": 200, "test": 300}
BITS = {
    "train": "af968ca21f7c57f7e4a4b9f06e3adc08f9a0c76e79a5d8bbd4221208a2b5070b",
    "validation": "92f7a50249a8fe6513080652bf63ed510f564d5f27f0236504926496e18598af",
    "test": "c739742f414cfa0fff7041387f8fe30cdd6912546c2c7df8c74a7f692a244ac2",
}


def images_of(split, **options):
    source = load("digits", split, **options)
    return source, source.batch(torch.arange(len(source)))


@pytest.mark.parametrize("split", SIZES)
def test_splits_are_fixed_to_the_bit(split):
    source, images = images_of(split)
    assert images.shape == (SIZES[split], 1, 8, 8)
    assert source.shape == (1, 8, 8)
    assert (source.name, source.split, source.likelihood) == ("digits", split, "bernoulli")
    assert hashlib.sha256(np.packbits(images.numpy().astype(bool)).tobytes()).hexdigest() == BITS[split]


def test_the_splits_are_scikit_learns_digits_each_once():
    published = datasets.load_digits()
    parts = [images_of(split, binarize="none") for split in SIZES]
    images = torch.cat([part for _, part in parts]).flatten(1) * 16
    labels = torch.cat([source.labels for source, _ in parts])

    rows = np.column_stack([images.numpy(), labels.numpy()])
    expected = np.column_stack([published.data, published.target])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, expected))
    assert torch.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images.double().mean().item() == pytest.approx(4.884164579855314, abs=1e-12)


def test_binary_digits_have_the_mean_of_the_gray_ones():
    _, bits = images_of("train")
    gray_source, gray = images_of("train", binarize="none")
    assert gray_source.likelihood == "gaussian"
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    spread = (gray * (1 - gray)).mean().div(gray.numel()).sqrt()
    assert abs(bits.mean() - gray.mean()) < 4 * spread
    assert not bits[gray == 0].any()
    assert bits[gray == 1].all()


def test_threshold_is_above_half():
    _, gray = images_of("test", binarize="none")
    _, bits = images_of("test", binarize="threshold")
    assert torch.equal(bits, (gray > 0.5).float())


def test_the_record_says_how_they_were_made():
    assert load("digits").details == {"binarize": "static", "binarize_seed": 5, "split_seed": 6, "scale": 1}
    assert load("digits", binarize="none").details["scale"] == 16


def test_larger_digits_are_the_same_pixels_as_squares_within_a_border():
    _, small = images_of("test")
    source, large = images_of("test", size=28)
    assert source.shape == (1, 28, 28)
    assert source.details["size"] == 28
    inner = large[:, :, 2:26, 2:26]
    assert large.sum() == inner.sum()
    for row in range(3):
        for column in range(3):
            assert torch.equal(inner[:, :, row::3, column::3], small)
