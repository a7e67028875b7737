r"""The linear VAE in closed form: the optimum at every beta, and gates that represent all of it at once.

For data with covariance :math:`S = U \Lambda U^T` and a decoder of unit variance, the least value of
:math:`D + \beta R` follows from Shannon's reverse water-filling, cut at k latents (Lucas et al. 2019; Bae et al. 2023,
Eq. 12-39): it is the limit that a trained linear VAE is measured against.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from multirate.beta import BetaLike, BetaRange
from multirate.errors import BetaError, UsageError

_OPEN = -50.0
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class LinearParameters:
    """Parameters of one linear VAE without its means.

    Args:
        decoder: D, ``[d, k]``.
        encoder: E, ``[k, d]``.
        variance: posterior variance C, shared by all examples, ``[k]``.
    """

    decoder: Tensor
    encoder: Tensor
    variance: Tensor


@dataclass(frozen=True)
class LinearGate:
    r"""Gates of one layer, a function of :math:`u = w_h \log\beta + b_h`.

    Args:
        function: ``"sigmoid"``, ``"sqrt"`` (:math:`\sqrt{\max(0, 1 - e^u)}`) or ``"ramp"`` (:math:`\max(0, -u)`).
        slope: :math:`w_h`, ``[k]``.
        offset: :math:`b_h`, ``[k]``.
    """

    function: str
    slope: Tensor
    offset: Tensor

    def standardized(self, beta_range: BetaRange) -> "LinearGate":
        r"""Turn a gate of raw log beta into the same gate of the standardized log beta.

        With :math:`\log\beta = \mu + \sigma t`, the slope becomes :math:`\sigma w_h` and the offset
        :math:`b_h + \mu w_h`.

        Args:
            beta_range: gives :math:`\mu` and :math:`\sigma`.

        Returns:
            A gate to feed with ``beta_range.standardize(beta)``.
        """
        return replace(
            self, slope=self.slope * beta_range.log_std, offset=self.offset + self.slope * beta_range.log_mean
        )


@dataclass(frozen=True)
class FixedDecoderGates:
    r"""Encoder and variance gates that are exact at every beta for one decoder that does not change with beta.

    The posterior mean is ``second (g2 * (first (x - mean)))`` with the encoder gates g1 after ``first`` and g2 after
    ``second``; the posterior variance, not its logarithm, is ``variance_gate`` times 1.

    Args:
        encoder_first: :math:`A^T`, ``[k, d]``.
        encoder_second: :math:`2 B S^{-1}`, ``[k, k]``.
        encoder_first_gate: sigmoid, :math:`w_h = -1, b_h = 2 \log S_{ii}`.
        encoder_second_gate: sigmoid, constant at 1/2.
        variance_gate: sigmoid, :math:`w_h = 1, b_h = -\log (D^T D)_{ii}`.
    """

    encoder_first: Tensor
    encoder_second: Tensor
    encoder_first_gate: LinearGate
    encoder_second_gate: LinearGate
    variance_gate: LinearGate

    def standardized(self, beta_range: BetaRange) -> "FixedDecoderGates":
        """Return the same with gates of the standardized log beta, see :meth:`LinearGate.standardized`."""
        return replace(
            self,
            encoder_first_gate=self.encoder_first_gate.standardized(beta_range),
            encoder_second_gate=self.encoder_second_gate.standardized(beta_range),
            variance_gate=self.variance_gate.standardized(beta_range),
        )


@dataclass(frozen=True)
class ExactGates:
    r"""A two-layer linear VAE whose gates make it optimal at every beta, encoder, variance and decoder together.

    With ``*`` along channels, it computes for data x and latent z::

        mean         = encoder_second_gate * (encoder_second @ (encoder_first_gate * (encoder_first @ (x - mu))))
        log_variance = log_variance_gate * -1
        decoded      = decoder_second_gate * (decoder_second @ (decoder_first_gate * (decoder_first @ z))) + mu

    The gates that vary are those of :math:`u_i = \log\beta - \log\lambda_i`. Second layers are constant: their sqrt
    gate is 1 to rounding, so that biases which stand for mu may be gated too.

    Args:
        mean: mu, ``[d]``.
        encoder_first: :math:`U^T`, ``[k, d]``.
        encoder_second: :math:`\Lambda^{-1/2}`, ``[k, k]``.
        decoder_first: identity, ``[k, k]``.
        decoder_second: :math:`U \Lambda^{1/2}`, ``[d, k]``.
        encoder_first_gate: sqrt, k channels.
        encoder_second_gate: sqrt, constant at 1, k channels.
        log_variance_gate: ramp, k channels.
        decoder_first_gate: sqrt, k channels.
        decoder_second_gate: sqrt, constant at 1, d channels.
    """

    mean: Tensor
    encoder_first: Tensor
    encoder_second: Tensor
    decoder_first: Tensor
    decoder_second: Tensor
    encoder_first_gate: LinearGate
    encoder_second_gate: LinearGate
    log_variance_gate: LinearGate
    decoder_first_gate: LinearGate
    decoder_second_gate: LinearGate

    def standardized(self, beta_range: BetaRange) -> "ExactGates":
        """Return the same with gates of the standardized log beta, see :meth:`LinearGate.standardized`."""
        return replace(
            self,
            encoder_first_gate=self.encoder_first_gate.standardized(beta_range),
            encoder_second_gate=self.encoder_second_gate.standardized(beta_range),
            log_variance_gate=self.log_variance_gate.standardized(beta_range),
            decoder_first_gate=self.decoder_first_gate.standardized(beta_range),
            decoder_second_gate=self.decoder_second_gate.standardized(beta_range),
        )


class LinearVAE:
    r"""The optimal linear VAE with unit decoder variance, at every beta.

    Eigendirection i among the first k is active when :math:`\lambda_i > \beta`; it then costs
    :math:`\tfrac12 \log(\lambda_i / \beta)` nats and leaves a squared error of :math:`\beta`. Any other direction costs
    nothing and leaves :math:`\lambda_i`:

    .. math::

        R(\beta) = \sum_{i \le k} \tfrac12 \max(0, \log\tfrac{\lambda_i}{\beta}), \qquad
        D(\beta) = \tfrac12 \sum_{i \le k} \min(\beta, \lambda_i) + \tfrac12 \sum_{i > k} \lambda_i
                   + \tfrac d2 \log 2\pi

    This is the least :math:`D + \beta R` over all linear VAEs, for any data of that covariance. Computed in float64.

    Args:
        covariance: of the data divided by N, as ``torch.cov(x.T, correction=0)`` gives it, ``[d, d]``.
        latents: number of latents, k; those beyond d are never active.
        mean: of the data, ``[d]``; zero if it is None.

    Raises:
        UsageError: if the covariance is not a square, finite, symmetric matrix without negative eigenvalues (to the
            rounding of its type), if ``latents`` is below 1, or if the mean does not fit.
    """

    def __init__(self, covariance: Any, latents: int, mean: Any = None) -> None:
        covariance = _checked_covariance(covariance)
        size = covariance.shape[0]
        if isinstance(latents, bool) or not isinstance(latents, int) or latents < 1:
            raise UsageError(f"a linear VAE needs at least 1 latent, a whole number; got {latents!r}")
        self.mean = covariance.new_zeros(size) if mean is None else _as_tensor(mean, "mean").to(covariance)
        if self.mean.shape != (size,) or not bool(self.mean.isfinite().all()):
            raise UsageError(f"the mean must be {size} finite numbers, [d]; got shape {list(self.mean.shape)}")
        rounding = _tolerance(covariance.dtype)
        values, vectors = (part.flip(-1) for part in torch.linalg.eigh(covariance.to(torch.float64)))
        if float(values[-1]) < -rounding * max(float(values[0]), _TINY):
            raise UsageError(
                f"the covariance has a negative eigenvalue, {float(values[-1]):.3g}; pass a covariance of real data"
            )
        self.mean = self.mean.to(torch.float64)
        self.eigenvalues = torch.where(values > size * torch.finfo(values.dtype).eps * values[0], values, 0.0)
        self.latents = latents
        kept = min(latents, size)
        self._basis = torch.nn.functional.pad(vectors[:, :kept], (0, latents - kept))
        self._spectrum = torch.nn.functional.pad(self.eigenvalues[:kept], (0, latents - kept))

    def rate(self, beta: BetaLike) -> Tensor:
        """Return the optimum's rate.

        Args:
            beta: one or more positive numbers, of any shape.

        Returns:
            Nats per example, float64, of beta's shape.

        Raises:
            BetaError: if a beta is not positive and finite.
        """
        log_beta = self._checked_beta(beta).log()
        return 0.5 * (self._spectrum.clamp_min(_TINY).log() - log_beta[..., None]).clamp_min(0).sum(-1)

    def distortion(self, beta: BetaLike) -> Tensor:
        r"""Return the optimum's distortion, :math:`\tfrac d2 \log 2\pi` included.

        Args:
            beta: one or more positive numbers, of any shape.

        Returns:
            Nats per example, float64, of beta's shape.

        Raises:
            BetaError: if a beta is not positive and finite.
        """
        error = torch.minimum(self._checked_beta(beta)[..., None], self._spectrum).sum(-1)
        left_out = self.eigenvalues[self.latents :].sum()
        return 0.5 * (error + left_out + self.eigenvalues.numel() * math.log(2 * math.pi))

    def objective(self, beta: BetaLike) -> Tensor:
        r"""Return the least :math:`D + \beta R` that a linear VAE can reach.

        Args:
            beta: one or more positive numbers, of any shape.

        Returns:
            Nats per example, float64, of beta's shape.

        Raises:
            BetaError: if a beta is not positive and finite.
        """
        return self.distortion(beta) + self._checked_beta(beta) * self.rate(beta)

    def parameters(self, beta: float | Tensor) -> LinearParameters:
        r"""Return an optimum, the one whose latents are the eigendirections (rotation the identity).

        .. math:: D = U [\Lambda - \beta I]_+^{1/2}, \quad E = (D^T D + \beta I)^{-1} D^T, \quad
            C = \beta (\mathrm{diag}(D^T D) + \beta)^{-1}

        Args:
            beta: one positive number.

        Returns:
            Decoder, encoder and posterior variance, float64.

        Raises:
            BetaError: if beta is not one positive, finite number.
        """
        value = self._checked_beta(beta)
        if value.ndim:
            raise BetaError(f"parameters are those of one beta; got shape {list(value.shape)}: call once for each")
        power = (self._spectrum - value).clamp_min(0)
        decoder = self._basis * power.sqrt()
        return LinearParameters(decoder, (decoder / (power + value)).T, value / (power + value))

    def exact_gates(self) -> ExactGates:
        r"""Return weights and gates of a two-layer linear VAE that is optimal at every beta.

        At the joint optimum an active direction has decoder :math:`\sqrt\lambda g`, encoder :math:`g / \sqrt\lambda`
        and log-variance :math:`u`, with :math:`u = \log\beta - \log\lambda` and :math:`g = \sqrt{1 - e^u}`; an inactive
        one has zeros. So the encoder's gate is the decoder's, and minus the log-variance is
        :math:`\max(0, -u)`. The sigmoid
        gates of :func:`fixed_decoder_gates` are optimal beside a decoder that stays as it is, not beside one that
        follows beta.

        Returns:
            Float64 tensors; slopes and offsets are for raw log beta.
        """
        spectrum = self._spectrum
        one, root = torch.ones_like(spectrum), spectrum.sqrt()
        inverse_root = torch.where(spectrum > 0, 1 / root.clamp_min(_TINY), 0.0)
        offset = -spectrum.clamp_min(_TINY).log()
        sqrt = LinearGate("sqrt", one, offset)
        return ExactGates(
            mean=self.mean,
            encoder_first=self._basis.T,
            encoder_second=inverse_root.diag(),
            decoder_first=one.diag(),
            decoder_second=self._basis * root,
            encoder_first_gate=sqrt,
            encoder_second_gate=_constant(one, "sqrt", _OPEN),
            log_variance_gate=LinearGate("ramp", one, offset),
            decoder_first_gate=sqrt,
            decoder_second_gate=_constant(self.mean, "sqrt", _OPEN),
        )

    def _checked_beta(self, beta: BetaLike) -> Tensor:
        values = torch.as_tensor(beta, dtype=torch.float64, device=self.eigenvalues.device)
        wrong = values[~(values.isfinite() & (values > 0))]
        if wrong.numel():
            raise BetaError(f"beta must be positive and finite; got {float(wrong[0].detach()):g}")
        return values


def fixed_decoder_gates(decoder: Tensor) -> FixedDecoderGates:
    r"""Return the sigmoid gates that follow beta beside a decoder that does not (Bae et al. 2023, Theorem 1).

    For a fixed :math:`D = A S B^T` the best encoder and posterior variance are
    :math:`E = (D^T D + \beta I)^{-1} D^T = B \, \frac{S^2}{S^2 + \beta} S^{-1} A^T` and
    :math:`C_i = \beta / ((D^T D)_{ii} + \beta)`: sigmoids of an affine map of log beta.

    Args:
        decoder: D, ``[d, k]`` with ``k <= d``; computed in float64.

    Returns:
        Float64 tensors; slopes and offsets are for raw log beta.

    Raises:
        UsageError: if the decoder is not a finite matrix with at least as many rows as columns.
    """
    if decoder.ndim != 2 or decoder.shape[0] < decoder.shape[1] or not bool(decoder.isfinite().all()):
        raise UsageError(f"the decoder must be a finite matrix [d, k] with k <= d; got shape {list(decoder.shape)}")
    matrix = decoder.detach().to(torch.float64)
    left, scale, right = torch.linalg.svd(matrix, full_matrices=False)
    one = torch.ones_like(scale)
    inverse = torch.where(scale > scale[:1] * matrix.shape[0] * torch.finfo(scale.dtype).eps, 1 / scale, 0.0)
    return FixedDecoderGates(
        encoder_first=left.T,
        encoder_second=2 * right.T * inverse,
        encoder_first_gate=LinearGate("sigmoid", -one, 2 * scale.clamp_min(_TINY).log()),
        encoder_second_gate=_constant(one, "sigmoid", 0.0),
        variance_gate=LinearGate("sigmoid", one, -matrix.square().sum(0).clamp_min(_TINY).log()),
    )


def linear_terms(decoder: Tensor, encoder: Tensor, variance: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the exact expected rate and distortion of any linear VAE with unit decoder variance.

    .. math::

        R = \tfrac12 [\mathrm{tr}(E S E^T) + \textstyle\sum_i (C_i - 1 - \log C_i)], \qquad
        D = \tfrac12 [\mathrm{tr}((I - DE) S (I - DE)^T) + \mathrm{tr}(D C D^T)] + \tfrac d2 \log 2\pi

    The expectation is over data of covariance S, whatever its distribution, when the encoder subtracts the data's mean
    and the decoder's bias adds it. Differentiable; use float64 where 1e-8 matters.

    Args:
        decoder: D, ``[d, k]``.
        encoder: E, ``[k, d]``.
        variance: posterior variance C, ``[k]``, positive.
        covariance: S, ``[d, d]``.

    Returns:
        Rate and distortion, nats per example, ``[]`` each.

    Raises:
        UsageError: if the shapes do not fit together.
    """
    size, latents = decoder.shape
    if encoder.shape != (latents, size) or variance.shape != (latents,) or covariance.shape != (size, size):
        raise UsageError(
            f"decoder {list(decoder.shape)}, encoder {list(encoder.shape)}, variance {list(variance.shape)} and "
            f"covariance {list(covariance.shape)} must be [d, k], [k, d], [k] and [d, d]"
        )
    projected = encoder @ covariance
    second_moment = projected @ encoder.T
    rate = 0.5 * (second_moment.trace() + (variance - 1 - variance.log()).sum())
    explained = 2 * (projected * decoder.T).sum() - ((decoder.T @ decoder) * second_moment).sum()
    noise = (decoder.square().sum(0) * variance).sum()
    return rate, 0.5 * (covariance.trace() - explained + noise + size * math.log(2 * math.pi))


