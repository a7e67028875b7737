"""Checkpoints that resume a run bit for bit: tensors and plain values only, written whole or not at all."""

import io
from pathlib import Path
from typing import Any

import torch

from multirate.errors import TrainingError
from multirate.files import remove, write_atomic
from multirate.torchfile import read_torch

KEPT = 2

_REMEDY = "delete it to resume from the one before, or train anew in another folder"


def save(folder: Path, step: int, state: dict[str, Any], every: int = 1) -> Path:
    """Write a checkpoint and remove all but the newest :data:`KEPT`.

    One between the regular steps, of a run that was stopped, goes as soon as there is a newer one: which files a run
    leaves does not depend on where it was stopped.

    Args:
        folder: made if it is missing.
        step: steps done.
        state: nested dicts and lists of tensors, numbers and strings.
        every: steps between regular checkpoints.

    Returns:
        The file.

    Raises:
        DataError: if the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = write_atomic(folder / f"step-{step:09d}.pt", buffer.getvalue())
    others = [file for file in _files(folder) if file != path]
    regular = [file for file in others if int(file.stem.removeprefix("step-")) % every == 0]
    for old in set(others) - set(regular[1 - KEPT :]):
        remove(old)
    return path


def newest_first(folder: Path) -> list[Path]:
    """Return the checkpoints of ``folder``, the newest first."""
    return _files(folder)[::-1]


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, refusing anything but tensors and plain values.

    Args:
        path: the file.

    Returns:
        What :func:`save` was given.

    Raises:
        TrainingError: if the file is not a whole checkpoint.
    """
    try:
        state: Any = read_torch(path)
    except (OSError, ValueError) as error:
        raise TrainingError(f"cannot read checkpoint {path}, it is damaged; {_REMEDY}") from error
    if not isinstance(state, dict) or "step" not in state:
        raise TrainingError(f"cannot read checkpoint {path}, it holds something else; {_REMEDY}")
    return state


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("step-*.pt") if file.stem.removeprefix("step-").isdigit())
