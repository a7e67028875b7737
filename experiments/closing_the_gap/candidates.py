"""Candidates that the library does not have: richer responses, other densities of beta, weights of the loss."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.errors import UsageError
from multirate.layers import WEIGHTED, apply_gate, kind_of
from multirate.response import GATES, LATENT_GATES, Gate, Response

# A standardized log beta is at most this far from 0 within the range.
HALF_WIDTH = math.sqrt(3)
_LEAST_OPENING = 1e-6
# ((x + 1) / 2)^3 in Legendre's polynomials of degree 0 to 3.
CUBIC_RISE = (0.25, 0.45, 0.25, 0.05)


def higher_legendre(position: Tensor, degree: int) -> Tensor:
    """Return Legendre's polynomials of degree 2 to ``degree``, ``[B, degree - 1]``, at positions ``[B]``."""
    values = [torch.ones_like(position), position]
    for n in range(1, degree):
        values.append(((2 * n + 1) * position * values[n] - n * values[n - 1]) / (n + 1))
    return torch.stack(values[2 : degree + 1], dim=1) if degree > 1 else position.new_zeros(len(position), 0)


def gate_of_sharpness(excess: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
    r"""Compute :func:`multirate.response.latent_gate` with another sharpness, :math:`t = \log(1 + e^{k \Delta}) / k`.

    Args:
        excess: nats by which each latent's threshold is above log beta, any shape.
        sharpness: :math:`k`.

    Returns:
        ``t`` and ``g``.
    """
    t = F.softplus(excess, beta=sharpness)
    return t, (-torch.expm1(-t)).clamp(min=_LEAST_OPENING).sqrt()


class FilmGate(nn.Module):
    r"""Film gate of one more layer: :math:`(b + w q) y + (b' + w' q)`, y its output, q the standardized log beta.

    It acts before a gate that the library put on the same layer, such as a latent's.

    Args:
        layer: gated from now on.
        slopes: where :math:`w` starts, ``[C]``; :math:`b` starts at 1.
        shift_slope: where :math:`w'` starts; :math:`b'` starts at 0.
    """

    def __init__(self, layer: nn.Module, slopes: Tensor, shift_slope: float = 0.0) -> None:
        super().__init__()
        kind = kind_of(layer, WEIGHTED)
        if kind is None:
            raise UsageError(f"{type(layer).__name__} cannot be gated")
        self.axis = kind.axis(layer)
        self.weight = nn.Parameter(torch.stack([slopes, torch.full_like(slopes, shift_slope)]))
        self.bias = nn.Parameter(torch.stack([torch.ones_like(slopes), torch.zeros_like(slopes)]))
        self.position = torch.zeros(1, 1)
        layer.register_forward_hook(self._apply_gate, prepend=True)

    def _apply_gate(self, layer: nn.Module, args: Any, output: Tensor) -> Tensor:
        scale, shift = (torch.addcmul(self.bias[i], self.position, self.weight[i]) for i in (0, 1))
        return apply_gate(output, Gate(scale, shift), self.axis, "head")


class AffineMatrix(nn.Module):
    r"""Makes a linear layer's matrix affine in log beta: :math:`W + p W'`, p in [-1, 1] within the range, W' from 0.

    It acts before any gate of that layer.

    Args:
        layer: a ``torch.nn.Linear``; affine from now on.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if not isinstance(layer, nn.Linear):
            raise UsageError(f"only Linear layers can be affine in log beta; got {type(layer).__name__}")
        self.weight = nn.Parameter(torch.zeros_like(layer.weight))
        self.position = torch.zeros(1, 1)
        layer.register_forward_hook(self._add, prepend=True)

    def _add(self, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + self.position / HALF_WIDTH * F.linear(args[0], self.weight)


class ResearchResponse(Response):
    """The library's response, with what is tried beside it; with all of it off, the same gates.

    It takes the place of ``model.response``. Folds know the polynomial and the sharpness, not the extras.

    Args:
        start: the response in whose place it comes, for its values.
        beta_range: of the model.
        degree: of the polynomial of log beta that feeds film gates: 1 adds nothing; the higher terms start at 0.
        sharpness: of the latents' gates.
        extras: of other layers; they learn of each call's beta from this response, so one call at a time.

    Raises:
        UsageError: if the degree is above 1 and a gate is not film.
    """

    def __init__(
        self,
        start: Response,
        beta_range: BetaRange,
        *,
        degree: int = 1,
        sharpness: float = 8.0,
        extras: Iterable[FilmGate | AffineMatrix] = (),
    ) -> None:
        super().__init__(start.slots, beta_range)
        self.load_state_dict(start.state_dict())
        linear = [slot.gate in LATENT_GATES or GATES[slot.gate].shift for slot in start.slots]
        if degree > 1 and not all(linear):
            raise UsageError(f"a polynomial of degree {degree} is for film gates only")
        self.degree, self.sharpness = degree, sharpness
        self.coefficients = nn.Parameter(self.weight.new_zeros(degree - 1, len(self.weight)))
        self.extras = nn.ModuleList(extras)

    def forward(self, standardized_log_beta: Tensor) -> tuple[Gate, ...]:
        """Compute the gates of all layers, as :meth:`multirate.response.Response.forward` does."""
        column = standardized_log_beta.reshape(-1, 1)
        for extra in self.extras:
            extra.position = column
        gates = super().forward(standardized_log_beta)
        more = higher_legendre(column[:, 0] / HALF_WIDTH, self.degree) @ self.coefficients
        slices = self.channel_slices()
        if self.degree > 1:
            gates = tuple(
                gate
                if scale is None
                else Gate(gate.scale + more[:, scale], None if shift is None else gate.shift + more[:, shift])
                for gate, (scale, shift) in zip(gates, slices, strict=True)
            )
        if self.thresholds is None:
            return gates
        t, g = gate_of_sharpness((self.thresholds - column) * self.log_std, self.sharpness)
        return tuple(
            LATENT_GATES[slot.gate](t, g) if slot.gate in LATENT_GATES else gate
            for slot, gate in zip(self.slots, gates, strict=True)
        )


class PartitionedResponse(Response):
    r"""The library's response over a partition of the hidden units: some work at high betas, the others below.

    With :math:`\pi = \sigma((\log\beta - c) / w)` the gates of the one part are multiplied by :math:`\pi`, scales and
    shifts, those of the others by :math:`1 - h \pi`.

    Args:
        start: the response in whose place it comes, for its values.
        beta_range: of the model.
        share: of the units that work above, spread evenly over each layer.
        at: :math:`c`, a log beta.
        width: :math:`w`, nats.
        shut: :math:`h`, how far the others fall.
    """

    def __init__(
        self, start: Response, beta_range: BetaRange, share: float, at: float, width: float, shut: float
    ) -> None:
        super().__init__(start.slots, beta_range)
        self.load_state_dict(start.state_dict())
        self.share, self.at, self.width, self.shut = share, at, width, shut
        self.log_mean = beta_range.log_mean

    def forward(self, standardized_log_beta: Tensor) -> tuple[Gate, ...]:
        """Compute the gates of all layers, as :meth:`multirate.response.Response.forward` does."""
        log_beta = standardized_log_beta.reshape(-1, 1) * self.log_std + self.log_mean
        above = torch.sigmoid((log_beta - self.at) / self.width)
        gates = []
        for slot, gate in zip(self.slots, super().forward(standardized_log_beta), strict=True):
            if slot.gate in LATENT_GATES:
                gates.append(gate)
                continue
            upper = every(slot.channels, self.share)
            part = upper * above + (1 - upper) * (1 - self.shut * above)
            gates.append(Gate(gate.scale * part, None if gate.shift is None else gate.shift * part))
        return tuple(gates)


def every(channels: int, share: float) -> Tensor:
    """Return 1 for every ``1 / share``-th channel from the first one on and 0 for the others, ``[channels]``."""
    return (torch.arange(channels) % round(1 / share) == 0).float()


def u_shaped_quantile(unit: Tensor, shape: Sequence[float]) -> Tensor:
    """Return quantiles of the beta distribution with these two parameters, float64, at levels ``unit`` in [0, 1]."""
    return torch.from_numpy(stats.beta.ppf(unit.double().numpy(), *shape))


def mixed_quantile(unit: Tensor, uniform_share: float, skew: float) -> Tensor:
    """Map uniform numbers to a share that stays uniform and a rest that is skewed to 0; stratified if they are."""
    skewed = ((unit - uniform_share) / (1 - uniform_share)).clamp(min=0).pow(skew)
    return torch.where(unit < uniform_share, unit / uniform_share, skewed)


def stratified(n: int, generator: torch.Generator) -> Tensor:
    """Return one uniform number in each of ``n`` equal parts of [0, 1], shuffled, float64, ``[n]``."""
    unit = torch.rand(n, generator=generator, dtype=torch.float64)
    return (torch.randperm(n, generator=generator) + unit) / n


def betas_at(beta_range: BetaRange, position: Tensor) -> Tensor:
    """Return the betas at positions in [0, 1] between the logarithms of the range's low end and of its reach."""
    low, reach = beta_range.low, beta_range.reach
    return (math.log(low) + position * math.log(reach / low)).exp().clamp(low, reach).float()


def loss_weights(beta: Tensor, exponent: float) -> Tensor:
    r"""Return :math:`(1 + \beta)^{-e}` scaled to a mean of 1, ``[B]``."""
    weights = (1 + beta) ** -exponent
    return weights / weights.mean()


def log_odds(x: Tensor) -> Tensor:
    """Return the log odds of the mean of binary examples ``[N, ...]``, flat; means are kept 0.001 away from 0 and 1."""
    return torch.logit(x.mean(0).flatten().clamp(1e-3, 1 - 1e-3))
