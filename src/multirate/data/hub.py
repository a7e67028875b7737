"""Hugging Face data sets: images or text, by their id on the hub or from a folder on disk."""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from multirate.data.mapped import MEMORY_LIMIT
from multirate.data.source import Source
from multirate.data.splits import SPLIT_SEED, choose, named_splits
from multirate.data.text import TextSource, vocabulary_of
from multirate.errors import DataError, UsageError
from multirate.reading import read_file

if TYPE_CHECKING:
    from multirate.data.images import Look

_STRINGS = ("string", "large_string", "string_view")
_ROWS = 1000
# What the library raises on rows that are damaged.
_UNREADABLE = (OSError, ValueError, RuntimeError, TypeError, LookupError)


def load_hub(
    name: str,
    split: str,
    *,
    download: bool = True,
    config: str | None = None,
    revision: str | None = None,
    column: str | None = None,
    size: int | None = None,
    crop: int | None = None,
    grayscale: bool | None = None,
    memory_limit: float = MEMORY_LIMIT,
    max_words: int | None = None,
    vocabulary_size: int | None = None,
    min_count: int = 1,
    vocabulary: str | None = None,
) -> Source:
    """Load one split of a Hugging Face data set of images or of text; needs the extra ``hf``.

    The data are read by the package ``datasets``, which caches them: data sets that are code are refused by it, and
    nothing in the data is executed. Its parts ``train``, ``validation`` (or ``valid``, ``val``) and ``test`` are the
    splits; one that is missing is cut from ``train`` by a fixed permutation, and a part that is the only one is cut
    into three.

    Args:
        name: ``user/name`` on the hub, or the path of a folder of parquet files or images.
        split: ``train``, ``validation`` or ``test``.
        download: whether the hub may be asked; false for folders on disk alone.
        config: which of the data set's configurations.
        revision: branch, tag or commit on the hub; name a commit to have the same data for ever.
        column: name of the column; by default the only one of images, or without images the one called ``text`` or the
            only one of strings.
        size: of images: resize the centre square to this many pixels a side.
        crop: of images: side of the centre square that is cut out first.
        grayscale: of images: read one channel (true) or three (false); by default three unless all training images are
            gray.
        memory_limit: of images: up to this many megabytes are held in memory; more are decoded once into the cache.
        max_words: of text: longer documents are cut to so many words.
        vocabulary_size: of text: the most words that the vocabulary may have, four specials included.
        min_count: of text: words that come less often in the training split are unknown.
        vocabulary: of text: path of a saved vocabulary, in place of the training split's.

    Returns:
        Images ``[C, H, W]`` from 0 to 1, or documents.

    Raises:
        UsageError: if the package is missing, or an option does not go with the data.
        DataError: if the data cannot be had or read, have no such column, or more than one that could be meant.
    """
    parts = _parts(name, config, revision, download)
    rows = parts["train"]
    column, is_image = _column(rows.features, column, name)
    details: dict[str, Any] = {"hub": name, "column": column}
    details |= {key: value for key, value in (("config", config), ("revision", revision)) if value is not None}
    image_options: dict[str, Any] = {"size": size, "crop": crop, "grayscale": grayscale}
    text_options: dict[str, Any] = {
        "vocabulary_size": vocabulary_size,
        "min_count": min_count,
        "vocabulary": vocabulary,
    }
    chosen, indices = _choose(split, parts, name)
    if len(indices) != len(parts[chosen]):
        details["split_seed"] = SPLIT_SEED
    if is_image:
        _refuse({"max_words": max_words, **text_options, "min_count": min_count if min_count != 1 else None}, column)
        from multirate.data.images import Look

        return _images(parts, chosen, indices, column, split, Look(**image_options), memory_limit, details)
    _refuse(image_options | {"memory_limit": memory_limit if memory_limit != MEMORY_LIMIT else None}, column)
    training, train_indices = _choose("train", parts, name)
    words = vocabulary_of(_Texts(parts[training].select(train_indices), column, name), **text_options)
    texts = _Texts(parts[chosen].select(indices), column, name)
    details |= {"sha256": texts.checksum(), "checksum_of": "documents, each with a newline"}
    return TextSource.from_lines(texts, words, max_words=max_words, name=_short(name), split=split, details=details)


def _parts(name: str, config: str | None, revision: str | None, download: bool) -> dict[str, Any]:
    """Return the data set's parts by split; ``train`` is always among them."""
    if not name:
        raise UsageError("hf: needs the name of a data set or the path of a folder, such as hf:user/name")
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            f"hf:{name} needs the package datasets ({error}); install it: pip install 'multirate[hf]'"
        ) from error
    folder = Path(name).expanduser()
    local = folder.is_dir()
    if not local and (folder.is_absolute() or name.startswith((".", "~"))):
        raise DataError(f"hf:{name}: no folder {folder}; check the path")
    if not local and not download:
        raise UsageError(f"hf:{name} is on the hub; to read its copy in the cache alone, start with HF_HUB_OFFLINE=1")
    if local and revision is not None:
        raise UsageError(f"revision={revision} is for data on the hub; {folder} is a folder on disk")
    try:
        loaded = datasets.load_dataset(str(folder.resolve()) if local else name, config, revision=revision)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        reason = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0].rstrip(".")
        remedy = "the files" if local else "the name, config=... and revision=..., and the network"
        raise DataError(f"cannot load hf:{name}: {reason}; check {remedy}") from error
    parts = {str(part): rows for part, rows in loaded.items()}
    found = named_splits(parts) or ({"train": next(iter(parts.values()))} if len(parts) == 1 else {})
    if not found:
        raise DataError(f"hf:{name} has the parts {', '.join(parts)}, none of them train; choose another config=...")
    return found


