"""FactorVAE score (Kim and Mnih 2018): does fixing one factor still one latent?"""

from typing import Any

import torch
from torch import Tensor, nn

from multirate.errors import DataError, UsageError
from multirate.metrics.active_units import THRESHOLD
from multirate.metrics.base import Batch, Measure
from multirate.metrics.factor_table import FactorTable, checked_means, coded
from multirate.seeding import generator

BATCH_SIZE = 64
TRAIN_VOTES = 10_000
TEST_VOTES = 5_000
# Votes whose batches are drawn at a time.
_CHUNK = 1000
_SEEDS = 2**31


def factor_vae_score(
    means: Tensor,
    factors: Tensor,
    *,
    batch_size: int = BATCH_SIZE,
    train_votes: int = TRAIN_VOTES,
    test_votes: int = TEST_VOTES,
    threshold: float = THRESHOLD,
    seed: int = 0,
) -> float:
    r"""Return the accuracy with which the latent that varies least tells which factor was held fixed.

    A vote draws a factor, a value of it, and with replacement a batch of the examples that have this value; it is for
    the latent of least variance within the batch, in units of its variance over all examples:
    :math:`\arg\min_j \mathrm{Var}_B(\mu_j) / \mathrm{Var}(\mu_j)`. Latents that are not active have no vote. The first
    votes give each latent the factor it is most often voted for; the score is the share of the other votes that this
    gets right.

    Args:
        means: posterior means, ``[N, Z]``.
        factors: index of each factor's value, integers, ``[N, F]``.
        batch_size: examples a batch.
        train_votes: from which the majority is taken.
        test_votes: on which it is tested.
        threshold: a latent is active when the variance of its mean is above this.
        seed: of the draws.

    Returns:
        From about ``1/F`` (chance: the same latent whatever is fixed) to 1; 0 if no latent is active.

    Raises:
        UsageError: if there are fewer than two factors, or a size cannot be right.
        DataError: if the means are not finite or not ``[N, Z]``, the factors are not integers ``[N, F]``, one has a
            single value, or no two examples share any value of one.
    """
    if batch_size < 2 or train_votes < 1 or test_votes < 1 or not threshold >= 0:
        raise UsageError(
            "batch_size must be at least 2, train_votes and test_votes at least 1, threshold at least 0; "
            f"got {batch_size}, {train_votes}, {test_votes}, {threshold:g}"
        )
    means = checked_means(means)
    codes = coded(factors, len(means))
    if codes.shape[1] < 2:
        raise UsageError("factor_vae_score tells factors apart: it needs at least 2 that vary; got 1")
    active = means.var(0, correction=0) > threshold
    if not bool(active.any()):
        return 0.0
    kept = means[:, active]
    normalized = (kept - kept.mean(0)) / kept.std(0, correction=0)
    source = generator(seed, "factor_vae_score")
    fixed = torch.randint(codes.shape[1], (train_votes + test_votes,), generator=source)
    voted = torch.empty_like(fixed)
    for factor, column in enumerate(codes.T):
        voted[fixed == factor] = _votes(normalized, column, int((fixed == factor).sum()), batch_size, source)
    right = majority(voted[:train_votes], fixed[:train_votes], kept.shape[1], codes.shape[1])
    return float((right[voted[train_votes:]] == fixed[train_votes:]).to(torch.float64).mean())


def majority(latents: Tensor, factors: Tensor, latent_count: int, factor_count: int) -> Tensor:
    """Return the factor that most votes for each latent were cast under, the first of equals.

    Args:
        latents: the latent that each vote was for, int64, ``[V]``.
        factors: the factor that was fixed, int64, ``[V]``.
        latent_count: Z.
        factor_count: F.

    Returns:
        int64, ``[Z]``; 0 for a latent that nobody voted for.
    """
    pairs = (latents * factor_count + factors).bincount(minlength=latent_count * factor_count)
    return pairs.reshape(latent_count, factor_count).argmax(1)


def _votes(normalized: Tensor, column: Tensor, votes: int, batch_size: int, source: torch.Generator) -> Tensor:
    """Return the latent of least variance in each of some batches that share a value of one factor, ``[votes]``."""
    order, counts = column.argsort(stable=True), column.bincount()
    starts = counts.cumsum(0) - counts
    shared = (counts >= 2).nonzero().squeeze(1)
    if not len(shared):
        raise DataError("no two examples share a value of a factor; measure more examples")
    found = [torch.empty(0, dtype=torch.int64)]
    for first in range(0, votes, _CHUNK):
        count = min(_CHUNK, votes - first)
        values = shared[torch.randint(len(shared), (count,), generator=source)]
        places = torch.rand(count, batch_size, generator=source, dtype=torch.float64) * counts[values, None]
        examples = order[starts[values, None] + places.long()]
        found.append(normalized[examples].var(1, correction=0).argmin(1))
    return torch.cat(found)


class FactorVAEScore(Measure):
    """:func:`factor_vae_score` of an evaluation, on its first examples.

    Args:
        threshold: a latent is active when the variance of its mean is above this.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self._table = FactorTable("factor_vae_score")

    def update(self, batch: Batch) -> None:
        """Add a batch's posterior means and factors.

        Raises:
            UsageError: if the data have no factors, or the model no posterior mean.
        """
        self._table.update(batch)

    def result(self, model: nn.Module, beta: float) -> dict[str, float]:
        """Return ``factor_vae_score``."""
        seed = int(torch.randint(_SEEDS, ()))
        means, factors = self._table.means, self._table.known.values
        return {"factor_vae_score": factor_vae_score(means, factors, threshold=self.threshold, seed=seed)}

    def settings(self) -> dict[str, Any]:
        """Return the sizes, the threshold, the number of examples, and the factors."""
        return {
            "batch_size": BATCH_SIZE,
            "train_votes": TRAIN_VOTES,
            "test_votes": TEST_VOTES,
            "threshold": self.threshold,
            **self._table.known.settings(),
        }
