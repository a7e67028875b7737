"""What a text run writes: its sentences again, draws from its prior, and the way from one sentence to another."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from multirate.data import Source
from multirate.data.vocabulary import UNKNOWN, Vocabulary
from multirate.errors import DataError, UsageError
from multirate.experiments.run import FinishedRun
from multirate.experiments.spec import VOCABULARY
from multirate.fold import fold
from multirate.models import LSTMVAE
from multirate.models.decoding import PAD, Decoded, beam, greedy, sampled
from multirate.seeding import generator
from multirate.terms import gaussian_kl
from multirate.wrapper import MultiRate

Method: TypeAlias = Literal["greedy", "sample", "beam"]

# Sentences that are written at once, which bounds the memory of a beam.
_AT_ONCE = 32


@dataclass(frozen=True)
class Written:
    """A sentence that a model wrote.

    Args:
        text: its words.
        log_probability: the model's log p of the words and the end given the latents, in nats.
    """

    text: str
    log_probability: float


@dataclass(frozen=True)
class Reconstruction:
    """A sentence of the data, and what the model writes from the mean of its posterior.

    Args:
        sentence: of the data, as the vocabulary reads it.
        rate: its KL, in nats.
        written: by the model.
    """

    sentence: str
    rate: float
    written: Written


@dataclass(frozen=True)
class Interpolation:
    """The way from one sentence to another, along the straight line between the means of their posteriors.

    Args:
        steps: share of the way, from 0 to 1, and what the model writes there.
        unknown: words of the two sentences that the vocabulary has not, in their order.
    """

    steps: tuple[tuple[float, Written], ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Writer:
    """A text model at one beta, with the words that it knows.

    Args:
        model: plain; a multi-rate run's is folded.
        vocabulary: what its numbers mean.
        beta: that it was folded at, or trained at.
        method: how words are chosen: the likeliest, drawn, or by a beam.
        width: of the beam.
        temperature: of the draws.
        seed: of all draws.
    """

    model: LSTMVAE
    vocabulary: Vocabulary
    beta: float
    method: Method = "greedy"
    width: int = 5
    temperature: float = 1.0
    seed: int = 0

    def write(self, z: Tensor) -> list[Written]:
        """Write one sentence for each row of latents, none longer than the longest of training.

        Args:
            z: ``[N, Z]``.

        Returns:
            N sentences.

        Raises:
            UsageError: if beam width or temperature cannot be right.
        """
        draws = generator(self.seed, "words")
        parts = [self._decode(rows, draws) for rows in z.split(_AT_ONCE)]
        rows = ((words, score) for part in parts for words, score in zip(part.words, part.log_probability, strict=True))
        return [Written(self.vocabulary.decode(words), float(score)) for words, score in rows]

    def _decode(self, z: Tensor, draws: torch.Generator) -> Decoded:
        step, limit = self.model.step, self.model.shape[0]
        with torch.no_grad():
            state = self.model.initial_state(z)
        if self.method == "sample":
            return sampled(step, state, limit=limit, generator=draws, temperature=self.temperature)
        if self.method == "beam":
            return beam(step, state, limit=limit, width=self.width)
        return greedy(step, state, limit=limit)


def open_writer(
    run: FinishedRun,
    beta: float | None = None,
    *,
    method: Method = "greedy",
    width: int = 5,
    temperature: float = 1.0,
    seed: int = 0,
) -> Writer:
    """Read a text run's model at one beta, and its vocabulary.

    Args:
        run: finished.
        beta: in the range of a multi-rate run; of a plain one its own, or None.
        method: how words are chosen.
        width: of the beam.
        temperature: of the draws.
        seed: of all draws.

    Returns:
        The writer.

    Raises:
        UsageError: if the run's model is not one of text, or it does not serve that beta.
        DataError: if its vocabulary is missing, or another than the model's.
    """
    model = run.model
    base = model.base if isinstance(model, MultiRate) else model
    if not isinstance(base, LSTMVAE):
        name = getattr(base, "name", "") or type(base).__name__
        raise UsageError(f"{run.folder} holds a {name} of {run.spec.data}, no text; name a run of --model lstm")
    chosen = _chosen_beta(run, model, beta)
    path = run.folder / VOCABULARY
    if not path.exists():
        raise DataError(
            f"no file {path}; put the run's vocabulary there: multirate.data.load(...).vocabulary.save(path)"
        )
    vocabulary = Vocabulary.load(path)
    if len(vocabulary) != base.vocabulary_size:
        raise DataError(
            f"{path} has {len(vocabulary):,} words and the model {base.vocabulary_size:,}; "
            "put the vocabulary back that the run was trained with"
        )
    plain = fold(model, chosen) if isinstance(model, MultiRate) else base
    assert isinstance(plain, LSTMVAE)
    return Writer(plain.eval(), vocabulary, chosen, method, width, temperature, seed)


def reconstruct(writer: Writer, source: Source, count: int) -> list[Reconstruction]:
    """Write the first sentences of a data set again, each from the mean of its posterior.

    Args:
        writer: of the run.
        source: text with the vocabulary of the run.
        count: how many.

    Returns:
        So many, or all that there are.

    Raises:
        UsageError: if ``count`` is below 1.
        DataError: if the text is numbered by another vocabulary.
    """
    _check_count("sentences to reconstruct", count, 1)
    if source.vocabulary != writer.vocabulary:
        raise DataError(
            f"{source.name} has another vocabulary than the run was trained with: its files or options have changed; "
            "for another text give its path with --data"
        )
    x = source.batch(torch.arange(min(count, len(source))))
    with torch.no_grad():
        posterior = writer.model.encode(x)
    rates = gaussian_kl(posterior.mean, posterior.variance.log()).sum(-1)
    rows = zip(x, rates.tolist(), writer.write(posterior.mean), strict=True)
    return [Reconstruction(writer.vocabulary.decode(words), rate, text) for words, rate, text in rows]


def sample(writer: Writer, count: int) -> list[Written]:
    """Write sentences from latents drawn from the prior; the same latents at every beta, fixed by the writer's seed.

    Args:
        writer: of the run.
        count: how many.

    Raises:
        UsageError: if ``count`` is below 1.
    """
    _check_count("sentences to sample", count, 1)
    return writer.write(torch.randn(count, writer.model.latents, generator=generator(writer.seed, "prior")))


def interpolate(writer: Writer, first: str, second: str, steps: int = 7) -> Interpolation:
    """Write sentences along the straight line between the posterior means of two sentences, both ends included.

    Args:
        writer: of the run.
        first: words separated by spaces, as the run's text has them.
        second: the other end.
        steps: how many sentences to write.

    Raises:
        UsageError: if there are fewer than two steps, or a sentence has no word.
    """
    _check_count("steps", steps, 2)
    rows = [writer.vocabulary.encode(text) for text in (first, second)]
    if min(map(len, rows)) == 1:
        raise UsageError("a sentence to interpolate has no words; write both out")
    shares = [step / (steps - 1) for step in range(steps)]
    with torch.no_grad():
        start, stop = writer.model.encode(_padded(rows)).mean
    written = writer.write(torch.stack([torch.lerp(start, stop, share) for share in shares]))
    unknown = dict.fromkeys(word for text in (first, second) for word in _unknown(writer.vocabulary, text))
    return Interpolation(tuple(zip(shares, written, strict=True)), tuple(unknown))


def _chosen_beta(run: FinishedRun, model: torch.nn.Module, beta: float | None) -> float:
    if isinstance(model, MultiRate):
        if beta is None:
            low, high = model.beta_range.low, model.beta_range.high
            raise UsageError(f"{run.folder} serves betas from {low:g} to {high:g}; say which with --beta")
        return beta
    if run.beta is None:
        raise UsageError(f"{run.folder} holds a plain VAE and no record of its beta; train it again")
    if beta is not None and not math.isclose(beta, run.beta, rel_tol=1e-6):
        raise UsageError(
            f"{run.folder} holds a plain VAE, trained at beta {run.beta:g}: it has no beta {beta:g}; leave beta out"
        )
    return run.beta


def _unknown(vocabulary: Vocabulary, text: str) -> Iterable[str]:
    return (
        word for word in text.split() if vocabulary.encode(word)[0] == UNKNOWN and word != vocabulary.words[UNKNOWN]
    )


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])


def _check_count(what: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"the number of {what} must be at least {least}; got {value}")
