"""Sentences of one batch without their padding, checked; what recurrent layers and word losses run over."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from multirate.errors import DataError, UsageError
from multirate.models.decoding import END, PAD, START


@dataclass(frozen=True)
class PackedWords:
    """The N words of a batch: first the first word of every sentence, then the second ones, and so on.

    Args:
        words: every word and end token, what a decoder predicts.
        inputs: the word before each of them, start token first, in the same layout; no end token is among them.
        rows: the sentence that each belongs to, ``[N]``.
        lengths: words and end token of each sentence, int64, ``[B]``.
    """

    words: PackedSequence
    inputs: PackedSequence
    rows: Tensor
    lengths: Tensor

    def padded(self, data: Tensor, length: int | None = None) -> Tensor:
        """Return values of the N words, ``[N, ...]``, by sentence: ``[B, length, ...]``, 0 in place of padding.

        Args:
            data: in the layout of ``words``.
            length: at least the longest sentence's, which is the default.
        """
        return pad_packed_sequence(like(self.words, data), batch_first=True, total_length=length)[0]


def like(layout: PackedSequence, data: Tensor) -> PackedSequence:
    """Return other values of the same N words, ``[N, ...]``, in their layout."""
    return PackedSequence(data, layout.batch_sizes, layout.sorted_indices, layout.unsorted_indices)


def pack(x: Tensor, vocabulary_size: int) -> PackedWords:
    """Check a batch of sentences and take its padding away.

    Args:
        x: int64, ``[B, T]``: words, one end token (3), then padding (0).
        vocabulary_size: number of words with the four special ones.

    Returns:
        The packed batch.

    Raises:
        UsageError: if ``x`` has another type or shape, or holds a word that the vocabulary has not.
        DataError: if a row is not words, one end token and padding.
    """
    if x.dtype != torch.int64 or x.ndim != 2 or x.numel() == 0:
        found = f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
        raise UsageError(f"sentences are int64 [B, T], as Vocabulary.encode gives them; got {found}")
    low, high = (int(end) for end in torch.aminmax(x))
    if low < 0 or high >= vocabulary_size:
        raise UsageError(
            f"the model knows words 0 to {vocabulary_size - 1}; got {low if low < 0 else high}: "
            "encode the text with the vocabulary that the model was trained with"
        )
    ends = x == END
    lengths = ends.int().argmax(1) + 1
    words = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    right = ends.any(1) & ((x != PAD) == words).all(1)
    if not bool(right.all()):
        row = int(right.int().argmin())
        raise DataError(
            f"sentence {row} of the batch is not words, one end token ({END}) and then padding ({PAD}): it begins "
            f"{x[row].tolist()[:12]}; encode it with Vocabulary.encode"
        )
    return _packed(x, lengths)


def _packed(x: Tensor, lengths: Tensor) -> PackedWords:
    counts = lengths.cpu()
    before = torch.cat([x.new_full((x.shape[0], 1), START), x[:, :-1]], 1)
    rows = torch.arange(x.shape[0], device=x.device)[:, None].expand_as(x)
    words, inputs, owners = (
        pack_padded_sequence(part, counts, batch_first=True, enforce_sorted=False) for part in (x, before, rows)
    )
    return PackedWords(words, inputs, owners.data, lengths)
