"""Examples by index: the one interface that training and evaluation ask of data."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from multirate.errors import DataError, UsageError

if TYPE_CHECKING:
    from multirate.data.vocabulary import Vocabulary

Likelihood: TypeAlias = Literal["bernoulli", "gaussian", "categorical"]

NUMERIC_KINDS = "buif"

_PROBES = 32

# Values that are looked at together.
_CHUNK = 1 << 22


class Source(ABC):
    """Examples of one split of one data set, fetched by index.

    Args:
        shape: shape of one example.
        name: of the data set, for records and figures.
        split: ``train``, ``validation`` or ``test``.
        likelihood: what suits the values, a suggestion to the model: ``bernoulli`` for 0 and 1, ``categorical`` for
            words, else ``gaussian``.
        details: what a record of the run should say of the data: binarization, checksums, crop; JSON values.

    ``value_range`` is the lowest and the highest value of a batch as far as it is known, else None; ``vocabulary`` that
    of text, else None.
    """

    vocabulary: "Vocabulary | None" = None

    def __init__(
        self,
        shape: Sequence[int],
        *,
        name: str,
        split: str,
        likelihood: Likelihood,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        if likelihood not in get_args(Likelihood):
            raise UsageError(f"unknown likelihood {likelihood!r}; choose one of {', '.join(get_args(Likelihood))}")
        self.name = name
        self.split = split
        self.shape = tuple(int(n) for n in shape)
        self.likelihood: Likelihood = likelihood
        self.details: dict[str, Any] = dict(details or {})
        self.value_range: tuple[float, float] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of examples."""

    @abstractmethod
    def batch(self, indices: Tensor) -> Tensor:
        """Return the examples at ``indices``.

        Args:
            indices: integers from 0 to ``len(source) - 1``, int64, ``[B]``.

        Returns:
            float32, ``[B, *shape]``, on the CPU; of text int64, ``[B, T]`` with T the longest of the batch.
        """

    def check_likelihood(self, likelihood: str) -> None:
        """Raise if a model with this likelihood cannot describe the values.

        Args:
            likelihood: of the model.

        Raises:
            UsageError: if it is ``bernoulli`` and values are known to lie outside ``[0, 1]``; or if one of model and
                data is ``categorical``, and the other is not.
        """
        if (likelihood == "categorical") != (self.likelihood == "categorical"):
            remedy = (
                "a text model, such as lstm" if self.likelihood == "categorical" else "a model of images or vectors"
            )
            raise UsageError(
                f"{self.name} has {self.likelihood} data, and the model a {likelihood} likelihood; choose {remedy}"
            )
        if likelihood != "bernoulli" or self.value_range is None:
            return
        low, high = self.value_range
        if low < 0 or high > 1:
            remedy = f"divide them by scale={_scale_hint(high)} or " if low >= 0 else ""
            raise UsageError(
                f"{self.name} has values from {low:g} to {high:g}, but a bernoulli likelihood needs [0, 1]; "
                f'{remedy}use likelihood="gaussian"'
            )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, {self.split!r}, {len(self):,} examples of shape "
            f"{list(self.shape)}, {self.likelihood})"
        )


