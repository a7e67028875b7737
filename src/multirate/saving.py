"""A model on disk: tensors as safetensors, everything else as JSON; no pickle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from multirate.errors import DataError
from multirate.files import read_json, write_atomic, write_json
from multirate.reading import read_file, reason

SCHEMA = "multirate.model/1"
TENSORS = "model.safetensors"
DESCRIPTION = "model.json"

_NONE = type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    "class": (str,),
    "model": (str, _NONE),
    "options": (dict, _NONE),
    "multirate": (dict, _NONE),
    "extra": (dict,),
}


def save(model: nn.Module, folder: str | Path, extra: Mapping[str, Any] | None = None) -> Path:
    """Write a plain or a multi-rate model to ``folder/model.safetensors`` and ``folder/model.json``.

    A built-in network is recorded by name and options, and :func:`multirate.load` rebuilds it; any other is recorded by
    its class, and the user passes an instance when loading.

    Args:
        model: the model.
        folder: made if it is missing.
        extra: JSON-able facts to keep with it.

    Returns:
        The folder.

    Raises:
        DataError: if the folder cannot be written.
    """
    folder = Path(folder)
    describe = getattr(model, "_multirate_description", None)
    multirate = None if describe is None else describe()
    base = model if multirate is None else model.get_submodule("base")
    name, options = built_in(base)
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    description = {
        "schema": SCHEMA,
        "class": f"{type(base).__module__}.{type(base).__qualname__}",
        "model": name,
        "options": options,
        "multirate": multirate,
        "extra": dict(extra or {}),
    }
    write_atomic(folder / TENSORS, safetensors.torch.save(tensors))
    write_json(folder / DESCRIPTION, description)
    return folder


def built_in(base: nn.Module) -> tuple[str | None, dict[str, Any] | None]:
    """Return a built-in network's name and options, from which it can be built again; None twice for any other."""
    name = getattr(base, "name", None)
    if type(base).__module__.startswith("multirate.models.") and isinstance(name, str) and name:
        return name, getattr(base, "options", {})
    return None, None


def read_description(folder: str | Path) -> dict[str, Any]:
    """Read and check ``model.json``.

    Args:
        folder: what :func:`save` wrote.

    Returns:
        Its content.

    Raises:
        DataError: if the file is missing, not JSON, of another schema, or a part of it is missing or of another kind.
    """
    description = read_json(Path(folder) / DESCRIPTION, _remedy(Path(folder)))
    schema = description.get("schema") if isinstance(description, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{Path(folder) / DESCRIPTION} has schema {schema!r}, not {SCHEMA!r}; is this a saved model?")
    for name, kinds in _KINDS.items():
        if name not in description or not isinstance(description[name], kinds):
            raise DataError(
                f"{Path(folder) / DESCRIPTION} does not describe a model: it has no {name!r} of the right kind; "
                "save the model again"
            )
    return dict(description)


def read_tensors(folder: str | Path) -> dict[str, Tensor]:
    """Read ``model.safetensors``.

    Args:
        folder: what :func:`save` wrote.

    Returns:
        Name to tensor, on the CPU.

    Raises:
        DataError: if the file is missing or damaged.
    """
    path = Path(folder) / TENSORS
    try:
        return safetensors.torch.load(read_file(path))
    except FileNotFoundError as error:
        raise DataError(f"no file {path}; {_remedy(path.parent)}") from error
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read {path}: {reason(error)}; the file is damaged, save the model again") from error


def _remedy(folder: Path) -> str:
    """Say what to do about a folder where one of the two files is missing."""
    if (folder / "model" / DESCRIPTION).is_file():
        return f"{folder} is a run: load {folder / 'model'}"
    if folder.name == "model" and (folder.parent / "config.yaml").is_file():
        return f"the run in {folder.parent} is not finished: train with --resume (resume=True) to complete it"
    return "check the path, or save the model again"
