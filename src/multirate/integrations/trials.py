"""Inputs at which an exported part is compared with the part, and by how much the two differ."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multirate.errors import DataError
from multirate.inference import inference
from multirate.integrations.parts import Part
from multirate.wrapper import MultiRate

Array: TypeAlias = NDArray[Any]

TOLERANCE = 1e-5
_BATCHES = (1, 2, 5)


def largest_difference(
    part: Part, path: Path, run: Callable[[Mapping[str, Tensor]], Sequence[Array]], tolerance: float = TOLERANCE
) -> float:
    r"""Compare what a file computes with the part that it was written from.

    Batches of 1, 2 and 5 examples, each at both ends of the range, in the middle, and with a beta of its own for each
    example; a beta outside the range must come out as NaN. The difference of an output is
    :math:`\max |o - p| / \max(1, \max |p|)`, p being PyTorch's.

    Args:
        part: the part.
        path: of the file, for errors.
        run: the file's outputs for inputs by name.
        tolerance: largest difference that passes.

    Returns:
        The largest difference of any output.

    Raises:
        DataError: if an output differs by more than ``tolerance``.
    """
    largest = 0.0
    for inputs in trials(part):
        with inference(part.module):
            expected = [output.numpy(force=True) for output in part.module(*inputs.values())]
        for name, ours, theirs in zip(part.outputs, expected, run(inputs), strict=True):
            difference = relative_difference(ours, theirs)
            if not difference <= tolerance:
                beta = f" at beta {inputs['beta'].tolist()}" if "beta" in inputs else ""
                raise DataError(
                    f"{path} gives another {name} than PyTorch{beta}: off by {difference:.3g}, where {tolerance:g} is "
                    "allowed; if that is near enough, leave the check out (check=False, --no-check)"
                )
            largest = max(largest, difference)
    return largest


def trials(part: Part) -> Iterator[dict[str, Tensor]]:
    """Yield inputs of every batch size, at every choice of beta.

    Args:
        part: whose example inputs are used, from the start again where there are not enough rows.
    """
    for rows in _BATCHES:
        sized = {name: x if name == "beta" else _rows(x, rows) for name, x in part.inputs.items()}
        if "beta" not in sized:
            yield sized
        else:
            yield from ({**sized, "beta": beta} for beta in _betas(part, rows))


def relative_difference(ours: Array, theirs: Array) -> float:
    """Return the largest difference over the largest value, or over 1 if that is smaller; infinite for other NaNs."""
    if ours.shape != theirs.shape or (np.isnan(ours) != np.isnan(theirs)).any():
        return float("inf")
    numbers = ~np.isnan(ours)
    if not numbers.any():
        return 0.0
    return float(np.abs(ours - theirs)[numbers].max() / max(1.0, np.abs(ours)[numbers].max()))


def _rows(x: Tensor, rows: int) -> Tensor:
    return x[torch.arange(rows, device=x.device) % x.shape[0]]


def _betas(part: Part, rows: int) -> list[Tensor]:
    model, like = part.module.model, part.inputs["beta"]
    assert isinstance(model, MultiRate)
    span = model.beta_range
    most, middle = max(span.high, span.reach), (span.low * span.high) ** 0.5
    count = rows if "beta" in part.dynamic else 1
    chosen = [like.new_full((count,), beta) for beta in (span.low, middle, most, 2 * most)]
    return [*chosen, span.grid(count).to(like)] if count > 1 else chosen
