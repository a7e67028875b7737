"""The log-likelihood of the data by importance weighting: a bound above the ELBO that tightens with the samples."""

import math
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor, nn

from multirate.errors import DataError, UsageError
from multirate.inference import at, base_of
from multirate.metrics.base import Batch, Measure
from multirate.metrics.options import MeasureOptions
from multirate.terms import distortion

SAMPLES = 64
# Examples times samples that are decoded at a time, unless a batch alone has more.
ROWS = 1000


class LogMeanExp:
    r"""Streaming :math:`\log \frac1K \sum_k e^{w_k}` of each example, in float64.

    The largest weight so far is kept apart, so that weights of any size neither overflow nor vanish.
    """

    def __init__(self) -> None:
        self.count = 0
        self._largest = torch.zeros(0, dtype=torch.float64)
        self._sum = torch.zeros(0, dtype=torch.float64)

    def update(self, log_weights: Tensor) -> None:
        """Add samples.

        Args:
            log_weights: of K samples of each example, ``[K, B]``, with the same B at each call, on any device.

        Raises:
            DataError: if it is of another shape or holds NaN or plus infinity.
        """
        added = log_weights.detach().to("cpu", torch.float64)
        if added.ndim != 2 or (self.count and added.shape[1] != self._largest.numel()):
            expected = f"[K, {self._largest.numel()}]" if self.count else "[K, B]"
            raise DataError(f"expected log weights of shape {expected}; got {list(added.shape)}")
        if bool((added.isnan() | added.isposinf()).any()):
            raise DataError("a log weight is not finite; check the model's encode, decode and prior")
        if not added.shape[0]:
            return
        if not self.count:
            self._largest = torch.full_like(added[0], -math.inf)
            self._sum = torch.zeros_like(added[0])
        largest = torch.maximum(self._largest, added.amax(0))
        # Where all weights so far are 0 there is no largest one to subtract.
        shift = largest.where(largest.isfinite(), 0.0)
        self._sum = self._sum * (self._largest - shift).exp() + (added - shift).exp().sum(0)
        self._largest = largest
        self.count += added.shape[0]

    @property
    def value(self) -> Tensor:
        """The logarithm of the mean so far, ``[B]``, float64; minus infinity where all weights are 0.

        Raises:
            DataError: if there were no samples.
        """
        if not self.count:
            raise DataError("no mean of 0 samples; update with log weights first")
        return self._largest + self._sum.log() - math.log(self.count)


def log_likelihood(model: nn.Module, x: Tensor, samples: int = SAMPLES, *, rows: int = ROWS) -> Tensor:
    r"""Bound the log-likelihood of each example from K posterior samples (Burda et al. 2016, Eq. 8).

    .. math::
        \log p(x) \ge E \log \frac1K \sum_{k=1}^K \frac{p(x|z_k) \, p(z_k)}{q(z_k|x)}, \qquad z_k \sim q(z|x)

    In expectation it is the ELBO at K = 1, grows with K, and tends to :math:`\log p(x)`. Samples are drawn one after
    another from the global generator, and decoded in chunks, whose size decides memory and speed, not the result.

    The model gives the weights in one of three ways: ``log_weight(x)``, which draws one sample itself (NVAE);
    ``encode(x)``, ``prior()`` and ``decode(z)`` (models with one Gaussian latent); or ``distortion(z, x)`` in the place
    of a ``decode`` that takes more than latents (the LSTM, whose decoder reads the words).

    Args:
        model: plain, or held at one beta.
        x: data, ``[B, *shape]``.
        samples: K.
        rows: examples times samples that are decoded at a time; at least one sample of each example always is.

    Returns:
        Nats, ``[B]``, float64, on the CPU. Of a likelihood without its constant (``squared_error``) it lacks that
        constant too.

    Raises:
        UsageError: if K is below 1, or the model lacks these methods.
        DataError: if a weight is not finite.
    """
    if samples < 1:
        raise UsageError(f"importance samples must be at least 1; got {samples}")
    total = LogMeanExp()
    log_weight = getattr(model, "log_weight", None)
    if callable(log_weight):
        for _ in range(samples):
            total.update(log_weight(x)[None])
        return total.value
    encode, prior = (_method(model, name) for name in ("encode", "prior"))
    posterior, before = encode(x), prior()
    if not callable(getattr(posterior, "log_prob", None)):
        raise UsageError("log_likelihood needs an encode(x) that returns a distribution with sample and log_prob")
    decoded = _distortions(model)
    chunk = max(1, rows // max(1, len(x)))
    for first in range(0, samples, chunk):
        drawn = [posterior.sample() for _ in range(min(chunk, samples - first))]
        ratio = torch.stack([before.log_prob(z).double() - posterior.log_prob(z).double() for z in drawn])
        repeated = x.repeat(len(drawn), *[1] * (x.ndim - 1))
        total.update(ratio - decoded(torch.cat(drawn), repeated).double().reshape(len(drawn), -1))
    return total.value


class LogLikelihood(Measure):
    """:func:`log_likelihood` of an evaluation.

    Args:
        samples: posterior samples an example, K.
    """

    def __init__(self, samples: int = SAMPLES) -> None:
        self.samples = samples
        self._count = 0
        self._sum = 0.0

    def update(self, batch: Batch) -> None:
        """Add a batch.

        Raises:
            UsageError: if the model lacks what importance weights need.
            DataError: if an example's likelihood is not finite.
        """
        with at(batch.model, batch.beta), torch.no_grad():
            values = log_likelihood(base_of(batch.model), batch.x, self.samples)
        if not bool(values.isfinite().all()):
            raise DataError(f"the log-likelihood of an example is {float(values.min())} at beta {batch.beta:g}")
        self._count += len(values)
        self._sum += float(values.sum())

    def result(self, model: nn.Module, beta: float) -> dict[str, float]:
        """Return ``log_likelihood``, nats an example."""
        return {"log_likelihood": self._sum / self._count}

    def settings(self) -> dict[str, Any]:
        """Return the number of samples."""
        return {"samples": self.samples}


def make_log_likelihood(options: MeasureOptions) -> Callable[[], Measure]:
    """Return a maker of :class:`LogLikelihood` with as many samples as the options say."""
    return partial(LogLikelihood, options.importance_samples)


def _distortions(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what gives -log p(x|z), ``[N]``, for latents ``[N, Z]`` and data ``[N, *shape]``."""
    decode, own = _method(model, "decode"), getattr(model, "distortion", None)
    if callable(own) and not _takes_latents_alone(decode):
        return cast("Callable[[Tensor, Tensor], Tensor]", own)

    def of_decoded(z: Tensor, x: Tensor) -> Tensor:
        likelihood = decode(z)
        if not callable(getattr(likelihood, "log_prob", None)):
            raise UsageError("log_likelihood needs a decode(z) that returns a distribution of the data")
        return distortion(likelihood, x)

    return of_decoded


def _takes_latents_alone(decode: Callable[..., Any]) -> bool:
    try:
        signature(decode).bind(None)
    except TypeError:
        return False
    return True


def _method(model: nn.Module, name: str) -> Callable[..., Any]:
    found = getattr(model, name, None)
    if not callable(found):
        raise UsageError(
            f"log_likelihood needs encode(x), decode(z) and prior(), or log_weight(x); {type(model).__name__} has no "
            f"{name}: add it, or leave the measure out"
        )
    return cast("Callable[..., Any]", found)
