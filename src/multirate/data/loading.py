"""One way in: a data set by its name, or a user's files by their path."""

import importlib
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from multirate.data.download import search_folders
from multirate.data.names import DATA_NAMES
from multirate.data.source import Source
from multirate.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")
HUB_PREFIX = "hf:"

_LOADERS = {
    "digits": "digits:load_digits",
    "mnist": "mnist:load_mnist",
    "mnist-larochelle": "mnist:load_larochelle",
    "fashion-mnist": "mnist:load_fashion",
    "omniglot": "omniglot:load_omniglot",
    "cifar10": "cifar10:load_cifar10",
    "svhn": "svhn:load_svhn",
    "celeba": "celeba:load_celeba",
    "dsprites": "dsprites:load_dsprites",
    "ptb": "ptb:load_ptb",
    "yahoo": "yahoo:load_yahoo",
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
            folder or ``.zip`` archive of images (:func:`~multirate.data.files.load_path`); or of a ``.txt`` or
            ``.txt.gz`` file of one document a line, or a folder of such (:func:`~multirate.data.text.load_text`); or
            ``hf:user/name`` for a Hugging Face data set (:func:`~multirate.data.hub.load_hub`). A relative path that is
            not there is looked up in the folders of canonical files.
        split: ``train``, ``validation`` or ``test``; named and fixed for every data set.
        data_dir: folder of the canonical files, tried before the folder in ``MULTIRATE_DATA`` and the cache.
        download: whether missing files may be downloaded.
        options: of the loader: ``binarize`` for gray images; ``key``, ``size``, ``crop``, ``grayscale``, ``scale``,
            ``likelihood``, ``memory_limit`` for a user's own files; ``max_words``, ``vocabulary_size``, ``min_count``,
            ``vocabulary`` for text.

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
    if str(name).startswith(HUB_PREFIX):
        hub = partial(_function("hub", "load_hub"), str(name).removeprefix(HUB_PREFIX))
        return _call(hub, str(name), split, {"download": download}, options)
    path = _below(Path(name).expanduser(), data_dir)
    if path.exists() or path.suffix or len(path.parts) > 1:
        if not path.exists():
            places = "" if path.is_absolute() else f", here or in {', '.join(map(str, search_folders(data_dir)))}"
            raise DataError(f"no file or folder {path}{places}; check the path")
        if _is_text(path):
            return _call(_function("text", "load_text"), path, split, {}, options)
        return _call(_function("files", "load_path"), path, split, {}, options)
    near = get_close_matches(str(name), DATA_NAMES, n=1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else f"choose one of {', '.join(DATA_NAMES)}, or give the path of a file or folder"
    )
    raise UsageError(f"unknown data set {str(name)!r}; {hint}")


def _below(path: Path, data_dir: str | Path | None) -> Path:
    """Return a relative path as it is if it is there, else where it is in the folders of data; itself if nowhere."""
    if path.is_absolute() or path.exists() or not (path.suffix or len(path.parts) > 1):
        return path
    return next((found for folder in search_folders(data_dir) if (found := folder / path).exists()), path)


def _is_text(path: Path) -> bool:
    from multirate.data.text import is_text

    return is_text(path)


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
