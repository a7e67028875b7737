"""A user's own files: arrays in .npz, .npy, .safetensors or .pt, and folders or zip archives of images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from multirate.data import npy
from multirate.data.download import sha256_of
from multirate.data.mapped import MEMORY_LIMIT, check_memory_limit, source_of
from multirate.data.rows import RowFile
from multirate.data.source import Likelihood, Source, TensorSource, tensor_of
from multirate.data.splits import SPLIT_SEED, choose, named_splits
from multirate.data.unpacking import ZIP_UNREADABLE
from multirate.errors import DataError, UsageError
from multirate.torchfile import read_torch

ARRAY_SUFFIXES = (".npz", ".npy", ".safetensors", ".pt", ".pth")

_CHANNELS = (1, 3, 4)
_WANTED = "data must be [N, ...] with at least one number an example"

Values = TypeVar("Values", Tensor, NDArray[Any])

_UNREADABLE = (*ZIP_UNREADABLE, SafetensorError, AttributeError, TypeError)


def load_path(
    path: Path,
    split: str,
    *,
    key: str | None = None,
    scale: float | None = None,
    likelihood: Likelihood | None = None,
    size: int | None = None,
    crop: int | None = None,
    grayscale: bool | None = None,
    memory_limit: float = MEMORY_LIMIT,
) -> Source:
    """Load one split of a file of arrays, or of a folder or zip archive of images.

    A file holds arrays ``train``, ``validation`` and ``test``, or one array that is cut into splits: the one named
    ``key``, else ``x``, else the only one. A folder has subfolders of those names, or is cut
    (:func:`~multirate.data.splits.choose`). Images get the shape ``[C, H, W]``: ``[N, H, W]`` gains a channel, channels
    that come last are moved to the front.

    What is larger than ``memory_limit`` stays on disk, and only a batch's rows are read
    (:class:`~multirate.data.mapped.MappedSource`): a ``.npy`` file as it is, images after they were decoded once into
    the cache. The other files of arrays are always held in memory.

    Args:
        path: the file or folder.
        split: ``train``, ``validation`` or ``test``.
        key: name of the array to use.
        scale: every value is divided by it; by default bytes by 255, unless they are all 0 or 1, and nothing else.
        likelihood: by default ``bernoulli`` if every value is 0 or 1, else ``gaussian``.
        size: for images: resize the centre square to this many pixels a side.
        crop: for images: side of the centre square that is cut out first; by default the largest if ``size`` is given.
        grayscale: for images: read one channel (true) or three (false); by default three unless all images are gray.
        memory_limit: up to this many megabytes (of a million bytes) of a split are held in memory.

    Returns:
        The examples, with the file's checksum in ``details``.

    Raises:
        DataError: if the file cannot be read, the key is missing or ambiguous, or the values are no data.
        UsageError: if the kind of file is unknown, or an option does not apply to it.
    """
    if key is not None and not isinstance(key, str):
        raise UsageError(f"key is the name of an array; got {key!r}")
    if likelihood == "categorical":
        raise UsageError(f"likelihood categorical is for text, and {path} is none; choose bernoulli or gaussian")
    limit = check_memory_limit(memory_limit)
    if path.is_dir() or path.suffix.lower() == ".zip":
        if key is not None:
            raise UsageError(f"key={key!r} is for files of arrays; {path} holds images")
        from multirate.data.images import Look, load_images

        look = Look(crop, size, grayscale)
        return load_images(path, split, look, memory_limit=memory_limit, likelihood=likelihood, scale=scale)
    if size is not None or crop is not None or grayscale is not None:
        raise UsageError(f"size, crop and grayscale are for folders of images; {path} is a file of arrays")
    record: dict[str, Any] = {"name": path.stem, "split": split, "likelihood": likelihood, "scale": scale}
    if path.suffix.lower() == ".npy" and path.is_file() and path.stat().st_size > limit:
        return _map_file(path, key, memory_limit, record)
    values, details = _read_file(path, split, key)
    return TensorSource(values, details=details, **record)


def _map_file(path: Path, key: str | None, memory_limit: float, record: dict[str, Any]) -> Source:
    if key not in (None, "x"):
        raise DataError(f"{path} has no array {key!r} of numbers; it has x")
    try:
        file = RowFile(path)
    except _UNREADABLE as error:
        raise DataError(_unreadable(path)) from error
    if len(file.shape) < 2 or file.row_bytes == 0:
        raise DataError(f"{path}: array 'x' has shape {list(file.shape)}; {_WANTED}")
    if not file.is_by_rows:
        raise DataError(
            f"{path} is stored column by column (Fortran order), so that each example is spread over the whole file; "
            "save it with numpy.ascontiguousarray, or raise memory_limit above its size"
        )
    _, indices = choose(record["split"], {"train": len(file)}, str(path))
    layout = _channels_first(np.empty((0, *file.shape[1:])))[1]
    details = {"path": str(path), "sha256": sha256_of(path), "array": "x", "layout": layout, "split_seed": SPLIT_SEED}
    return source_of(file, indices, memory_limit=memory_limit, arrange=_arranged, details=details, **record)


def _arranged(values: NDArray[Any]) -> NDArray[Any]:
    return _channels_first(values)[0]


def _read_file(path: Path, split: str, key: str | None) -> tuple[Tensor, dict[str, Any]]:
    arrays = read_arrays(path)
    parts: Mapping[str, Tensor] = {} if key is not None else named_splits(arrays)
    used = {part: part for part in parts}
    if not parts:
        used = {"train": _only(arrays, key, path)}
        parts = {"train": arrays[used["train"]]}
    for part, values in parts.items():
        if values.ndim < 2 or 0 in values.shape[1:]:
            raise DataError(f"{path}: array {used[part]!r} has shape {list(values.shape)}; {_WANTED}")
    chosen, indices = choose(split, {part: len(values) for part, values in parts.items()}, str(path))
    values, layout = _channels_first(parts[chosen])
    details: dict[str, Any] = {"path": str(path), "sha256": sha256_of(path), "array": used[chosen], "layout": layout}
    if len(indices) != len(values):
        details["split_seed"] = SPLIT_SEED
        values = values[torch.from_numpy(indices)]
    return values, details


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Read every numeric array of a file; nothing in the file is ever executed.

    Args:
        path: ``.npz``, ``.npy``, ``.safetensors``, or a ``.pt`` that holds a tensor or a dictionary of tensors.

    Returns:
        Tensors by name; a lone array is called ``x``. Arrays that are no numbers are left out.

    Raises:
        DataError: if the file is missing, corrupt, or holds no arrays of numbers.
        UsageError: if the kind of file is unknown.
    """
    readers = {
        ".npz": _read_numpy,
        ".npy": _read_numpy,
        ".safetensors": _read_safetensors,
        ".pt": _read_torch,
        ".pth": _read_torch,
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise UsageError(f"cannot read {path}: give one of {', '.join(ARRAY_SUFFIXES)}, or a folder or .zip of images")
    if not path.is_file():
        raise DataError(f"no file {path}; check the path")
    try:
        arrays = readers[suffix](path)
    except _UNREADABLE as error:
        raise DataError(_unreadable(path)) from error
    if not arrays:
        raise DataError(
            f"{path} holds no arrays of numbers; save booleans, integers or floats, not text or Python objects"
        )
    return arrays


def _unreadable(path: Path) -> str:
    return f"{path} is truncated, corrupt, or holds Python objects, which are never loaded; save arrays of numbers"


def _read_numpy(path: Path) -> dict[str, Tensor]:
    return {name: tensor_of(array) for name, array in npy.read_arrays(path).items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    return dict(load_file(path))


def _read_torch(path: Path) -> dict[str, Tensor]:
    loaded = read_torch(path)
    values = loaded if isinstance(loaded, dict) else {"x": loaded}
    return {
        str(name): value
        for name, value in values.items()
        if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized
    }


def _only(arrays: Mapping[str, Tensor], key: str | None, path: Path) -> str:
    names = ", ".join(map(str, arrays))
    if key is not None:
        if key not in arrays:
            raise DataError(f"{path} has no array {key!r} of numbers; it has {names}")
        return key
    if "x" in arrays:
        return "x"
    if len(arrays) > 1:
        raise DataError(f"{path} holds several arrays ({names}); name one with key=NAME (--data-options key=NAME)")
    return next(iter(arrays))


def _channels_first(values: Values) -> tuple[Values, str]:
    if values.ndim == 3:
        return values[:, None], "channel added"
    if values.ndim == 4 and values.shape[3] in _CHANNELS and values.shape[1] not in _CHANNELS:
        return values.swapaxes(2, 3).swapaxes(1, 2), "channels moved to the front"
    return values, "as stored"
