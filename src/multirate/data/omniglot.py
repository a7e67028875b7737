"""Omniglot at 28x28: handwritten characters of 50 alphabets."""

import hashlib
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from multirate.data.binarize import Binarize, binarized, permutation
from multirate.data.catalog import DATA_SETS
from multirate.data.download import locate
from multirate.data.imagefiles import read_member
from multirate.data.source import TensorSource
from multirate.data.unpacking import ZIP_UNREADABLE
from multirate.errors import DataError
from multirate.reading import open_file

_SIDE = 105
_SMALL = 28
_BACKGROUND = 19_280
_SPLIT_SEED = 7
_SEEDS = {"images_background": 3, "images_evaluation": 4}
_PNG_LIMIT = 1 << 16
_CHUNK = 1000

# A pixel of 28x28 covers 105 / 28 = 15 / 4 old pixels a side: in quarters of a pixel every area is an integer.
_QUARTERS = 15
_LEVELS = _QUARTERS**2


def load_omniglot(
    split: str, *, data_dir: str | Path | None = None, download: bool = True, binarize: Binarize = "static"
) -> TensorSource:
    """Load Omniglot at 28x28, strokes 1 on 0.

    Train (17,280) and validation (2,000) are cut from the background set, images in order of their path, by one fixed
    permutation (seed 7); test is the evaluation set (13,180): its alphabets are not seen in training. The images are
    made from the published 105x105 drawings by exact area averaging (:func:`shrink`). The older 28x28 copy with 24,345
    and 8,070 images that some papers use is another selection: ELBOs on the two do not compare.

    Args:
        split: ``train``, ``validation`` or ``test``.
        data_dir: a folder to look for the zip files in.
        download: whether missing files may be downloaded.
        binarize: ``static`` draws every pixel once with probability of its gray value (seed 3 for the background set, 4
            for the evaluation set: :func:`~multirate.data.binarize.static_bits`); ``threshold`` is 1 where ink covers
            more than half of the pixel; ``none`` keeps gray values in ``[0, 1]``, with a Gaussian likelihood.

    Returns:
        Images ``[1, 28, 28]``.

    Raises:
        DataError: if a file is missing, corrupt or not Omniglot.
    """
    stem = "images_evaluation" if split == "test" else "images_background"
    entry = DATA_SETS["omniglot"]
    path = locate(entry.file(f"{stem}.zip"), "omniglot", data_dir, download=download)
    count = entry.examples["test"] if split == "test" else _BACKGROUND
    ink, content = read_drawings(path, stem, count)
    images, details = binarized(shrink(ink), binarize, levels=_LEVELS, seed=_SEEDS[stem])
    if split != "test":
        order = permutation(count, _SPLIT_SEED)
        images = images[
            np.sort(order[: entry.examples["train"]] if split == "train" else order[entry.examples["train"] :])
        ]
        details["split_seed"] = _SPLIT_SEED
    details.update(
        {"resize": "105 to 28, area", "files": {path.name: content}, "checksum_of": "drawings in order of path"}
    )
    return TensorSource(
        torch.from_numpy(images).unsqueeze(1),
        name="omniglot",
        split=split,
        scale=1 if binarize != "none" else _LEVELS,
        details=details,
    )


def read_drawings(path: Path, stem: str, count: int) -> tuple[NDArray[np.bool_], str]:
    """Read all drawings of a zip file, in memory: nothing is unpacked to disk, other members are passed over.

    Args:
        path: the zip file.
        stem: first folder in it, ``images_background`` or ``images_evaluation``.
        count: how many drawings it must have.

    Returns:
        Where there is ink, in order of the drawings' paths, ``[count, 105, 105]``, and the sha256 of those bits,
        packed.

    Raises:
        DataError: if the file is missing, no zip, corrupt, or holds another number or size of drawings.
    """
    wanted = re.compile(rf"{stem}/[^/]+/character\d+/\d+_\d+\.png")
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            members = sorted((m for m in archive.infolist() if wanted.fullmatch(m.filename)), key=lambda m: m.filename)
            if len(members) != count:
                raise DataError(f"{path} holds {len(members):,} drawings, not {count:,}; remove it and fetch it again")
            ink = np.empty((count, _SIDE, _SIDE), dtype=np.bool_)
            for i, member in enumerate(members):
                if member.file_size > _PNG_LIMIT:
                    raise DataError(
                        f"{path}: {member.filename} is too large for a drawing; remove the file and fetch it again"
                    )
                ink[i] = _drawing(read_member(archive, member), f"{path}: {member.filename}")
    except ZIP_UNREADABLE as error:
        raise DataError(f"{path} is missing, truncated or corrupt ({error}); remove it and fetch it again") from error
    return ink, hashlib.sha256(np.packbits(ink).tobytes()).hexdigest()


def shrink(ink: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Average ink over the area of each pixel of 28x28, exactly.

    Args:
        ink: ``[N, 105, 105]``.

    Returns:
        Covered area of each pixel in units of 1/225, ``[N, 28, 28]``: small integers, so the result is exact and the
        same on every machine.
    """
    edges = np.arange(_SMALL + 1) * _QUARTERS
    old = np.arange(_SIDE) * 4
    overlap = np.minimum(edges[1:, None], old + 4) - np.maximum(edges[:-1, None], old)
    weights = overlap.clip(min=0).astype(np.float32)
    gray = np.empty((len(ink), _SMALL, _SMALL), dtype=np.uint8)
    for start in range(0, len(ink), _CHUNK):
        part = slice(start, start + _CHUNK)
        # Every partial sum is an integer of at most 225: exact in float32, whatever the order of summation.
        gray[part] = weights @ ink[part].astype(np.float32) @ weights.T
    return gray


def _drawing(png: bytes, where: str) -> NDArray[np.bool_]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            if image.size != (_SIDE, _SIDE):
                raise DataError(
                    f"{where} is {image.size[0]}x{image.size[1]}, not {_SIDE}x{_SIDE}; fetch the file again"
                )
            pixels: NDArray[np.uint8] = np.asarray(image.convert("L"))
    except (
        *ZIP_UNREADABLE,
        UnidentifiedImageError,
        Image.DecompressionBombWarning,
        Image.DecompressionBombError,
        SyntaxError,
    ) as error:
        raise DataError(f"{where} is no readable PNG; remove the file and fetch it again") from error
    return pixels < 128
