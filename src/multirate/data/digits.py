"""The 8x8 digits that come with scikit-learn: real data without a download."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from multirate.data.binarize import Binarize, binarized, permutation
from multirate.data.catalog import DATA_SETS
from multirate.data.source import TensorSource
from multirate.errors import DataError, UsageError

_LEVELS = 16
_SIDE = 8
_BINARIZE_SEED = 5
_SPLIT_SEED = 6


def load_digits(
    split: str,
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    binarize: Binarize = "static",
    size: int = _SIDE,
) -> TensorSource:
    """Load the digits: 1,297 for train, 200 for validation, 300 for test, cut from one fixed permutation (seed 6).

    Args:
        split: ``train``, ``validation`` or ``test``.
        data_dir: not used, there are no files.
        download: not used.
        binarize: ``static`` draws every pixel once with probability ``intensity / 16`` (seed 5,
            :func:`~multirate.data.binarize.static_bits`); ``threshold`` is 1 above 8; ``none`` keeps gray values in
            ``[0, 1]``, with a Gaussian likelihood.
        size: side of the images, at least 8: for networks of larger images (:func:`enlarged`).

    Returns:
        Images ``[1, size, size]`` with ``labels``.

    Raises:
        UsageError: if the size is smaller.
        DataError: if scikit-learn's copy is not the one of 1,797 digits.
    """
    from sklearn import datasets

    if isinstance(size, bool) or not isinstance(size, int) or size < _SIDE:
        raise UsageError(f"size is the side of the digits in pixels, an integer of at least {_SIDE}; got {size!r}")
    bunch = datasets.load_digits()
    examples = DATA_SETS["digits"].examples
    total = sum(examples.values())
    if bunch.images.shape != (total, _SIDE, _SIDE) or bunch.images.min() < 0 or bunch.images.max() > _LEVELS:
        raise DataError(
            f"scikit-learn's digits have shape {bunch.images.shape}, not ({total}, 8, 8); install scikit-learn again"
        )
    images, details = binarized(bunch.images.astype(np.uint8), binarize, levels=_LEVELS, seed=_BINARIZE_SEED)
    start = {"train": 0, "validation": examples["train"], "test": examples["train"] + examples["validation"]}[split]
    chosen = np.sort(permutation(total, _SPLIT_SEED)[start : start + examples[split]])
    if size != _SIDE:
        details["size"] = size
    return TensorSource(
        torch.from_numpy(enlarged(images[chosen], size)).unsqueeze(1),
        name="digits",
        split=split,
        scale=1 if binarize != "none" else _LEVELS,
        labels=torch.from_numpy(bunch.target[chosen].astype(np.int64)),
        details={**details, "split_seed": _SPLIT_SEED},
    )


def enlarged(images: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """Make every pixel a square, as large as fits, and surround the image with zeros.

    Args:
        images: ``[N, H, H]``.
        size: side of the result, at least H.

    Returns:
        ``[N, size, size]``, with squares of ``size // H`` pixels; what is left is border, the odd pixel at the end.
    """
    factor, left = divmod(size, images.shape[1])
    border = (left // 2, left - left // 2)
    return np.pad(images.repeat(factor, axis=1).repeat(factor, axis=2), ((0, 0), border, border))
