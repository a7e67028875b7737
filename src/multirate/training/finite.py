"""Where a number of a run stopped being finite: in the data, a loss, a gradient, a weight, what the optimizer keeps."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from multirate.data.source import Source
from multirate.errors import DataError

# Data this large make squared errors that swamp every rate.
LARGE_VALUE = 20.0
REMEDY = "lower learning_rate or set clip_norm"


class Watch:
    """The numbers that decide a run's next step, and whether all of them are finite.

    Args:
        model: plain or multi-rate. Buffers that are not finite now, such as the mask of an attention, may stay so.
        optimizer: of the run.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model = model
        self._optimizer = optimizer
        self._buffers = [name for name, value in model.named_buffers() if first_not_finite([(name, value)]) is None]

    def not_finite(self) -> str | None:
        """Return in words which number is not finite, or None. It takes one reading of all of them."""
        return first_not_finite(self._named())

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        yield from self._model.named_parameters()
        buffers = dict(self._model.named_buffers())
        yield from ((name, buffers[name]) for name in self._buffers if name in buffers)
        for name, parameter in self._model.named_parameters():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    yield f"the optimizer's {key} of {name}", value


def first_not_finite(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """Return the name of the first tensor that holds a number which is not finite, or None.

    Args:
        named: names and tensors; those without fractions, or without numbers, are finite.
    """
    tensors = [(name, value.detach()) for name, value in named if value.is_floating_point() and value.numel()]
    if not tensors:
        return None
    # A sum is not finite if one of its terms is not; that a sum of finite terms overflows is settled below.
    sums = torch.stack([value.sum().float().to(tensors[0][1].device) for _, value in tensors])
    if bool(sums.isfinite().all()):
        return None
    return next((name for name, value in tensors if not bool(value.isfinite().all())), None)


def first_row_not_finite(values: Tensor) -> int | None:
    """Return the index of the first row with a number that is not finite, or None.

    Args:
        values: ``[N, ...]``.
    """
    finite = values.isfinite().flatten(1).all(1)
    return None if bool(finite.all()) else int(finite.int().argmin())


def check_finite(x: Tensor, source: Source, places: Tensor) -> None:
    """Raise if an example is not finite, naming the first.

    Args:
        x: of the data, ``[B, ...]``.
        source: of them.
        places: of the examples in it, ``[B]``.

    Raises:
        DataError: if one is not.
    """
    bad = first_row_not_finite(x) if x.is_floating_point() and x.ndim > 1 else None
    if bad is not None:
        raise DataError(
            f"example {int(places[bad])} of {source.name}'s {source.split} data is not finite; remove or replace it"
        )


def about_batch(x: Tensor, places: Sequence[int]) -> tuple[str, str]:
    """Say what is in a batch, and what to do about it.

    Args:
        x: of the data, ``[B, ...]``.
        places: of its examples in the data.

    Returns:
        For a sentence, such as ``on a batch with values from 0 to 1``; and a remedy.
    """
    bad = first_row_not_finite(x) if x.is_floating_point() and x.ndim > 1 else None
    if bad is not None:
        return (
            f"on a batch in which example {places[bad]} of the data is not finite",
            "remove or replace such values",
        )
    low, high = (float(end) for end in torch.aminmax(x))
    large = x.is_floating_point() and max(-low, high) > LARGE_VALUE
    remedy = f"divide the data by a scale=..., {REMEDY}" if large else REMEDY
    return f"on a batch with values from {low:g} to {high:g}", remedy
