"""dSprites: 737,280 binary images of a sprite, one for each combination of six factors."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multirate.data.binarize import permutation
from multirate.data.catalog import DATA_SETS
from multirate.data.download import find, locate, sha256_of
from multirate.data.dsprites_file import grid_factors, read_packed
from multirate.data.dsprites_render import FACTORS, SIDE, VERSION, render_all
from multirate.data.packed import PackedSource
from multirate.data.prepared import prepared_rows
from multirate.data.rows import RowFile
from multirate.data.splits import SPLIT_SEED
from multirate.errors import UsageError

Rendering: TypeAlias = Literal["auto", "canonical", "procedural"]

COUNT = int(np.prod(list(FACTORS.values())))
FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"


class FactorSource(PackedSource):
    """Images of known factors, for measures of disentanglement.

    ``factor_names`` are the factors in order, ``factor_sizes`` how many values each has.

    Args:
        packed: the images of the whole grid, ``[737280, 512]``.
        rows: places in the grid of the examples.
        split: ``train``, ``validation`` or ``test``.
        details: for the record.
    """

    factor_names: Sequence[str] = tuple(FACTORS)
    factor_sizes: Sequence[int] = tuple(FACTORS.values())

    def __init__(self, packed: RowFile, rows: NDArray[np.int64], *, split: str, details: dict[str, Any]) -> None:
        super().__init__(packed, rows, (1, SIDE, SIDE), name="dsprites", split=split, details=details)

    @cached_property
    def factors(self) -> Tensor:
        """Index of each factor's value for each example, int64, ``[N, 6]``."""
        return torch.from_numpy(grid_factors(self._rows))


def load_dsprites(
    split: str,
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    rendering: Rendering = "auto",
) -> FactorSource:
    """Load dSprites, from the published file or drawn again.

    One fixed permutation of the grid (seed 0) gives 10,000 images to validation, the next 10,000 to test and the rest,
    717,280, to train, in the permutation's order: the first so many of a split are a fair sample of the grid. Papers
    train on all 737,280. The images are put into the cache once, as packed bits (377 MB), and read from there a batch
    at a time. The file is read as a stream (:func:`~multirate.data.dsprites_file.read_packed`); drawing the grid again
    (:func:`~multirate.data.dsprites_render.render_all`) takes seconds.

    Args:
        split: ``train``, ``validation`` or ``test``.
        data_dir: a folder to look for the published file in.
        download: whether it may be downloaded, if it is asked for by ``rendering="canonical"``.
        rendering: ``canonical`` for the published file; ``procedural`` for the images drawn again, which equal all 320
            that are published in the animation beside the data; ``auto`` for the file if it is on disk, else drawn
            again. ``details`` say which.

    Returns:
        Images ``[1, 64, 64]``, with ``factors``, ``factor_names`` and ``factor_sizes``.

    Raises:
        UsageError: if the rendering is unknown.
        DataError: if the file is missing, corrupt or of another structure, or the cache cannot be written.
    """
    if rendering not in get_args(Rendering):
        raise UsageError(f"unknown rendering {rendering!r}; choose one of {', '.join(get_args(Rendering))}")
    rows = split_rows(split)
    file = DATA_SETS["dsprites"].file(FILE)
    path = find(file, "dsprites", data_dir) if rendering == "auto" else None
    if rendering == "canonical":
        path = locate(file, "dsprites", data_dir, download=download)
    packed, details = _drawn() if path is None else _published(path)
    details["split_seed"] = SPLIT_SEED
    return FactorSource(packed, rows, split=split, details=details)


def split_rows(split: str) -> NDArray[np.int64]:
    """Return the places in the grid of a split's images, in the order of the fixed permutation.

    Args:
        split: ``train``, ``validation`` or ``test``.
    """
    sizes = DATA_SETS["dsprites"].examples
    ends = np.cumsum([sizes["validation"], sizes["test"]])
    parts = np.split(permutation(COUNT, SPLIT_SEED), ends)
    return dict(zip(("validation", "test", "train"), parts, strict=True))[split]


def _drawn() -> tuple[RowFile, dict[str, Any]]:
    key = {"rendering": "procedural", "version": VERSION}
    packed, digest, _ = prepared_rows("dsprites", key, (COUNT, SIDE * SIDE // 8), render_all)
    return packed, {"rendering": f"procedural, version {VERSION}", "images": digest}


def _published(path: Path) -> tuple[RowFile, dict[str, Any]]:
    checksum = sha256_of(path)
    key = {"rendering": "canonical", "file": checksum}
    packed, digest, _ = prepared_rows("dsprites", key, (COUNT, SIDE * SIDE // 8), lambda: read_packed(path, COUNT))
    return packed, {"rendering": "canonical", "files": {path.name: checksum}, "images": digest}
