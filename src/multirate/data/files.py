"""A user's own files: arrays in .npz, .npy, .safetensors or .pt, and folders of images."""

import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from multirate.data.download import sha256_of
from multirate.data.source import NUMERIC_KINDS, Likelihood, TensorSource, tensor_of
from multirate.data.splits import SPLIT_SEED, choose, named_splits
from multirate.errors import DataError, UsageError

ARRAY_SUFFIXES = (".npz", ".npy", ".safetensors", ".pt", ".pth")

_CHANNELS = (1, 3, 4)
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    SafetensorError,
)


def load_path(
    path: Path,
    split: str,
    *,
    key: str | None = None,
    scale: float | None = None,
    likelihood: Likelihood | None = None,
    size: int | None = None,
    grayscale: bool | None = None,
) -> TensorSource:
    """Load one split of a file of arrays or a folder of images.

    A file holds arrays ``train``, ``validation`` and ``test``, or one array that is cut into splits: the one named
    ``key``, else ``x``, else the only one. A folder has subfolders of those names, or is cut
    (:func:`~multirate.data.splits.choose`). Images get the shape ``[C, H, W]``: ``[N, H, W]`` gains a channel, channels
    that come last are moved to the front.

    Args:
        path: the file or folder.
        split: ``train``, ``validation`` or ``test``.
        key: name of the array to use.
        scale: every value is divided by it; by default bytes by 255, unless they are all 0 or 1, and nothing else.
        likelihood: by default ``bernoulli`` if every value is 0 or 1, else ``gaussian``.
        size: for folders: cut the centre square out of every image and resize it to this many pixels a side.
        grayscale: for folders: read one channel (true) or three (false); by default three unless all images are gray.

    Returns:
        The examples, with the file's checksum in ``details``.

    Raises:
        DataError: if the file cannot be read, the key is missing or ambiguous, or the values are no data.
        UsageError: if the kind of file is unknown, or an option does not apply to it.
    """
    if key is not None and not isinstance(key, str):
        raise UsageError(f"key is the name of an array; got {key!r}")
    if path.is_dir():
        if key is not None:
            raise UsageError(f"key={key!r} is for files of arrays; {path} is a folder of images")
        from multirate.data.images import read_folder

        values, details = read_folder(path, split, size=size, grayscale=grayscale)
    else:
        if size is not None or grayscale is not None:
            raise UsageError(f"size and grayscale are for folders of images; {path} is a file of arrays")
        values, details = _read_file(path, split, key)
    return TensorSource(values, name=path.stem, split=split, likelihood=likelihood, scale=scale, details=details)


def _read_file(path: Path, split: str, key: str | None) -> tuple[Tensor, dict[str, Any]]:
    arrays = read_arrays(path)
    parts: Mapping[str, Tensor] = {} if key is not None else named_splits(arrays)
    used = {part: part for part in parts}
    if not parts:
        used = {"train": _only(arrays, key, path)}
        parts = {"train": arrays[used["train"]]}
    for part, values in parts.items():
        if values.ndim < 2:
            raise DataError(f"{path}: array {used[part]!r} has shape {list(values.shape)}; data must be [N, ...]")
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
        raise UsageError(f"cannot read {path}: give one of {', '.join(ARRAY_SUFFIXES)} or a folder of images")
    if not path.is_file():
        raise DataError(f"no file {path}; check the path")
    try:
        arrays = readers[suffix](path)
    except _UNREADABLE as error:
        raise DataError(
            f"{path} is truncated, corrupt, or holds Python objects, which are never loaded; save arrays of numbers"
        ) from error
    if not arrays:
        raise DataError(
            f"{path} holds no arrays of numbers; save booleans, integers or floats, not text or Python objects"
        )
    return arrays


def _read_numpy(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _numeric({"x": loaded}, path)
        with loaded:
            return _numeric({name: _member(loaded, name) for name in loaded.files}, path)


def _member(archive: Mapping[str, Any], name: str) -> Any:
    try:
        return archive[name]
    except ValueError as error:
        if "Object arrays" in str(error):
            return None
        raise


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    return _numeric(load_file(path), path)


def _read_torch(path: Path) -> dict[str, Tensor]:
    if not zipfile.is_zipfile(path):
        raise ValueError("torch's format before version 1.6 is a bare pickle")
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    return _numeric(loaded if isinstance(loaded, dict) else {"x": loaded}, path)


def _numeric(values: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    arrays = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    for name, value in values.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in NUMERIC_KINDS:
            arrays[name] = tensor_of(value)
    return arrays


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


def _channels_first(values: Tensor) -> tuple[Tensor, str]:
    if values.ndim == 3:
        return values.unsqueeze(1), "channel added"
    if values.ndim == 4 and values.shape[3] in _CHANNELS and values.shape[1] not in _CHANNELS:
        return values.permute(0, 3, 1, 2), "channels moved to the front"
    return values, "as stored"
