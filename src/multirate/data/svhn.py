"""Street View House Numbers, the cropped digits, from their MATLAB files."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from multirate.data.catalog import DATA_SETS
from multirate.data.download import locate, sha256_of
from multirate.data.matlab import read_matlab
from multirate.data.source import TensorSource
from multirate.data.splits import SPLIT_SEED, choose
from multirate.errors import DataError

_SIDE = 32
_TEN = 10


def load_svhn(split: str, *, data_dir: str | Path | None = None, download: bool = True) -> TensorSource:
    """Load SVHN: 65,932 for train and 7,325 for validation, cut from ``train_32x32.mat``; 26,032 of the test file.

    The cut is that of every set without a published one: a tenth by one fixed permutation (seed 0,
    :func:`~multirate.data.splits.choose`). The easier ``extra_32x32.mat`` is not used.

    Args:
        split: ``train``, ``validation`` or ``test``.
        data_dir: a folder to look for the ``.mat`` files in.
        download: whether missing files may be downloaded.

    Returns:
        Images ``[3, 32, 32]`` in ``[0, 1]``, held as bytes, with a Gaussian likelihood and ``labels`` 0 to 9.

    Raises:
        DataError: if a file is missing, corrupt or not SVHN.
    """
    entry = DATA_SETS["svhn"]
    sizes = {"train": entry.examples["train"] + entry.examples["validation"], "test": entry.examples["test"]}
    part, indices = choose(split, sizes, "svhn")
    path = locate(entry.file(f"{part}_32x32.mat"), "svhn", data_dir, download=download)
    images, labels = read_mat(path, sizes[part])
    return TensorSource(
        torch.from_numpy(images if len(indices) == len(images) else images[indices]),
        name="svhn",
        split=split,
        likelihood="gaussian",
        scale=255,
        labels=torch.from_numpy(labels[indices]),
        details={"files": {path.name: sha256_of(path)}} | ({"split_seed": SPLIT_SEED} if part == "train" else {}),
    )


def read_mat(path: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read a MATLAB file of images ``X`` and classes ``y``, where class 10 is the digit 0.

    Only these two variables are read, and nothing in the file is executed
    (:func:`~multirate.data.matlab.read_matlab`).

    Args:
        path: the file, of MATLAB's level 5.
        count: images that it must hold: ``X`` is ``[32, 32, 3, count]`` bytes, ``y`` is ``[count, 1]``.

    Returns:
        Images ``[count, 3, 32, 32]``, and digits ``[count]`` from 0 to 9.

    Raises:
        DataError: if the file is missing, truncated, corrupt or of another structure.
    """
    arrays = read_matlab(path, {"X": (_SIDE, _SIDE, 3, count), "y": (count, 1)})
    pixels, digits = arrays["X"], arrays["y"].reshape(-1)
    again = "remove it and fetch it again"
    if pixels.dtype != np.uint8:
        raise DataError(f"{path} holds X of {pixels.dtype}, not of uint8; {again}")
    if not np.isin(digits, np.arange(1, _TEN + 1)).all():
        raise DataError(f"{path} has other classes than 1 to 10; {again}")
    images: NDArray[np.uint8] = np.ascontiguousarray(pixels.transpose(3, 2, 0, 1))
    return images, digits.astype(np.int64) % _TEN
