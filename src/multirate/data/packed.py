"""Binary images kept as packed bits, of which only a batch's are unpacked."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multirate.data.rows import RowFile
from multirate.data.source import Source

# The eight values of each byte: to look them up is three times as fast as to unpack bits and convert them.
_VALUES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)


class PackedSource(Source):
    """Examples of 0 and 1, eight values a byte: a 32nd of what they take as float32.

    Args:
        packed: values of each example in C order, in the order of ``numpy.packbits``, bytes ``[N, ceil(D / 8)]`` with D
            the product of ``shape``; read a batch at a time.
        rows: which of the N are the examples, in order.
        shape: of one example.
        name: of the data set.
        split: ``train``, ``validation`` or ``test``.
        details: for the record; the way of storage is added.
    """

    def __init__(
        self,
        packed: RowFile,
        rows: NDArray[np.int64],
        shape: Sequence[int],
        *,
        name: str,
        split: str,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            shape, name=name, split=split, likelihood="bernoulli", details={**(details or {}), "storage": "packed bits"}
        )
        self.value_range = 0.0, 1.0
        self._packed = packed
        self._rows = rows
        self._size = int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: Tensor) -> Tensor:
        """Return the examples at ``indices``, float32, ``[B, *shape]``."""
        packed = self._packed.read(self._rows[indices.numpy()])
        values = np.take(_VALUES, packed, axis=0).reshape(len(packed), -1)[:, : self._size]
        return torch.from_numpy(values).reshape(-1, *self.shape)
