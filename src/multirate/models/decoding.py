"""Writing sentences with a model that scores the next word: the likeliest word, a drawn one, or the best of a beam.

A model comes in as one function, ``step``, that takes the words before, ``[N]``, and a state, a tuple of tensors
``[N, ...]``, and returns the logits of the words that follow, ``[N, V]``, and the next state.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from multirate.errors import UsageError

PAD, UNKNOWN, START, END = range(4)

State: TypeAlias = tuple[Tensor, ...]
Step: TypeAlias = Callable[[Tensor, State], tuple[Tensor, State]]


@dataclass(frozen=True)
class Decoded:
    """Sentences that a model wrote.

    Args:
        words: words, end token, then padding, int64, ``[B, L]``; a sentence that met the limit has no end token.
        log_probability: the model's log p of these words and the end token, in nats, float64, ``[B]``.
    """

    words: Tensor
    log_probability: Tensor


@torch.no_grad()
def greedy(step: Step, state: State, *, limit: int, never: Collection[int] = ()) -> Decoded:
    """Write the likeliest next word, again and again.

    Args:
        step: scores the next word.
        state: before the first word, each part ``[B, ...]``.
        limit: longest sentence, its end token included.
        never: words that are not written, beside padding and the start token.

    Returns:
        One sentence for each row of the state.

    Raises:
        UsageError: if ``limit`` is below 1.
    """

    def choose(scores: Tensor) -> Tensor:
        return scores.argmax(-1)

    return _word_by_word(step, state, choose, limit, never)


@torch.no_grad()
def sampled(
    step: Step,
    state: State,
    *,
    limit: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    never: Collection[int] = (),
) -> Decoded:
    r"""Draw each next word from :math:`p^{1/\tau}`, normalised over the words that may be written.

    Args:
        step: scores the next word.
        state: before the first word, each part ``[B, ...]``.
        limit: longest sentence, its end token included.
        generator: of the draws.
        temperature: :math:`\tau`; 1 draws from the model itself.
        top_k: draw among so many likeliest words only; None among all.
        never: words that are not written, beside padding and the start token.

    Returns:
        One sentence for each row of the state; ``log_probability`` is the model's own, whatever the temperature.

    Raises:
        UsageError: if limit, temperature or top_k cannot be right.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise UsageError(f"temperature must be above 0; got {temperature:g}: for the likeliest words decode greedily")
    _check_count("top_k", 1 if top_k is None else top_k)

    def choose(scores: Tensor) -> Tensor:
        if top_k is not None and top_k < scores.shape[-1]:
            least = scores.topk(top_k, -1).values[:, -1:]
            scores = scores.masked_fill(scores < least, -math.inf)
        chances = ((scores - scores.amax(-1, keepdim=True)) / temperature).softmax(-1)
        return torch.multinomial(chances.to(generator.device), 1, generator=generator)[:, 0].to(scores.device)

    return _word_by_word(step, state, choose, limit, never)


@torch.no_grad()
def beam(
    step: Step,
    state: State,
    *,
    limit: int,
    width: int = 5,
    length_power: float = 0.0,
    never: Collection[int] = (),
) -> Decoded:
    r"""Keep the best few beginnings at every length and return the best sentence among them.

    Beginnings and finished sentences are ranked together by :math:`\log p / L^a`, L their words with the end token and
    a the ``length_power``; at 0 it is the sentence's probability, which favours short ones. Width 1 is greedy.

    Args:
        step: scores the next word.
        state: before the first word, each part ``[B, ...]``.
        limit: longest sentence, its end token included.
        width: how many beginnings are kept.
        length_power: a, 0 or more.
        never: words that are not written, beside padding and the start token.

    Returns:
        One sentence for each row of the state.

    Raises:
        UsageError: if limit, width or length_power cannot be right.
    """
    _check_count("limit", limit)
    _check_count("beam width", width)
    if not (math.isfinite(length_power) and length_power >= 0):
        raise UsageError(f"length_power must be at least 0; got {length_power:g}")
    batch, device = state[0].shape[0], state[0].device
    state = tuple(part.repeat_interleave(width, 0) for part in state)
    last = torch.full((batch * width,), START, device=device)
    total = torch.full((batch, width), -math.inf, dtype=torch.float64, device=device)
    total[:, 0] = 0.0
    lengths = torch.zeros(batch, width, dtype=torch.int64, device=device)
    words = torch.empty(batch, width, 0, dtype=torch.int64, device=device)
    rows = torch.arange(batch, device=device)[:, None]
    for _ in range(limit):
        logits, state = step(last, state)
        scores = _scores(logits, never).view(batch, width, -1)
        finished = _finished(words)
        after = total[..., None] + _only_padding_after(finished, scores)
        grown = lengths + (~finished).long()
        ranks = (after / grown.double().pow(length_power)[..., None]).flatten(1)
        best = ranks.topk(width, -1).indices
        parent, word = best // scores.shape[-1], best % scores.shape[-1]
        total, lengths = after.flatten(1).gather(1, best), grown.gather(1, parent)
        words = torch.cat([words.gather(1, parent[..., None].expand_as(words)), word[..., None]], -1)
        state = tuple(part[(rows * width + parent).flatten()] for part in state)
        last = word.flatten()
        finished = _finished(words)
        # Without normalisation a beginning only loses: a finished sentence in front stays there.
        if bool((finished[:, 0] if length_power == 0 else finished).all()):
            break
    return Decoded(_trimmed(words[:, 0]), total[:, 0])


def _word_by_word(
    step: Step, state: State, choose: Callable[[Tensor], Tensor], limit: int, never: Collection[int]
) -> Decoded:
    _check_count("limit", limit)
    last = torch.full(state[0].shape[:1], START, device=state[0].device)
    finished = torch.zeros_like(last, dtype=torch.bool)
    total = torch.zeros_like(last, dtype=torch.float64)
    written = []
    for _ in range(limit):
        logits, state = step(last, state)
        scores = _scores(logits, never)
        last = choose(scores).masked_fill(finished, PAD)
        total += scores.gather(1, last[:, None])[:, 0].masked_fill(finished, 0.0)
        written.append(last)
        finished = finished | (last == END)
        if bool(finished.all()):
            break
    return Decoded(torch.stack(written, 1), total)


def _scores(logits: Tensor, never: Collection[int]) -> Tensor:
    """Return the model's log p of each next word, float64, minus infinity for those that may not be written."""
    scores = logits.double().log_softmax(-1)
    return scores.index_fill(-1, torch.tensor([PAD, START, *never], device=logits.device), -math.inf)


def _finished(words: Tensor) -> Tensor:
    return (words == END).any(-1)


def _only_padding_after(finished: Tensor, scores: Tensor) -> Tensor:
    scores = scores.masked_fill(finished[..., None], -math.inf)
    scores[..., PAD] = torch.where(finished, 0.0, scores[..., PAD])
    return scores


def _trimmed(words: Tensor) -> Tensor:
    """Drop the columns that are padding in every row."""
    return words[:, : max(int((words != PAD).any(0).sum()), 1)]


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} must be an integer of at least 1; got {value}")
