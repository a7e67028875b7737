"""Fixed splits of data that come without them."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from multirate.data.binarize import permutation
from multirate.errors import DataError

SPLIT_SEED = 0

_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}

T = TypeVar("T")


def named_splits(parts: Mapping[str, T]) -> dict[str, T]:
    """Pick the splits out of named parts; ``val`` and ``valid`` are ``validation``, ``x_train`` is ``train``.

    Args:
        parts: anything by name: arrays of a file, subfolders.

    Returns:
        Split to part, for the splits that are there; empty unless ``train`` is.
    """
    found = {
        split: parts[name]
        for split, names in _NAMES.items()
        for name in (*(f"x_{name}" for name in names), *names)
        if name in parts
    }
    return found if "train" in found else {}


def choose(split: str, sizes: Mapping[str, int], name: str) -> tuple[str, NDArray[np.int64]]:
    """Say which examples of which part make a split, the same ones every time.

    With parts for all splits, each is its part. Validation that is missing is a tenth of ``train``; without ``test``
    too, ``train`` is cut in 80% train, 10% validation and 10% test. Cuts are made in one fixed permutation (seed 0),
    and the order of the examples is kept. A part ``validation`` without ``test`` is an error: it would be guesswork.

    Args:
        split: ``train``, ``validation`` or ``test``.
        sizes: number of examples of the parts that are there; ``train`` always is.
        name: for errors.

    Returns:
        The part and the indices in it.

    Raises:
        DataError: if there are too few examples to cut, or validation without test.
    """
    if "validation" in sizes and "test" not in sizes:
        raise DataError(
            f"{name} has train and validation but no test; add it, or leave validation out to have both cut from train"
        )
    if split in sizes and (split != "train" or "validation" in sizes):
        return split, np.arange(sizes[split])
    total = sizes["train"]
    if total < 10:
        raise DataError(
            f"{name} has {total} examples, too few to cut; give 10 or more, or parts train, validation, test"
        )
    tenth = total // 10
    order = permutation(total, SPLIT_SEED)
    cuts = {"test": order[:0], "validation": order[:tenth], "train": order[tenth:]}
    if "test" not in sizes:
        cuts = {"test": order[:tenth], "validation": order[tenth : 2 * tenth], "train": order[2 * tenth :]}
    return "train", np.sort(cuts[split])
