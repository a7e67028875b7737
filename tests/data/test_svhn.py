import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.io import savemat

from multirate.data import load
from multirate.data.catalog import DATA_SETS
from multirate.data.splits import choose
from multirate.data.svhn import read_mat
from multirate.errors import DataError

GENERATOR = np.random.default_rng(0)
COUNTS = {"train": 30, "test": 7}
X = {part: GENERATOR.integers(0, 256, (32, 32, 3, n), dtype=np.uint8) for part, n in COUNTS.items()}
Y = {part: (np.arange(n, dtype=np.uint8)[:, None] % 10) + 1 for part, n in COUNTS.items()}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with files of the canonical structure: 27, 3 and 7 examples."""
    examples = {"train": 27, "validation": 3, "test": 7}
    monkeypatch.setitem(DATA_SETS, "svhn", replace(DATA_SETS["svhn"], examples=examples))
    for part in COUNTS:
        savemat(tmp_path / f"{part}_32x32.mat", {"X": X[part], "y": Y[part]}, do_compression=True)
    return tmp_path


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_splits_are_the_files_images_with_ten_as_zero(small, split):
    source = load("svhn", split, data_dir=small)
    part, rows = choose(split, COUNTS, "")
    assert (source.name, source.split, source.shape, source.likelihood) == ("svhn", split, (3, 32, 32), "gaussian")
    assert source.labels.tolist() == [(row + 1) % 10 for row in rows]
    images = source.batch(torch.arange(len(source)))
    for image, row in zip(images, rows, strict=True):
        for channel, line, column in ((0, 0, 0), (2, 0, 1), (1, 31, 0), (0, 5, 30)):
            assert image[channel, line, column] == np.float32(X[part][line, column, channel, row]) / 255
    path = small / f"{part}_32x32.mat"
    assert source.details["files"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


def test_validation_is_a_tenth_of_train_and_no_image_is_in_both(small):
    train, validation = (load("svhn", split, data_dir=small) for split in ("train", "validation"))
    images = torch.cat([source.batch(torch.arange(len(source))) for source in (train, validation)]).flatten(1)
    assert len(images.unique(dim=0)) == COUNTS["train"]


def test_the_published_sizes_are_those_of_the_splits():
    examples = DATA_SETS["svhn"].examples
    sizes = {"train": 73_257, "test": 26_032}
    assert examples == {split: len(choose(split, sizes, "")[1]) for split in ("train", "validation", "test")}


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_a_file_may_be_compressed_and_hold_more_and_classes_of_any_number_type(tmp_path, compressed, kind):
    path = tmp_path / "made.mat"
    more = {"note": "text", "cells": np.array(["a", 1], dtype=object)}
    savemat(path, {**more, "X": X["test"], "y": Y["test"].astype(kind)}, do_compression=compressed)
    images, digits = read_mat(path, 7)
    np.testing.assert_array_equal(images, X["test"].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(digits, [1, 2, 3, 4, 5, 6, 7])


class Evil:
    """Pickles to a call, and shows itself if it is looked at."""

    def __init__(self):
        self.X = 1

    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


CELLS = np.array([[1, "a"]] * 7, dtype=object)
BAD = {
    "no X": ({"y": Y["test"]}, "holds y of 7 x 1 uint8; X of 32 x 32 x 3 x 7 was expected"),
    "no y": ({"X": X["test"]}, "y of 7 x 1 was expected"),
    "nothing": ({}, "holds no variables"),
    "another count": ({"X": X["test"][..., :6], "y": Y["test"]}, "X of 32 x 32 x 3 x 6 uint8"),
    "another size": ({"X": X["test"][:31], "y": Y["test"]}, "X of 31 x 32 x 3 x 7 uint8"),
    "floats": ({"X": X["test"] / 255, "y": Y["test"]}, "X of float64, not of uint8"),
    "complex": ({"X": X["test"] * 1j, "y": Y["test"]}, "X of 32 x 32 x 3 x 7 something else"),
    "a row of classes": ({"X": X["test"], "y": Y["test"].T}, "y of 1 x 7 uint8"),
    "class 0": ({"X": X["test"], "y": Y["test"] * 0}, "other classes than 1 to 10"),
    "class 11": ({"X": X["test"], "y": Y["test"] + 9}, "other classes than 1 to 10"),
    "class 1.5": ({"X": X["test"], "y": Y["test"] + 0.5}, "other classes than 1 to 10"),
    "cells": ({"X": X["test"], "y": CELLS}, "y of 7 x 2 cells"),
    "an object": ({"X": X["test"], "y": Evil()}, "y of 1 x 1 structures"),
    "text": ({"X": "abc", "y": Y["test"]}, "X of 1 x 3 characters"),
}


@pytest.mark.parametrize(("variables", "message"), BAD.values(), ids=BAD.keys())
def test_a_file_of_another_structure_is_refused(tmp_path, variables, message):
    path = tmp_path / "made.mat"
    savemat(path, variables)
    with pytest.raises(DataError, match=message) as caught:
        read_mat(path, 7)
    assert str(path) in str(caught.value)
    assert "fetch it again" in str(caught.value)
