"""Noise of an evaluation that belongs to the examples, however many of them a batch has."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from multirate.seeding import derive_seed
from multirate.training.noise import JointNoise

# Examples whose noise is drawn at once: a batch of an evaluation, unless another size is asked for.
BLOCK = 500


def noise_of_examples(
    batch_size: int, indices: Tensor, count: int, device: torch.device, seed: int, sample: int
) -> AbstractContextManager[object]:
    """Return a block in which a model draws, for the examples of a batch, the noise that it would in batches of 500.

    In batches of 500 nothing changes; in others the whole noise of each block of 500 examples is drawn, and the rows of
    the batch are taken. It serves the draws that :class:`multirate.training.noise.JointNoise` does, such as those of
    ``rsample``, where their leading axis is the batch.

    Args:
        batch_size: of the evaluation.
        indices: of the batch's examples, successive.
        count: examples of the evaluation.
        device: of the draws.
        seed: of the evaluation.
        sample: which posterior sample it is.
    """
    if batch_size == BLOCK:
        return nullcontext()
    return BlockNoise(range(int(indices[0]), int(indices[-1]) + 1), count, device, (seed, "evaluate"), sample)


class BlockNoise(JointNoise):
    """Draws of ``[rows, ...]`` become those rows of the draws of all the blocks of examples in which they lie.

    Args:
        rows: the examples of the batch.
        count: examples in all; the last block may have fewer than the others.
        device: of the draws.
        key: of the seeds, before the block's number.
        sample: of the seeds, after it.
    """

    def __init__(self, rows: range, count: int, device: torch.device, key: tuple[int | str, ...], sample: int) -> None:
        self._blocks = []
        for block in range(rows[0] // BLOCK, rows[-1] // BLOCK + 1):
            start, end = block * BLOCK, min((block + 1) * BLOCK, count)
            taken = slice(max(rows[0], start), min(rows[-1] + 1, end))
            inside = slice(taken.start - start, taken.stop - start)
            own = torch.Generator(device).manual_seed(derive_seed(*key, block, sample))
            self._blocks.append((own, end - start, inside, slice(taken.start - rows[0], taken.stop - rows[0])))
        super().__init__(self._blocks[0][0], 1, 0, len(rows))

    def _applies(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        return bool(args) and self._one_an_example(args[0]) and kwargs.get("generator") is None and "out" not in kwargs

    def _draw(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        drawn = []
        for own, size, inside, rows in self._blocks:
            whole = [self._spread(a, size, inside, rows) if self._one_an_example(a) else a for a in args]
            drawn.append(func(*whole, **kwargs, generator=own)[inside])
        return torch.cat(drawn)

    @staticmethod
    def _spread(value: Tensor, size: int, inside: slice, rows: slice) -> Tensor:
        whole = value.new_zeros(size, *value.shape[1:])
        whole[inside] = value.detach()[rows]
        return whole
