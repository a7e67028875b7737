"""Examples in an array on disk, of which only a batch's rows are in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multirate.data.rows import RowFile
from multirate.data.source import NUMERIC_KINDS, Likelihood, Source, TensorSource, divisor, tensor_of
from multirate.errors import DataError, UsageError

MEMORY_LIMIT = 1024.0

Arrange: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]

_CHUNK = 1 << 22


def check_memory_limit(memory_limit: float) -> int:
    """Return a limit given in megabytes of a million bytes as bytes.

    Raises:
        UsageError: if it is no number of at least 0.
    """
    if isinstance(memory_limit, bool) or not isinstance(memory_limit, int | float) or not memory_limit >= 0:
        raise UsageError(f"memory_limit is a number of megabytes, 0 or more; got {memory_limit!r}")
    return int(min(memory_limit, 1e12) * 1e6)


@dataclass(frozen=True)
class Survey:
    """What is known of values before the first batch.

    Args:
        low: the lowest.
        high: the highest.
        two: of bytes, whether there are no others than these two; of other numbers, whether all are 0 or 1.
    """

    low: float
    high: float
    two: bool

    @classmethod
    def of(cls, values: NDArray[Any]) -> "Survey":
        """Survey an array in memory; it is not empty."""
        low, high = values.min(), values.max()
        ends = (low, high) if values.dtype == np.uint8 else (0, 1)
        return cls(float(low), float(high), bool(((values == ends[0]) | (values == ends[1])).all()))

    @classmethod
    def joined(cls, surveys: Sequence["Survey"]) -> "Survey":
        """Return the survey of several arrays together."""
        ends = {end for survey in surveys for end in (survey.low, survey.high)}
        return cls(min(ends), max(ends), len(ends) <= 2 and all(survey.two for survey in surveys))


def _as_stored(values: NDArray[Any]) -> NDArray[Any]:
    return values


class MappedSource(Source):
    """Examples in an array that stays on disk: a batch reads its rows.

    Values, scale and likelihood are those that a :class:`~multirate.data.source.TensorSource` of the same examples
    would have.

    Args:
        file: an array ``[N, ...]`` of booleans, integers or floats.
        rows: which of the N are the examples, in order; None for all.
        arrange: moves the axes of some examples to where they should be.
        name: of the data set.
        split: ``train``, ``validation`` or ``test``.
        likelihood: None for ``bernoulli`` if every scaled value is 0 or 1, else ``gaussian``.
        scale: every value is divided by it. None divides bytes by 255, unless they are all 0 or 1, and nothing else.
        labels: class of each example where there is one, int64, ``[N]``.
        details: for the record; scale and the way of storage are added.
        survey: of the examples, where it was made before; None to read through them once.

    Raises:
        DataError: if there are no examples, a value is not finite, the type is no number, or a Bernoulli likelihood is
            asked for values outside ``[0, 1]``.
        UsageError: if the scale is no positive number.
    """

    def __init__(
        self,
        file: RowFile,
        rows: NDArray[np.int64] | None = None,
        *,
        arrange: Arrange = _as_stored,
        name: str = "data",
        split: str = "train",
        likelihood: Likelihood | None = None,
        scale: float | None = None,
        labels: Tensor | None = None,
        details: Mapping[str, Any] | None = None,
        survey: Survey | None = None,
    ) -> None:
        where = str((details or {}).get("path", name))
        if file.dtype.kind not in NUMERIC_KINDS:
            raise DataError(f"{where}: an array of {file.dtype} is no data; save booleans, integers or floats")
        self._file = file
        self._arrange = arrange
        self._rows = np.arange(len(file)) if rows is None else rows
        if len(file.shape) < 2 or len(self._rows) == 0 or file.row_bytes == 0:
            shape = [len(self._rows), *file.shape[1:]]
            raise DataError(f"{where}: data must be [N, ...] with at least one number an example; got shape {shape}")
        if labels is not None and labels.shape != self._rows.shape:
            raise DataError(f"{where}: {len(self._rows):,} examples but labels of shape {list(labels.shape)}")
        survey = survey or self._survey(where)
        scale = divisor(scale, survey.high, is_bytes=file.dtype == np.uint8)
        low, high = survey.low / scale, survey.high / scale
        if likelihood is None:
            binary = survey.two and {low, high} <= {0, 1} and (file.dtype == np.uint8 or scale == 1)
            likelihood = "bernoulli" if binary else "gaussian"
        if likelihood == "bernoulli" and (low < 0 or high > 1):
            raise DataError(
                f"{where}: a bernoulli likelihood needs values in [0, 1]; got {low:g} to {high:g}; "
                "rescale them or use likelihood gaussian"
            )
        super().__init__(
            arrange(np.empty((0, *file.shape[1:]), dtype=file.dtype)).shape[1:],
            name=name,
            split=split,
            likelihood=likelihood,
            details={**(details or {}), "scale": scale, "storage": "mapped"},
        )
        self.labels = labels
        self.value_range = low, high
        self._scale = scale

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: Tensor) -> Tensor:
        """Return the examples at ``indices``, float32, ``[B, *shape]``."""
        values = self._arrange(self._file.read(self._rows[indices.numpy()]))
        with np.errstate(all="ignore"):
            batch = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        return batch if self._scale == 1 else batch.div_(self._scale)

    def _survey(self, where: str) -> Survey:
        step = max(1, _CHUNK // self._file.row_bytes)
        surveys = []
        for start in range(0, len(self._rows), step):
            values = self._file.read(self._rows[start : start + step])
            if values.dtype.kind == "f":
                with np.errstate(all="ignore"):
                    values = values.astype(np.float32)
                finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
                if not finite.all():
                    raise DataError(
                        f"{where}: there are examples that hold NaN, infinity or numbers too large for float32, the "
                        f"first at index {start + int(finite.argmin())}; remove or replace them"
                    )
            surveys.append(Survey.of(values))
        return Survey.joined(surveys)


def source_of(
    file: RowFile,
    rows: NDArray[np.int64] | None = None,
    *,
    memory_limit: float = MEMORY_LIMIT,
    arrange: Arrange = _as_stored,
    survey: Survey | None = None,
    **record: Any,
) -> Source:
    """Make a source of examples on disk: in memory where they fit, else mapped.

    Args:
        file: an array ``[N, ...]``.
        rows: which of the N are the examples; None for all.
        memory_limit: how large a split may be to be held in memory, in megabytes of a million bytes.
        arrange: moves the axes of some examples to where they should be.
        survey: of the examples, where it was made before.
        record: the remaining arguments of both kinds of source.

    Returns:
        A :class:`~multirate.data.source.TensorSource`, or a :class:`MappedSource`.
    """
    chosen = np.arange(len(file)) if rows is None else rows
    if len(chosen) * file.row_bytes > check_memory_limit(memory_limit) or file.row_bytes == 0:
        return MappedSource(file, chosen, arrange=arrange, survey=survey, **record)
    return TensorSource(tensor_of(arrange(file.read(chosen)), record["name"]), **record)