def _choose(split: str, parts: Mapping[str, Any], name: str) -> tuple[str, NDArray[np.int64]]:
    sizes = {part: len(rows) for part, rows in parts.items()}
    if "test" in sizes or "validation" not in sizes:
        return choose(split, sizes, f"hf:{name}")
    if split == "validation":
        return split, np.arange(sizes[split])
    # Validation without test: the tenth that would be cut for validation is cut for test.
    wanted = {"train": "train", "test": "validation"}[split]
    return choose(wanted, {"train": sizes["train"], "test": 0}, f"hf:{name}")


def _column(features: Mapping[str, Any], column: str | None, name: str) -> tuple[str, bool]:
    """Return the column to use, and whether it holds images."""
    import datasets

    images = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
    strings = [key for key, kind in features.items() if getattr(kind, "dtype", None) in _STRINGS]
    if column is not None:
        if column not in images + strings:
            there = ", ".join(images + strings) or "none"
            raise DataError(f"hf:{name} has no column {column!r} of images or strings; those it has: {there}")
        return column, column in images
    candidates = images or (["text"] if "text" in strings else strings)
    if not candidates:
        raise DataError(f"hf:{name} has no column of images or strings; its columns are {', '.join(features)}")
    if len(candidates) > 1:
        kind = "images" if images else "strings"
        raise DataError(
            f"hf:{name} has several columns of {kind} ({', '.join(candidates)}); name one with column=NAME "
            "(--data-options column=NAME)"
        )
    return candidates[0], bool(images)


def _refuse(options: Mapping[str, Any], column: str) -> None:
    wrong = next((key for key, value in options.items() if value is not None), None)
    if wrong is not None:
        kind = "text" if wrong in ("max_words", "vocabulary_size", "min_count", "vocabulary") else "images"
        raise UsageError(
            f"{wrong}={options[wrong]} is for {kind}, and column {column!r} holds something else; leave it out"
        )


def _images(
    parts: Mapping[str, Any],
    chosen: str,
    indices: NDArray[np.int64],
    column: str,
    split: str,
    look: "Look",
    memory_limit: float,
    details: dict[str, Any],
) -> Source:
    import torch

    from multirate.data.images import Decoder, has_gray_mode
    from multirate.data.mapped import check_memory_limit, source_of
    from multirate.data.source import TensorSource

    limit = check_memory_limit(memory_limit)
    name = details["hub"]
    if len(indices) == 0:
        raise DataError(f"hf:{name} has no images for {split}; choose another config=...")
    train = _Images(parts["train"], column, name)

    def is_gray() -> bool:
        return all(has_gray_mode(train, number) for number in range(len(parts["train"])))

    files = train if chosen == "train" else _Images(parts[chosen], column, name)
    decoder = Decoder(files, indices.tolist(), look, is_gray)
    details |= {"checksum_of": "pixels of the images in order", **look.record()}
    record: dict[str, Any] = {"name": _short(name), "split": split}
    if decoder.bytes > limit:
        values, details["sha256"], survey = decoder.prepared(_short(name))
        return source_of(values, memory_limit=memory_limit, survey=survey, details=details, **record)
    pixels, details["sha256"] = decoder.decoded()
    return TensorSource(torch.from_numpy(pixels), details=details, **record)


def _short(name: str) -> str:
    return Path(name).name


class _Texts:
    """Documents of a column, fetched in blocks each time they are gone through; a missing one is empty."""

    def __init__(self, rows: Any, column: str, name: str) -> None:
        self._rows = rows.select_columns([column])
        self._column = column
        self._name = name

    def __iter__(self) -> Iterator[str]:
        try:
            for block in self._rows.iter(_ROWS):
                yield from (text or "" for text in block[self._column])
        except _UNREADABLE as error:
            raise DataError(
                f"cannot read column {self._column!r} of hf:{self._name}: {error}; get the data again"
            ) from error

    def checksum(self) -> str:
        digest = hashlib.sha256()
        for text in self:
            digest.update(f"{text}\n".encode())
        return digest.hexdigest()


class _Images:
    """Image files of a column (:class:`~multirate.data.imagefiles.ImageFiles`)."""

    def __init__(self, rows: Any, column: str, name: str) -> None:
        import datasets

        self._rows = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        self._column = column
        self._name = name

    def where(self, number: int) -> str:
        return f"hf:{self._name}, row {number} of column {self._column!r}"

    def stamp(self, number: int) -> tuple[str | int, ...]:
        with self.open(number) as stream:
            content = stream.read()
        return len(content), zlib.crc32(content)

    def stored(self, number: int) -> int:
        with self.open(number) as stream:
            return len(stream.read())

    def open(self, number: int) -> BinaryIO:
        try:
            value = self._rows[number][self._column]
        except _UNREADABLE as error:
            raise DataError(f"cannot read {self.where(number)}: {error}; get the data again") from error
        if value is None:
            raise DataError(f"{self.where(number)} holds no image; remove the row, or choose another column")
        if value["bytes"] is not None:
            return BytesIO(value["bytes"])
        try:
            return BytesIO(read_file(value["path"]))
        except OSError as error:
            raise DataError(f"cannot read {self.where(number)}: {value['path']}: {error.strerror or error}") from error
