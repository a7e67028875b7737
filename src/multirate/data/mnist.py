"""MNIST, its published static binarization, and Fashion-MNIST."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multirate.data.binarize import Binarize, binarized
from multirate.data.catalog import DATA_SETS, MNIST_CONTENT
from multirate.data.download import locate, sha256_of
from multirate.data.idx import read_idx
from multirate.data.source import TensorSource
from multirate.errors import DataError
from multirate.reading import read_file, reason

_SIDE = 28
_TRAIN = 50_000
_ROWS = {"train": 60_000, "t10k": 10_000}

# Each file is binarized as a whole with its own seed, so that a split's bits do not depend on how splits are cut.
_SEEDS = {"train": 1, "t10k": 2}

_LAROCHELLE_FILES = {"train": "train", "validation": "valid", "test": "test"}


def load_mnist(
    split: str, *, data_dir: str | Path | None = None, download: bool = True, binarize: Binarize = "static"
) -> TensorSource:
    """Load MNIST: the first 50,000 images of the training file, its last 10,000 for validation, and the test file.

    Args:
        split: ``train``, ``validation`` or ``test``.
        data_dir: a folder to look for the files in.
        download: whether missing files may be downloaded.
        binarize: ``static`` draws every pixel once with probability ``intensity / 255`` (seed 1 for the training file,
            2 for the test file: :func:`~multirate.data.binarize.static_bits`); ``threshold`` is 1 from 128 on; ``none``
            keeps gray values in ``[0, 1]``, with a Gaussian likelihood.

    Returns:
        Images ``[1, 28, 28]``, with ``labels`` where the label file is on disk.

    Raises:
        DataError: if a file is missing, corrupt or not MNIST.
    """
    return _load_idx("mnist", split, data_dir, download, binarize)


def load_fashion(
    split: str, *, data_dir: str | Path | None = None, download: bool = True, binarize: Binarize = "none"
) -> TensorSource:
    """Load Fashion-MNIST; splits, arguments and errors as :func:`load_mnist`, but gray values are the default."""
    return _load_idx("fashion-mnist", split, data_dir, download, binarize)


def load_larochelle(split: str, *, data_dir: str | Path | None = None, download: bool = True) -> TensorSource:
    """Load the static binarization of MNIST that Larochelle and Murray published: 50,000, 10,000 and 10,000 images.

    No checksum was published: the files are verified by their exact structure, and the checksum of what was read is in
    ``details``.

    Args:
        split: ``train``, ``validation`` or ``test``.
        data_dir: a folder to look for the ``.amat`` files in.
        download: whether missing files may be downloaded.

    Returns:
        Binary images ``[1, 28, 28]``.

    Raises:
        DataError: if a file is missing or of another structure.
    """
    name = "mnist-larochelle"
    entry = DATA_SETS[name]
    path = locate(entry.file(f"binarized_mnist_{_LAROCHELLE_FILES[split]}.amat"), name, data_dir, download=download)
    bits = read_amat(path, entry.examples[split])
    return TensorSource(
        torch.from_numpy(bits).view(-1, 1, _SIDE, _SIDE),
        name=name,
        split=split,
        likelihood="bernoulli",
        details={"binarize": "published", "files": {path.name: sha256_of(path)}},
    )


def read_amat(path: Path, rows: int, columns: int = _SIDE * _SIDE) -> NDArray[np.bool_]:
    """Read a text file of zeros and ones, one image a line, its numbers separated by blanks.

    Args:
        path: the file.
        rows: how many lines it must have.
        columns: how many numbers a line must have.

    Returns:
        ``[rows, columns]``.

    Raises:
        DataError: if the file is missing, or is anything else than that.
    """
    try:
        text = np.frombuffer(read_file(path, 4 * rows * columns), dtype=np.uint8)
    except OSError as error:
        raise DataError(
            f"cannot read {path}, {rows:,} lines of {columns} numbers 0 or 1: {reason(error)}; fetch it again"
        ) from error
    digit = (text == ord("0")) | (text == ord("1"))
    blank = (text == ord(" ")) | (text == ord("\n")) | (text == ord("\r")) | (text == ord("\t"))
    if not bool((digit | blank).all()) or bool((digit[1:] & digit[:-1]).any()):
        raise DataError(
            f"{path} holds something else than the numbers 0 and 1, separated by blanks; remove it and fetch it again"
        )
    starts = np.append(0, np.flatnonzero(text == ord("\n")) + 1)
    counts = np.add.reduceat(digit, starts[starts < len(text)], dtype=np.int64)
    counts = counts[counts > 0]
    if len(counts) != rows or bool((counts != columns).any()):
        raise DataError(
            f"{path} is not {rows:,} lines of {columns} numbers (it has {len(counts):,} lines, the last of "
            f"{int(counts[-1]) if len(counts) else 0}); remove it and fetch it again"
        )
    bits: NDArray[np.bool_] = (text[digit] == ord("1")).reshape(rows, columns)
    return bits


def _load_idx(name: str, split: str, data_dir: str | Path | None, download: bool, binarize: Binarize) -> TensorSource:
    part = "t10k" if split == "test" else "train"
    rows = _ROWS[part]
    file = DATA_SETS[name].file(f"{part}-images-idx3-ubyte.gz")
    path = locate(file, name, data_dir, download=download)
    known = MNIST_CONTENT[file.name] if name == "mnist" else None
    gray, content = read_idx(path, (rows, _SIDE, _SIDE), sha256=known)
    if name != "mnist" and content == MNIST_CONTENT[file.name]:
        raise DataError(
            f"{path} is the file of mnist, which has the same name; put those of {name} into a folder {name}/"
        )
    images, details = binarized(gray, binarize, levels=255, seed=_SEEDS[part])
    chosen = {"train": slice(0, _TRAIN), "validation": slice(_TRAIN, None), "test": slice(None)}[split]
    labels = _labels(name, f"{part}-labels-idx1-ubyte.gz", rows, path.parent)
    return TensorSource(
        torch.from_numpy(images[chosen].copy()).unsqueeze(1),
        name=name,
        split=split,
        scale=1 if binarize != "none" else 255,
        labels=None if labels is None else labels[chosen],
        details=_record(details, path, content),
    )


def _labels(name: str, file_name: str, rows: int, folder: Path) -> Tensor | None:
    path = folder / file_name
    if not path.is_file():
        return None
    labels, _ = read_idx(path, (rows,), sha256=MNIST_CONTENT[file_name] if name == "mnist" else None)
    return torch.from_numpy(labels.astype(np.int64))


def _record(details: dict[str, Any], path: Path, content: str) -> dict[str, Any]:
    return {**details, "files": {path.name: content}, "checksum_of": "unzipped content"}
