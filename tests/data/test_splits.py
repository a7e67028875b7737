import numpy as np
import pytest

from multirate.data.splits import choose, named_splits
from multirate.errors import DataError

SPLITS = ("train", "validation", "test")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"train": 100}, (80, 10, 10)),
        ({"train": 10}, (8, 1, 1)),
        ({"train": 19}, (17, 1, 1)),
        ({"train": 100, "test": 7}, (90, 10, 7)),
        ({"train": 100, "validation": 5, "test": 7}, (100, 5, 7)),
        ({"train": 3, "validation": 1, "test": 1}, (3, 1, 1)),
    ],
)
def test_splits_use_every_example_once(sizes, expected):
    parts = {split: choose(split, sizes, "mine") for split in SPLITS}
    assert tuple(len(indices) for _, indices in parts.values()) == expected
    used = sorted((part, int(i)) for part, indices in parts.values() for i in indices)
    assert used == sorted((part, i) for part, size in sizes.items() for i in range(size))


def test_splits_are_the_same_every_time_and_keep_the_order():
    _, first = choose("test", {"train": 100}, "mine")
    _, again = choose("test", {"train": 100}, "other")
    np.testing.assert_array_equal(first, again)
    assert (np.diff(first) > 0).all()
    # The first ten of NumPy's frozen permutation of 100 with seed 0.
    assert first.tolist() == sorted([26, 86, 2, 55, 75, 93, 16, 73, 54, 95])


def test_too_few_examples_are_refused():
    with pytest.raises(DataError, match="mine has 9 examples, too few to cut"):
        choose("train", {"train": 9}, "mine")


def test_validation_without_test_is_refused():
    with pytest.raises(DataError, match="train and validation but no test"):
        choose("train", {"train": 90, "validation": 10}, "mine")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "validation", "test"), {"train", "validation", "test"}),
        (("train", "val", "other"), {"train", "validation"}),
        (("x_train", "y_train", "x_test", "y_test"), {"train", "test"}),
        (("x", "test"), set()),
        (("cats", "dogs"), set()),
    ],
)
def test_parts_are_known_by_their_names(names, expected):
    assert set(named_splits(dict.fromkeys(names))) == expected