def _constant(like: Tensor, function: str, offset: float) -> LinearGate:
    return LinearGate(function, torch.zeros_like(like), torch.full_like(like, offset))


def _as_tensor(values: Any, name: str) -> Tensor:
    try:
        tensor = values.detach() if isinstance(values, Tensor) else torch.tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"the {name} must be an array of numbers: {error}") from error
    if tensor.is_complex():
        raise UsageError(f"the {name} must be real; got {tensor.dtype}")
    return tensor if tensor.is_floating_point() else tensor.to(torch.float64)


def _tolerance(dtype: torch.dtype) -> float:
    return float(torch.finfo(dtype).eps ** (2 / 3))


def _checked_covariance(values: Any) -> Tensor:
    covariance = _as_tensor(values, "covariance")
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1] or covariance.numel() == 0:
        raise UsageError(f"the covariance must be a square matrix, [d, d]; got shape {list(covariance.shape)}")
    if not bool(covariance.isfinite().all()):
        raise UsageError("the covariance has a value that is not finite; remove NaN and infinity from the data")
    asymmetry = float((covariance - covariance.T).abs().max())
    if asymmetry > _tolerance(covariance.dtype) * float(covariance.abs().max()):
        raise UsageError(f"the covariance must be symmetric; it differs from its transpose by {asymmetry:.3g}")
    return covariance