class TensorSource(Source):
    """Examples in memory, in one tensor, batched by one indexing operation.

    Bytes and booleans become float32 a batch at a time. Binary data is kept as booleans: all 0 or 1, or bytes that are
    all 0 or ``scale``. Everything else is kept as float32; a float32 tensor is not copied. Nothing is lost by it.

    Args:
        values: ``[N, ...]``, boolean, integer or floating; finite.
        name: of the data set.
        split: ``train``, ``validation`` or ``test``.
        likelihood: None for ``bernoulli`` if every scaled value is 0 or 1, else ``gaussian``.
        scale: every value is divided by it. None divides bytes by 255, unless they are all 0 or 1, and nothing else.
        labels: class of each example where there is one, int64, ``[N]``.
        details: for the record; the scale is added.

    Raises:
        DataError: if there are no examples, a value is not finite, the shape or type is no data, or a Bernoulli
            likelihood is asked for values outside ``[0, 1]``.
    """

    def __init__(
        self,
        values: Tensor,
        *,
        name: str = "data",
        split: str = "train",
        likelihood: Likelihood | None = None,
        scale: float | None = None,
        labels: Tensor | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        stored = _storable(values, name, (details or {}).get("path"))
        low, high = (
            float(end) for end in torch.aminmax(stored.to(torch.uint8) if stored.dtype == torch.bool else stored)
        )
        scale = divisor(scale, high, is_bytes=stored.dtype == torch.uint8)
        binary = stored.dtype == torch.bool and scale == 1
        if stored.dtype == torch.uint8 and _holds_only_0_and(scale, stored):
            binary, stored = True, stored.bool()
        if likelihood is None:
            likelihood = "bernoulli" if binary else "gaussian"
        if likelihood == "bernoulli" and (low < 0 or high > scale):
            raise DataError(
                f"{name}: a bernoulli likelihood needs values in [0, 1]; got {low / scale:g} to {high / scale:g}; "
                "rescale them or use likelihood gaussian"
            )
        if labels is not None and labels.shape != stored.shape[:1]:
            raise DataError(f"{name}: {len(stored):,} examples but labels of shape {list(labels.shape)}")
        super().__init__(
            stored.shape[1:],
            name=name,
            split=split,
            likelihood=likelihood,
            details={**(details or {}), "scale": scale},
        )
        self.labels = labels
        self.value_range = low / scale, high / scale
        self._values = stored
        self._divisor = 1.0 if binary else scale

    def __len__(self) -> int:
        return len(self._values)

    def batch(self, indices: Tensor) -> Tensor:
        """Return the examples at ``indices``, float32, ``[B, *shape]``."""
        values = self._values.index_select(0, indices).to(torch.float32)
        return values if self._divisor == 1 else values.div_(self._divisor)


class DatasetSource(Source):
    """Examples of a user's map-style ``torch.utils.data.Dataset``, checked batch by batch.

    An item is a tensor or array, or a tuple or list whose first element is one, or a mapping that has it under ``key``.
    The dataset's ``__getitems__`` is used where there is one. 32 items, evenly spaced, decide: if they hold only 0 and
    1, the default likelihood is ``bernoulli``; if not, it is ``gaussian``, and bytes are divided by 255.

    Args:
        dataset: has ``__len__`` and ``__getitem__``.
        name: of the data set.
        split: ``train``, ``validation`` or ``test``.
        likelihood: None to decide from the items.
        key: name of the example in items that are mappings.

    Raises:
        DataError: if it is empty, has no length, or an item is not one finite numeric array.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        name: str = "data",
        split: str = "train",
        likelihood: Likelihood | None = None,
        key: str | None = None,
    ) -> None:
        try:
            self._length = len(dataset)  # type: ignore[arg-type]  # Dataset leaves __len__ to its subclasses
        except TypeError as error:
            raise DataError(f"{name}: {type(dataset).__name__} has no length; examples are fetched by index") from error
        if self._length == 0:
            raise DataError(f"{name}: {type(dataset).__name__} is empty")
        self.name = name
        self._dataset = dataset
        self._key = key
        probes = np.linspace(0, self._length - 1, min(_PROBES, self._length)).astype(int).tolist()
        values = self._stack(probes)
        if values.ndim < 2 or values.numel() == 0:
            raise DataError(f"{name}: an item has shape {list(values.shape[1:])}; give at least one number, [D]")
        binary = bool(((values == 0) | (values == 1)).all())
        self._scale = 255.0 if values.dtype == torch.uint8 and not binary else 1.0
        super().__init__(
            values.shape[1:],
            name=name,
            split=split,
            likelihood=likelihood or ("bernoulli" if binary else "gaussian"),
            details={"dataset": type(dataset).__name__, "scale": self._scale},
        )
        if bool(values.isfinite().all()):
            low, high = torch.aminmax(values.to(torch.float64))
            self.value_range = float(low) / self._scale, float(high) / self._scale

    def __len__(self) -> int:
        return self._length

    def batch(self, indices: Tensor) -> Tensor:
        """Return the examples at ``indices``, float32, ``[B, *shape]``; a bad item raises :class:`DataError`."""
        values = self._stack(indices.tolist()).to(torch.float32)
        if tuple(values.shape[1:]) != self.shape:
            raise DataError(
                f"{self.name}: items of shape {list(self.shape)} and {list(values.shape[1:])}; make them alike"
            )
        if self._scale != 1:
            values = values / self._scale
        if not bool(values.isfinite().all()):
            raise DataError(f"{self.name}: a batch holds NaN or infinity; remove or replace such values")
        if self.likelihood == "bernoulli" and not bool(((values >= 0) & (values <= 1)).all()):
            raise DataError(f"{self.name}: a bernoulli likelihood needs values in [0, 1]; use likelihood gaussian")
        return values

    def _stack(self, indices: list[int]) -> Tensor:
        many = getattr(self._dataset, "__getitems__", None)
        items = many(indices) if callable(many) else [self._dataset[i] for i in indices]
        examples = [self._example(item) for item in items]
        for example in examples:
            if example.shape != examples[0].shape or example.dtype != examples[0].dtype:
                raise DataError(
                    f"{self.name}: items differ: {list(examples[0].shape)} {examples[0].dtype} and "
                    f"{list(example.shape)} {example.dtype}; make them alike"
                )
        return torch.stack(examples)

    def _example(self, item: Any) -> Tensor:
        if isinstance(item, Mapping):
            if self._key not in item:
                raise DataError(
                    f"{self.name}: items have the keys {sorted(map(str, item))}; use DatasetSource(..., key=...)"
                )
            item = item[self._key]
        elif isinstance(item, tuple | list) and item:
            item = item[0]
        if isinstance(item, np.ndarray):
            item = tensor_of(item, self.name)
        if not isinstance(item, Tensor) or item.is_complex():
            kind = item.dtype if isinstance(item, Tensor) else type(item).__name__
            raise DataError(f"{self.name}: an example is {kind}; the dataset must give real tensors or arrays")
        return item.detach().cpu()


def as_source(
    data: Source | Tensor | NDArray[Any] | Dataset[Any],
    name: str = "data",
    *,
    split: str = "train",
    likelihood: Likelihood | None = None,
) -> Source:
    """Make a source of what a user has in hand.

    Args:
        data: a source, which is returned as it is; a tensor or array ``[N, ...]``, kept in its shape; or a map-style
            dataset. An array that is mapped into memory is read as a whole, unless it is one of bytes that may be
            written to (``numpy.load(path, mmap_mode="c")``): that stays on disk. So does what
            :func:`~multirate.data.load` maps, of any numbers.
        name: of the data set.
        split: ``train``, ``validation`` or ``test``.
        likelihood: None to decide from the values.

    Returns:
        The source.

    Raises:
        UsageError: if it is none of these.
        DataError: if the values are no data.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, np.ndarray):
        data = tensor_of(data, name)
    if isinstance(data, Tensor):
        return TensorSource(data, name=name, split=split, likelihood=likelihood)
    if type(data) is TensorDataset:
        return TensorSource(data.tensors[0], name=name, split=split, likelihood=likelihood)
    if isinstance(data, DataLoader | IterableDataset):
        raise UsageError(
            f"{name}: cannot fetch by index from a {type(data).__name__}; pass a map-style dataset or a tensor"
        )
    if isinstance(data, Dataset) or (
        hasattr(data, "__getitem__") and not isinstance(data, str | bytes | list | tuple | Mapping)
    ):
        return DatasetSource(data, name=name, split=split, likelihood=likelihood)
    raise UsageError(
        f"{name}: a {type(data).__name__} is no data; pass a tensor, an array, a torch Dataset or data.load(...)"
    )


