"""Frechet and kernel distances of a VAE's reconstructions and prior samples from the data, in features of a network."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from multirate.errors import UsageError
from multirate.inference import at, base_of
from multirate.metrics.base import Batch, Measure
from multirate.metrics.features import (
    INCEPTION,
    AsTheyAre,
    FeatureNetwork,
    black_and_white,
    check_shape,
    checked_features,
    feature_network,
    package,
    versions,
)
from multirate.metrics.kernel_distance import kernel_distance, plan_subsets
from multirate.metrics.options import MeasureOptions

# Prior samples are drawn so many at a time, whatever the batch size of an evaluation.
_DRAWN = 100


class RealFeatures:
    """Features of real images with their mean and covariance, which are computed once for any number of comparisons.

    Args:
        features: ``[N, F]``, on any device.

    Raises:
        UsageError: if torchmetrics is missing.
        DataError: if they are not of shape ``[N, F]`` with N at least 2, or not finite.
    """

    def __init__(self, features: Tensor) -> None:
        self.features = checked_features(features)
        fid = package("torchmetrics.image.fid", "frechet_distance", "frechet")
        as_they_are = AsTheyAre(self.features.shape[1])
        metric = fid.FrechetInceptionDistance(as_they_are, reset_real_features=False)
        self._metric = metric.set_dtype(torch.float64)
        self._metric.update(self.features, real=True)

    def distance(self, generated: Tensor) -> float:
        """Return the Frechet distance of other features, ``[M, F]``, from these; see :func:`frechet_distance`."""
        self._metric.reset()
        self._metric.update(checked_features(generated, like=self.features), real=False)
        # Rounding may leave a tiny negative number where the sets are equal.
        return max(0.0, float(self._metric.compute()))


def frechet_distance(real: Tensor | RealFeatures, generated: Tensor) -> float:
    r"""Return the Frechet distance of two sets of features, each taken for a Gaussian (Heusel et al. 2017).

    .. math::
        \|\mu - \mu'\|^2 + \mathrm{tr}\bigl(\Sigma + \Sigma' - 2 (\Sigma \Sigma')^{1/2}\bigr)

    It is the squared 2-Wasserstein distance of the Gaussians, computed by torchmetrics in float64. With N images or
    fewer than features a covariance is singular; the distance is then defined, but its bias is large and falls with N:
    compare values of equal counts only.

    Args:
        real: features ``[N, F]``, or their :class:`RealFeatures`.
        generated: features ``[M, F]``.

    Returns:
        The distance, in squared units of the features; 0 for equal sets.

    Raises:
        UsageError: if torchmetrics is missing.
        DataError: if features are not of shape ``[N, F]`` with N at least 2, or not finite.
    """
    return (real if isinstance(real, RealFeatures) else RealFeatures(real)).distance(generated)


class Originals:
    """The data's features, which all betas of an evaluation share.

    Args:
        network: of the features.
    """

    def __init__(self, network: FeatureNetwork) -> None:
        self.network = network
        self.warned = False
        self._batches: dict[int, Tensor] = {}
        self._real: RealFeatures | None = None

    def update(self, batch: Batch, low: float, high: float) -> None:
        """Add a batch's features, unless another beta has added them."""
        first = int(batch.indices[0])
        if first not in self._batches:
            self._batches[first] = self.network.features(batch.x, low, high)
            self._real = None

    @property
    def real(self) -> RealFeatures:
        """The features of all batches, with their mean and covariance."""
        if self._real is None:
            self._real = RealFeatures(torch.cat([self._batches[first] for first in sorted(self._batches)]))
        return self._real


class FrechetDistance(Measure):
    """:func:`frechet_distance` and :func:`kernel_distance` of reconstructions and of prior samples from the data.

    Nearly all of the time goes into features, which the four numbers share: so they are one measure. A reconstruction
    is the likelihood's mean at a posterior sample, as the distortion has it; a prior sample is shown as the
    likelihood's mean too, and its latents are the same at every beta. Features of reconstructions are kept until the
    end: for 1,280 features 5 KB an example and beta.

    Args:
        originals: shared by the measures of all betas.
        generated: prior samples; None for as many as there are examples.
    """

    def __init__(self, originals: Originals, generated: int | None = None) -> None:
        self.originals = originals
        self.generated = generated
        self._range = (0.0, 1.0)
        self._rebuilt: list[Tensor] = []

    def update(self, batch: Batch) -> None:
        """Add a batch: its features, and those of its reconstructions.

        Raises:
            UsageError: if the data are no images, or the model has no ``encode``, ``decode`` and ``prior``.
            DataError: if a reconstruction or a feature is not finite.
        """
        check_shape(batch.source.shape)
        base: Any = base_of(batch.model)
        for method in ("encode", "decode", "prior"):
            if not callable(getattr(base, method, None)):
                raise UsageError(
                    f"frechet_distance needs {method}, which {type(base).__name__} lacks: add encode(x) -> posterior, "
                    "decode(z) -> likelihood and prior(), all torch.distributions, or leave the measure out"
                )
        self._range = black_and_white(batch.source)
        self.originals.update(batch, *self._range)
        z = batch.posterior.sample()
        with at(batch.model, batch.beta):
            rebuilt = base.decode(z).mean
        self._rebuilt.append(self.originals.network.features(rebuilt, *self._range))

    def result(self, model: nn.Module, beta: float) -> dict[str, float]:
        """Return the four numbers, named after the network.

        Raises:
            DataError: if there were fewer than 2 examples, or a sample or a feature is not finite.
        """
        real, rebuilt = self.originals.real, torch.cat(self._rebuilt)
        samples = self._samples(model, beta)
        self._warn(real.features.shape[1])
        frechet, kernel = names(self.originals.network.name)
        return {
            frechet: real.distance(samples),
            f"reconstruction_{frechet}": real.distance(rebuilt),
            kernel: kernel_distance(real.features, samples),
            f"reconstruction_{kernel}": kernel_distance(real.features, rebuilt),
        }

    def settings(self) -> dict[str, Any]:
        """Return the network and what was done to images, counts, subsets, precision and versions."""
        network = self.originals.network.settings()
        size, subsets = plan_subsets(self._count, self._generated)
        return network | {
            "features": self.originals.real.features.shape[1],
            "examples": self._count,
            "generated": self._generated,
            "black": self._range[0],
            "white": self._range[1],
            "reconstruction": "mean of the likelihood at a posterior sample",
            "sample": "mean of the likelihood at a prior sample",
            "singular": self._singular,
            "kernel": "(x.y / features + 1)^3",
            "subsets": subsets,
            "subset_size": size,
            "dtype": "float64",
            "versions": network.get("versions", {}) | versions("torchmetrics", "torch"),
        }

    @property
    def _count(self) -> int:
        return len(self.originals.real.features)

    @property
    def _generated(self) -> int:
        return self.generated or self._count

    @property
    def _singular(self) -> bool:
        return min(self._count, self._generated) <= self.originals.real.features.shape[1]

    def _warn(self, features: int) -> None:
        if self._singular and not self.originals.warned:
            self.originals.warned = True
            count = min(self._count, self._generated)
            warnings.warn(
                f"frechet_distance of {count:,} images with {features:,} features: the covariance is singular, and the "
                "distance depends on how many images there are; compare values of equal counts, or take more images",
                UserWarning,
                stacklevel=2,
            )

    def _samples(self, model: nn.Module, beta: float) -> Tensor:
        base: Any = base_of(model)
        found = []
        for start in range(0, self._generated, _DRAWN):
            n = min(_DRAWN, self._generated - start)
            with at(model, beta):
                prior = base.prior()
                z = prior.sample((n,))
                # A prior of independent latents may have them as its batch shape: Normal(zeros(Z), ones(Z)).
                images = base.decode(z.reshape(n, *(prior.event_shape or z.shape[1:]))).mean
            found.append(self.originals.network.features(images, *self._range))
        return torch.cat(found)


def names(network: str) -> tuple[str, str]:
    """Return what the two distances are called with a network: fid and kid are those of Inception alone."""
    if network == INCEPTION:
        return "fid", "kid"
    return f"frechet_distance[{network}]", f"kernel_distance[{network}]"


def distances(options: MeasureOptions) -> Callable[[], Measure]:
    """Return the maker of :class:`FrechetDistance` for an evaluation, whose betas share network and data's features.

    Args:
        options: network, size, weights and number of prior samples.

    Raises:
        UsageError: if a package is missing or an option cannot be right.
        DataError: if weights cannot be read.
    """
    package("torchmetrics", "frechet_distance", "frechet")
    return partial(FrechetDistance, Originals(feature_network(options)), options.generated)
