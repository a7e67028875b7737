"""CelebA: aligned and cropped faces, from the published archive and its partition."""

import re
from pathlib import Path
from typing import Any

from multirate.data.catalog import DATA_SETS
from multirate.data.download import locate
from multirate.data.imagefiles import zip_files
from multirate.data.images import Decoder, Look
from multirate.data.mapped import MEMORY_LIMIT, check_memory_limit, source_of
from multirate.data.source import Source
from multirate.errors import DataError, UsageError
from multirate.reading import read_file

_PARTS = {"train": "0", "validation": "1", "test": "2"}
_IMAGE_SIZE = (178, 218)
_LISTING_BYTES = 1 << 24


def load_celeba(
    split: str,
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    crop: int = 148,
    size: int = 64,
    memory_limit: float = MEMORY_LIMIT,
) -> Source:
    """Load CelebA in its published partition: 162,770 for train, 19,867 for validation, 19,962 for test.

    Of every aligned image, 178x218, the centre square of 148 pixels is cut out and resized to 64 (bicubic,
    antialiased). The images are decoded once, into the cache. The files have no plain address: a person fetches them.

    Args:
        split: ``train``, ``validation`` or ``test``.
        data_dir: a folder to look for ``img_align_celeba.zip`` and ``list_eval_partition.txt`` in.
        download: not used.
        crop: side of the centre square, in pixels of the original.
        size: side that it is resized to.
        memory_limit: a split of up to this many megabytes is held in memory, a larger one is mapped.

    Returns:
        Images ``[3, size, size]`` in ``[0, 1]``, bytes until they are asked for, with a Gaussian likelihood.

    Raises:
        DataError: if a file is missing, corrupt or not that of CelebA.
        UsageError: if an option is no positive integer.
    """
    if crop is None or size is None:
        raise UsageError(f"celeba needs a crop and a size in pixels; got {crop} and {size}")
    look = Look(crop, size, grayscale=False)
    check_memory_limit(memory_limit)
    entry = DATA_SETS["celeba"]
    archive, listing = (locate(file, "celeba", data_dir, download=download) for file in entry.files)
    names = read_partition(listing, entry.examples)[split]
    with zip_files(archive) as files:
        numbers = files.numbers(f"img_align_celeba/{name}" for name in names)
        decoder = Decoder(files, numbers, look, required=_IMAGE_SIZE)
        file, digest, survey = decoder.prepared(f"celeba-{split}")
    details: dict[str, Any] = {"sha256": digest, "checksum_of": "images in order of partition", **look.record()}
    return source_of(
        file,
        name="celeba",
        split=split,
        likelihood="gaussian",
        scale=255,
        memory_limit=memory_limit,
        survey=survey,
        details=details,
    )


def read_partition(path: Path, examples: dict[str, int]) -> dict[str, list[str]]:
    """Read which image belongs to which split: a line each, ``000001.jpg 0``, where 0 is train, 1 validation, 2 test.

    Args:
        path: the file.
        examples: how many images each split must have.

    Returns:
        Names of images by split, in order of the file.

    Raises:
        DataError: if the file is missing, of another structure, or has other numbers of images.
    """
    again = "remove it and get it again"
    try:
        lines = read_file(path, _LISTING_BYTES).decode("ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is missing or no text ({error}); {again}") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        found = re.fullmatch(r"(\d{6}\.jpg)\s+([012])\s*", line)
        if found is not None:
            pairs.append(found.groups())
        elif line.strip():
            raise DataError(f"{path}, line {number}: {line[:40]!r} is not like '000001.jpg 0'; {again}")
    splits = {split: [name for name, part in pairs if part == code] for split, code in _PARTS.items()}
    counts = {split: len(names) for split, names in splits.items()}
    if counts != examples or len({name for name, _ in pairs}) != len(pairs):
        raise DataError(f"{path} has {counts} images, each once: {examples} was expected; {again}")
    return splits