def tensor_of(array: NDArray[Any], name: str = "data") -> Tensor:
    """Turn an array of booleans, integers or floats into a tensor: bytes and booleans as they are, the rest float32.

    Args:
        array: any shape, byte order and strides.
        name: for the error.

    Returns:
        A tensor of the same shape, which shares memory with the array where it can.

    Raises:
        DataError: if the type is no number.
    """
    if array.dtype.kind not in NUMERIC_KINDS:
        raise DataError(f"{name}: an array of {array.dtype} is no data; give booleans, integers or floats")
    if array.dtype not in (np.dtype(bool), np.dtype(np.uint8)):
        with np.errstate(all="ignore"):
            array = array.astype(np.float32, copy=False)
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def divisor(scale: float | None, high: float, *, is_bytes: bool) -> float:
    """Return what values are divided by.

    Args:
        scale: as the user gave it. None is 255 for bytes, unless they are all 0 or 1, and 1 for everything else.
        high: the highest value.
        is_bytes: whether the values are bytes.

    Raises:
        UsageError: if it is no number above 0.
    """
    if scale is None:
        return 255.0 if is_bytes and high > 1 else 1.0
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise UsageError(f"scale must be a number, such as 255; got {scale!r}")
    if not scale > 0:
        raise UsageError(f"values are divided by the scale, which must be above 0; got {scale}")
    return scale


def _scale_hint(high: float) -> str:
    return "255" if 1 < high <= 255 else f"{high:g}"


def _storable(values: Tensor, name: str, path: object = None) -> Tensor:
    if values.is_complex() or values.is_quantized or values.layout != torch.strided:
        raise DataError(f"{path or name}: a tensor of {values.dtype}, {values.layout} is no data; give real numbers")
    if values.ndim < 2 or values.numel() == 0:
        raise DataError(
            f"{path or name}: data must be [N, ...] with at least one number an example; got shape {list(values.shape)}"
        )
    values = values.detach().cpu()
    if values.dtype in (torch.bool, torch.uint8):
        return values.contiguous()
    values = values.to(torch.float32).contiguous()
    bad = torch.cat([(~part.isfinite()).flatten(1).any(1) for part in _pieces(values)])
    if bool(bad.any()):
        raise DataError(
            f"{path or name}: {int(bad.sum()):,} of {len(values):,} examples hold NaN, infinity or numbers too large "
            f"for float32, the first at index {int(bad.int().argmax())}; remove or replace them"
        )
    return values.bool() if _holds_only_0_and(1, values) else values


def _pieces(values: Tensor) -> Iterator[Tensor]:
    yield from values.split(max(1, _CHUNK * len(values) // values.numel()))


def _holds_only_0_and(one: float, values: Tensor) -> bool:
    """Compare a few examples at a time: the comparisons of all of them would take three bytes a value."""
    return all(bool(((part == 0) | (part == one)).all()) for part in _pieces(values))
