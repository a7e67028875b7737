"""What a measure is: fed with an evaluation's batches at one beta, it gives numbers for that point of the curve."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from multirate.data import Source
from multirate.inference import at, base_of
from multirate.terms import Terms, diagonal_gaussian


@dataclass(frozen=True)
class Batch:
    """A batch of an evaluation at one beta; what costs a pass through the model is made when it is first asked for.

    Args:
        model: plain or multi-rate, in eval mode, without gradients.
        beta: of the point.
        x: the data, ``[B, *shape]``, where the model is.
        terms: rate and distortion at the first posterior sample.
        indices: places of the examples in the source, ``[B]``.
        source: of the data; one whose factors are known has ``factors``, ``[N, F]``.
    """

    model: nn.Module
    beta: float
    x: Tensor
    terms: Terms
    indices: Tensor
    source: Source

    @cached_property
    def posterior(self) -> Any:
        """The posterior, a distribution, or None if neither the terms nor an ``encode`` of the model give one."""
        if self.terms.posterior is not None:
            return diagonal_gaussian(self.terms.posterior.mean, self.terms.posterior.log_variance)
        encode = getattr(base_of(self.model), "encode", None)
        with at(self.model, self.beta):
            return encode(self.x) if callable(encode) else None

    @property
    def means(self) -> Tensor | None:
        """Posterior means, ``[B, Z]``, or None if the model has no single latent vector with a mean."""
        mean = getattr(self.posterior, "mean", None)
        return mean.flatten(1) if isinstance(mean, Tensor) else None


class Measure(ABC):
    """One measure at one beta. A maker of them, ``make(options) -> Callable[[], Measure]``, may share work over betas.

    The global random generator is seeded by batch and measure around each call and put back afterwards: a measure may
    draw from it, and sees the same noise at every beta.
    """

    @abstractmethod
    def update(self, batch: Batch) -> None:
        """Add a batch.

        Args:
            batch: of the evaluation.

        Raises:
            UsageError: if the model or the data lack what the measure needs.
        """

    @abstractmethod
    def result(self, model: nn.Module, beta: float) -> dict[str, float]:
        """Return the numbers for the point, by name; none if the model lacks what a usual measure needs.

        Args:
            model: as in the batches.
            beta: as in the batches.
        """

    def latents(self) -> dict[str, list[float]]:
        """Return numbers of each latent, by name, for the curve's details."""
        return {}

    def settings(self) -> dict[str, Any]:
        """Return what must be known beside a number, as JSON: a threshold, a count, a network."""
        return {}
