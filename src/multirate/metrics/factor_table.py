"""Posterior means of an evaluation beside the known factors of its examples, which disentanglement is measured on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from multirate.data import Source
from multirate.errors import DataError, UsageError
from multirate.metrics.base import Batch
from multirate.metrics.decomposition import LIMIT


def coded(factors: Tensor, examples: int) -> Tensor:
    """Number the values of each factor from 0 on, without gaps, in increasing order.

    Args:
        factors: index of each factor's value for each example, integers, ``[N, F]``.
        examples: N, of what they are held against.

    Returns:
        int64, ``[N, F]``, on the CPU.

    Raises:
        DataError: if they are not integers of that shape, or a factor has the same value for all examples.
    """
    if factors.ndim != 2 or len(factors) != examples or factors.is_floating_point() or factors.is_complex():
        raise DataError(
            f"factors are integers [{examples:,}, F], the index of each factor's value; "
            f"got {factors.dtype} {list(factors.shape)}"
        )
    columns = [column.unique(return_inverse=True)[1] for column in factors.detach().cpu().T]
    constant = [factor for factor, column in enumerate(columns) if not bool((column > 0).any())]
    if constant or not columns:
        named = f"factor {constant[0]} has one value" if constant else "there is no factor"
        raise DataError(f"{named} among the {examples:,} examples; keep only factors that vary")
    return torch.stack(columns, dim=1)


def checked_means(means: Tensor, latents: int = 1) -> Tensor:
    """Return posterior means in float64 on the CPU.

    Args:
        means: ``[N, Z]``.
        latents: the least Z.

    Raises:
        DataError: if they are of another shape or hold a value that is not finite.
        UsageError: if there are fewer latents.
    """
    means = means.detach().to("cpu", torch.float64)
    if means.ndim != 2:
        raise DataError(f"expected posterior means of shape [N, Z]; got {list(means.shape)}")
    if means.shape[1] < latents:
        raise UsageError(f"this measure compares latents: it needs at least {latents}; got {means.shape[1]}")
    if not bool(means.isfinite().all()):
        raise DataError("a posterior mean is not finite; check the model's outputs")
    return means


class KnownFactors:
    """Factors of a stream of batches' examples, the first ones; factors of one value are left out.

    Args:
        measure: name of what needs them, for errors.
        limit: how many examples are kept.

    ``names`` are those of the factors that are kept, ``left_out`` those of the others.
    """

    def __init__(self, measure: str, limit: int = LIMIT) -> None:
        if limit < 1:
            raise UsageError(f"limit must be at least 1 example; got {limit}")
        self.limit = limit
        self.count = 0
        self._measure = measure
        self._name = ""
        self._factors = torch.zeros(0, 0, dtype=torch.int64)
        self._factor_names: Sequence[str] | None = None
        self._rows: list[Tensor] = []

    def update(self, source: Source, indices: Tensor) -> int:
        """Add a batch, or as many of its examples as the limit leaves room for.

        Args:
            source: of the data.
            indices: places of the examples in it, ``[B]``.

        Returns:
            How many examples were added.

        Raises:
            UsageError: if the source knows no factors.
            DataError: if they are not one row of integers for each of its examples.
        """
        factors = getattr(source, "factors", None)
        if factors is None:
            raise UsageError(
                f"{self._measure} needs the factors of each example, which {source.name} does not have; use dsprites, "
                "or a source of your own with factors, [N, F]"
            )
        if not isinstance(factors, Tensor) or factors.ndim != 2 or len(factors) != len(source):
            found = list(factors.shape) if isinstance(factors, Tensor) else type(factors).__name__
            raise DataError(f"factors of {source.name} must be a tensor [{len(source):,}, F]; got {found}")
        kept = indices[: self.limit - self.count]
        self._name, self._factors = source.name, factors
        self._factor_names = getattr(source, "factor_names", None)
        self._rows.append(factors[kept])
        self.count += len(kept)
        return len(kept)

    @property
    def names(self) -> list[str]:
        """Names of the factors that vary."""
        return self._names(self._vary(self._all()))

    @property
    def left_out(self) -> list[str]:
        """Names of the factors that do not."""
        return self._names(~self._vary(self._all()))

    @property
    def values(self) -> Tensor:
        """The factors that vary, as :func:`coded` numbers them, ``[N, F]``.

        Raises:
            DataError: if there are no examples, no factor varies, or one that varies in the source does not among the
                examples.
        """
        rows = self._all()
        varies = self._vary(rows)
        lost = self._names(self._vary(self._factors) & ~varies)
        if lost:
            raise DataError(
                f"the first {self.count:,} examples of {self._name} have one value of {', '.join(lost)}, which varies "
                "in the rest; shuffle the examples, or measure more of them"
            )
        if not bool(varies.any()):
            raise DataError(f"no factor of {self._name} varies; {self._measure} needs one that does")
        return coded(rows[:, varies], self.count)

    def settings(self) -> dict[str, Any]:
        """Return how many examples and values of each factor were seen, and which factors were left out."""
        sizes = (self.values.amax(0) + 1).tolist()
        return {
            "examples": self.count,
            "factors": dict(zip(self.names, sizes, strict=True)),
            "left_out": self.left_out,
        }

    def _all(self) -> Tensor:
        if not self.count:
            raise DataError("no factors of 0 examples; update with a batch first")
        return torch.cat(self._rows)

    def _names(self, chosen: Tensor) -> list[str]:
        names = self._factor_names or [f"factor_{place}" for place in range(len(chosen))]
        return [name for name, is_chosen in zip(names, chosen.tolist(), strict=True) if is_chosen]

    @staticmethod
    def _vary(factors: Tensor) -> Tensor:
        return factors.amin(0) != factors.amax(0)


class FactorTable:
    """Posterior means of a stream of batches at one beta, with the factors of their examples.

    Args:
        measure: name of what needs them, for errors.
        limit: how many examples are kept, the first ones.
    """

    def __init__(self, measure: str, limit: int = LIMIT) -> None:
        self.known = KnownFactors(measure, limit)
        self._measure = measure
        self._means: list[Tensor] = []

    def update(self, batch: Batch) -> None:
        """Add a batch, or as many of its examples as the limit leaves room for.

        Args:
            batch: of the evaluation.

        Raises:
            UsageError: if the data have no factors, or the model no single latent vector with a mean.
            DataError: if factors or means are not what they should be.
        """
        added = self.known.update(batch.source, batch.indices)
        posterior = batch.terms.posterior
        means = batch.means if posterior is None else posterior.mean.flatten(1)
        if means is None:
            raise UsageError(
                f"{self._measure} needs the posterior mean of one latent vector: let terms(x) fill Terms.posterior, "
                "or leave the measure out"
            )
        self._means.append(checked_means(means)[:added])

    @property
    def means(self) -> Tensor:
        """Posterior means, ``[N, Z]``, float64.

        Raises:
            DataError: if there are none.
        """
        if not self._means:
            raise DataError("no posterior means of 0 examples; update with a batch first")
        return torch.cat(self._means)
