"""One way in: a data set by its name, or a user's files by their path."""

import importlib
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from multirate.data.names import DATA_NAMES
from multirate.data.source import Source
from multirate.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")

_LOADERS = {
    "digits": "digits:load_digits",
    "mnist": "mnist:load_mnist",
    "mnist-larochelle": "mnist:load_larochelle",
    "fashion-mnist": "mnist:load_fashion",
    "omniglot": "omniglot:load_omniglot",
}


def load(
    name: str | Path,
    split: str = "train",
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    **options: Any,
) -> Source:
    """Load one split of a data set.

    Args:
        name: one of ``DATA_NAMES``; or the path of a ``.npz``, ``.npy``, ``.safetensors`` or ``.pt`` file or of a
            folder of images (:func:`~multirate.data.files.load_path`).
        split: ``train``, ``validation`` or ``test``; named and fixed for every data set.
        data_dir: folder of the canonical files, tried before the folder in ``MULTIRATE_DATA`` and the cache.
        download: whether missing files may be downloaded.
        options: of the loader: ``binarize`` for gray images; ``key``, ``size``, ``grayscale``, ``scale``,
            ``likelihood`` for a user's own files.

    Returns:
        The examples.

    Raises:
        UsageError: if the name, the split or an option is unknown.
        DataError: if a file is missing or not what it should be.
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    if str(name) in _LOADERS:
        module, function = _LOADERS[str(name)].split(":")
        return _call(
            _function(module, function), str(name), split, {"data_dir": data_dir, "download": download}, options
        )
    path = Path(name).expanduser()
    if path.exists() or path.suffix or len(path.parts) > 1:
        if not path.exists():
            raise DataError(f"no file or folder {path}; check the path")
        return _call(_function("files", "load_path"), path, split, {}, options)
    near = get_close_matches(str(name), DATA_NAMES, n=1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else f"choose one of {', '.join(DATA_NAMES)}, or give the path of a file or folder"
    )
    raise UsageError(f"unknown data set {str(name)!r}; {hint}")


def _function(module: str, function: str) -> Callable[..., Source]:
    loaded: Callable[..., Source] = getattr(importlib.import_module(f"multirate.data.{module}"), function)
    return loaded


def _call(
    loader: Callable[..., Source], name: str | Path, split: str, common: dict[str, Any], options: dict[str, Any]
) -> Source:
    known = [
        p.name
        for p in inspect.signature(loader).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name not in common
    ]
    unknown = [option for option in options if option not in known]
    if unknown:
        choice = f"choose from {', '.join(known)}" if known else "it has none"
        raise UsageError(f"unknown option {unknown[0]!r} for data {str(name)!r}; {choice}")
    first = (name, split) if isinstance(name, Path) else (split,)
    return loader(*first, **common, **options)
