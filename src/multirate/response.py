r"""From beta to gates: the gate functions, and the hypernetwork that feeds them.

A layer's pre-activation :math:`W a + b` becomes :math:`s(\beta) \odot (W a + b)`, with one gate per output channel,

.. math:: s(\beta) = \sigma(w_h \log\beta + b_h)

(Bae et al. 2023, Eq. 6-9). All layers share one affine map of the standardized log beta; some gates bend it by further
features of log beta, two polynomials or the hidden layer of a small network. Latents may have gates of their own, which
follow from one threshold each: see :func:`latent_gate`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.errors import UsageError
from multirate.maps import FEATURES, bends, first_hidden

_SQRT_GATE_EPS = 1e-6
_SHARPNESS = 8.0
# Thresholds start this many nats of log beta below the upper end of the range, and up to it.
_THRESHOLD_SPREAD = 2.0


def sigmoid_gate(u: Tensor) -> Tensor:
    r"""Gate of an encoder layer, :math:`1 / (1 + e^{-u})` (Bae et al. 2023, Eq. 6).

    Args:
        u: affine map of the standardized log beta, one value a gated channel, ``[B, C]``.

    Returns:
        Gates in ``(0, 1)``, ``[B, C]``.
    """
    return torch.sigmoid(u)


def sqrt_gate(u: Tensor) -> Tensor:
    r"""Gate of a decoder layer, :math:`\sqrt{\max(0, 1 - e^u)}` (Bae et al. 2023, Eq. 7).

    It is 1 as ``u`` goes to minus infinity and shut for ``u >= 0``: the response of a linear decoder whose direction
    has eigenvalue ``lambda`` is this gate at ``u = log(beta) - log(lambda)``. Computed with ``expm1``. The slope in
    ``1 - e^u`` grows as the gate shuts; it is at most ``1 / (2 sqrt(eps))``, ``eps = 1e-6``, and 0 beyond that point,
    so that gradients are finite everywhere while the value stays exact.

    Args:
        u: affine map of the standardized log beta, one value a gated channel, ``[B, C]``.

    Returns:
        Gates in ``[0, 1]``, ``[B, C]``.
    """
    opening = -torch.expm1(u.clamp(max=1))  # shut from 0 on; beyond 1 the exponential would overflow
    sloped = opening.clamp(min=_SQRT_GATE_EPS).sqrt()
    exact = opening.detach().clamp(min=0).sqrt()
    return sloped + (exact - sloped.detach())


def ramp_gate(u: Tensor) -> Tensor:
    r"""Gate of a log-variance, :math:`\max(0, -u)`; shut for ``u >= 0``, as :func:`sqrt_gate`.

    The posterior of an optimal linear VAE has log-variance :math:`\min(\log\beta - \log\lambda, 0)`: a base value of
    -1 with this gate at ``u = log(beta) - log(lambda)``.

    Args:
        u: affine map of the standardized log beta, one value a gated channel, ``[B, C]``.

    Returns:
        Gates, at least 0, ``[B, C]``.
    """
    return (-u).clamp(min=0)


def linear_gate(u: Tensor) -> Tensor:
    """Gate that is the affine map itself: the scale of FiLM (Perez et al. 2018).

    Args:
        u: affine map of the standardized log beta, one value a gated channel, ``[B, C]``.

    Returns:
        ``u``, unbounded, ``[B, C]``.
    """
    return u


def latent_gate(excess: Tensor) -> tuple[Tensor, Tensor]:
    r"""Gate of a latent whose threshold is ``xi``, as an optimal linear VAE has it, made smooth.

    With :math:`\Delta = \xi - \log\beta` the latent's precision grows by :math:`t` nats and its gate opens to
    :math:`g`,

    .. math:: t = \tfrac18 \log(1 + e^{8 \Delta}), \qquad g = \sqrt{1 - e^{-t}}.

    In a linear VAE :math:`\xi` is the logarithm of an eigenvalue of the data, :math:`t = \max(0, \Delta)`, the
    posterior's mean and the decoder's column are proportional to :math:`g` and its log-variance is :math:`-t`
    (Lucas et al. 2019).

    Args:
        excess: :math:`\Delta`, nats, any shape.

    Returns:
        ``t``, at least 0, and ``g``; under the root ``g`` has a floor of 1e-6, so that its slope is finite everywhere.
    """
    t = torch.nn.functional.softplus(excess, beta=_SHARPNESS)
    return t, (-torch.expm1(-t)).clamp(min=_SQRT_GATE_EPS).sqrt()


def _of_mean(t: Tensor, g: Tensor) -> "Gate":
    return Gate(g, None)


def _of_log_variance(t: Tensor, g: Tensor) -> "Gate":
    return Gate(g.square(), -t)


def _of_moments(t: Tensor, g: Tensor) -> "Gate":
    return Gate(torch.cat([g, g.square()], dim=-1), torch.cat([torch.zeros_like(t), -t], dim=-1))


@dataclass(frozen=True)
class GateFunction:
    """How one layer's gates follow from the affine map of the standardized log beta.

    Args:
        name: what plans and files call it.
        scale: the function from ``u`` to gates, elementwise.
        offset: where ``u`` starts at the middle of the range: open, with a gradient to every parameter.
        shift: whether a second affine map, starting at 0, is added to the gated pre-activation.
        slope: where the slope of ``u`` starts, with alternating signs from channel to channel.
        bent: what ``u`` and the shift are in log beta, a key of :data:`FEATURES`: affine if it is empty.
    """

    name: str
    scale: Callable[[Tensor], Tensor]
    offset: float
    shift: bool = False
    slope: float = 0.0
    bent: str = ""

    @property
    def coefficients(self) -> int:
        """Parameters of each map of each channel."""
        return 2 + FEATURES[self.bent]


GATES: Mapping[str, GateFunction] = {
    gate.name: gate
    for gate in (
        GateFunction("sigmoid", sigmoid_gate, offset=2.0),
        GateFunction("sqrt", sqrt_gate, offset=-2.0),
        GateFunction("ramp", ramp_gate, offset=-1.0),
        GateFunction("film", linear_gate, offset=1.0, shift=True),
        GateFunction("cubic", linear_gate, offset=1.0, shift=True, slope=0.4, bent="cubic"),
        GateFunction("mlp-sigmoid", sigmoid_gate, offset=2.0, bent="mlp"),
        GateFunction("mlp-sqrt", sqrt_gate, offset=-2.0, bent="mlp"),
    )
}

# What a latent's threshold gates: the posterior's mean, its log-variance, both where one layer gives them one after the
# other, and the decoder's input.
LATENT_GATES: Mapping[str, Callable[[Tensor, Tensor], "Gate"]] = {
    "latent mean": _of_mean,
    "latent log-variance": _of_log_variance,
    "latent moments": _of_moments,
    "latent input": _of_mean,
}

RESPONSES: Mapping[str, Mapping[str, str]] = {
    "default": {"encoder": "cubic", "decoder": "cubic", "latents": "threshold"},
    "paper": {"encoder": "sigmoid", "decoder": "sqrt"},
    "sigmoid": {"encoder": "sigmoid", "decoder": "sigmoid"},
    "film": {"encoder": "film", "decoder": "film"},
    "mlp": {"encoder": "mlp-sigmoid", "decoder": "mlp-sqrt"},
    "water-filling": {"*log_variance*": "ramp", "encoder": "sqrt", "decoder": "sqrt"},
}


class Gate(NamedTuple):
    """The gate of one layer for one call.

    Args:
        scale: multiplies the pre-activation, ``[1, C]`` or ``[B, C]``.
        shift: added after that, of the same shape; None where the layer takes none.
    """

    scale: Tensor
    shift: Tensor | None


class Slot(NamedTuple):
    """One gated layer as the response sees it: its gate function, its channels, and whether it takes a shift."""

    gate: str
    channels: int
    shift: bool


class _Group(NamedTuple):
    """Slots that share a gate function; their maps lie side by side, scales first."""

    gate: GateFunction
    members: tuple[int, ...]
    shifted: tuple[int, ...]
    widths: tuple[int, ...]

    def parts(self, maps: Tensor) -> Sequence[Tensor]:
        """Return the scales of the members and the shifts of those that have one, of the group's maps ``[B, ...]``.

        Shifts are the maps themselves, which only linear gates leave as they are: no other takes any.
        """
        parts: Sequence[Tensor] = self.gate.scale(maps).split(list(self.widths), dim=1)
        return parts


def _group(gate: GateFunction, slots: Sequence[Slot]) -> _Group:
    members = tuple(i for i, slot in enumerate(slots) if slot.gate == gate.name)
    shifted = tuple(i for i in members if slots[i].shift)
    return _Group(gate, members, shifted, tuple(slots[i].channels for i in (*members, *shifted)))


def _taken_apart(values: Tensor, widths: list[int]) -> Sequence[Tensor]:
    """Split columns, without a copy forward or backward where one part is all there is."""
    if sum(width > 0 for width in widths) == 1:
        return [values if width else values[:, :0] for width in widths]
    parts: Sequence[Tensor] = values.split(widths, dim=1)
    return parts


def _put_together(parts: Sequence[Tensor]) -> Tensor:
    """Undo :func:`_taken_apart`."""
    filled = [part for part in parts if part.shape[1]]
    return filled[0] if len(filled) == 1 else torch.cat(filled, dim=1)


def _linear_in(features: Tensor, coefficients: Tensor, start: Tensor) -> Tensor:
    """Return ``start + features @ coefficients``, for two or three features ``[B, k]``."""
    if not torch.compiler.is_compiling():
        return torch.addmm(start, features, coefficients)
    for feature, row in zip(features.split(1, dim=1), coefficients.unbind(), strict=True):
        start = torch.addcmul(start, feature, row)  # a compiler merges these with what uses the gates
    return start


class Response(nn.Module):
    r"""The hypernetwork: one map of the standardized log beta for all gated layers at once.

    .. math:: u = b_h + w_h s + \sum_k c_k \phi_k(s), \qquad s = \frac{\log\beta - \mu}{\sigma}

    ``weight`` is :math:`w_h` and ``bias`` is :math:`b_h` (Bae et al. 2023, Eq. 6), one number each for every map of
    every gated channel. Features :math:`\phi_k` belong to bent gates alone, and their coefficients start at 0. Of cubic
    gates they are the Legendre polynomials :math:`P_2, P_3` of :math:`s / \sqrt 3`, orthogonal to the affine part over
    the range, with coefficients ``curvature``, ``[2, ...]``. Of gates of a small network they are its 32 hidden units,
    :math:`\tanh(v_k s + a_k) / \sqrt{32}`, which all layers share: ``hidden_weight`` and ``hidden_bias``, with
    coefficients ``mixing``, ``[32, ...]``; the root keeps a step of Adam in all of them from moving a gate 32 times as
    far. Where the latents are gated, ``thresholds`` holds :math:`(\xi - \mu) / \sigma` of each, shared by all their
    gates. The work is a handful of kernels whatever the depth.

    Args:
        slots: the gated layers, in the order in which :meth:`forward` returns their gates.
        beta_range: whose standardized log beta comes in; only thresholds need it.
        device: where the parameters live.
        dtype: their floating type.

    Raises:
        UsageError: if a gate function is unknown or latent gates differ in number.
    """

    curvature: nn.Parameter | None
    hidden_weight: nn.Parameter | None
    hidden_bias: nn.Parameter | None
    mixing: nn.Parameter | None
    thresholds: nn.Parameter | None

    def __init__(
        self,
        slots: Sequence[Slot],
        beta_range: BetaRange | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for slot in slots:
            if slot.gate not in GATES and slot.gate not in LATENT_GATES:
                raise UsageError(f"no gate function {slot.gate!r}; choose one of {', '.join(GATES)}")
        self.slots = tuple(slots)
        beta_range = beta_range or BetaRange()
        self.log_std = beta_range.log_std
        self._groups = [group for gate in GATES.values() if (group := _group(gate, slots)).members]
        self._latent = [i for i, slot in enumerate(slots) if slot.gate in LATENT_GATES]
        slopes: list[float] = []
        offsets: list[float] = []
        for gate, members, shifted, _ in self._groups:
            slopes += [gate.slope * (-1) ** c for i in members for c in range(slots[i].channels)]
            offsets += [gate.offset for i in members for _ in range(slots[i].channels)]
            rest = [0.0] * sum(slots[i].channels for i in shifted)
            slopes, offsets = slopes + rest, offsets + rest
        # Groups come in the order of GATES, in which gates that bend alike are next to each other.
        self._spans = [sum(sum(group.widths) for group in self._groups if group.gate.bent == bent) for bent in FEATURES]
        self.weight = nn.Parameter(torch.tensor(slopes, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.tensor(offsets, device=device, dtype=dtype))
        _, curved, mixed = self._spans
        self.curvature = nn.Parameter(self.weight.new_zeros(FEATURES["cubic"], curved)) if curved else None
        self.mixing = nn.Parameter(self.weight.new_zeros(FEATURES["mlp"], mixed)) if mixed else None
        self.hidden_weight, self.hidden_bias = (
            nn.Parameter(value.to(self.weight)) if mixed else None for value in first_hidden()
        )
        self.thresholds = nn.Parameter(self._first_thresholds(beta_range).to(self.weight)) if self._latent else None

    def _first_thresholds(self, beta_range: BetaRange) -> Tensor:
        slots = [self.slots[i] for i in self._latent]
        latents = {slot.channels // (2 if slot.gate == "latent moments" else 1) for slot in slots}
        if len(latents) > 1:
            raise UsageError(f"the gates of the latents differ in number: {', '.join(map(str, sorted(latents)))}")
        high = beta_range.log_high
        even = torch.linspace(high - _THRESHOLD_SPREAD, high, latents.pop(), dtype=torch.float64)
        return (even - beta_range.log_mean) / beta_range.log_std

    def forward(self, standardized_log_beta: Tensor) -> tuple[Gate, ...]:
        """Compute the gates of all layers.

        Args:
            standardized_log_beta: ``[]`` for one beta for all examples, or ``[B]``.

        Returns:
            One gate a slot, with scales and shifts of shape ``[1, C]`` or ``[B, C]``.
        """
        column = standardized_log_beta.reshape(-1, 1)
        gates: dict[int, Gate] = {}
        for group, span in zip(
            self._groups, _taken_apart(self._maps(column), [sum(group.widths) for group in self._groups]), strict=True
        ):
            parts = group.parts(span)
            scales, shifts = (
                parts[: len(group.members)],
                dict(zip(group.shifted, parts[len(group.members) :], strict=True)),
            )
            gates.update({i: Gate(scale, shifts.get(i)) for i, scale in zip(group.members, scales, strict=True)})
        if self.thresholds is not None:
            t, g = latent_gate((self.thresholds - column) * self.log_std)
            gates.update({i: LATENT_GATES[self.slots[i].gate](t, g) for i in self._latent})
        return tuple(gates[i] for i in range(len(self.slots)))

    def _maps(self, column: Tensor) -> Tensor:
        """Return every map of every gated channel, ``[B, n]``: its affine part, and the features that bend it."""
        if self.curvature is not None and self.curvature.shape[1:] == self.bias.shape:
            features = torch.cat([column, bends(column)], dim=1)
            return _linear_in(features, torch.cat([self.weight.unsqueeze(0), self.curvature]), self.bias)
        u = torch.addcmul(self.bias, column, self.weight)
        if self.curvature is None and self.mixing is None:
            return u
        affine, curved, mixed = _taken_apart(u, self._spans)
        if self.curvature is not None:
            curved = _linear_in(bends(column), self.curvature, curved)
        if self.mixing is not None:
            assert self.hidden_weight is not None and self.hidden_bias is not None
            hidden = torch.addcmul(self.hidden_bias, column, self.hidden_weight).tanh()
            mixed = mixed + hidden @ self.mixing / math.sqrt(FEATURES["mlp"])
        return _put_together([affine, curved, mixed])

    def channel_slices(self) -> tuple[tuple[slice | None, slice | None], ...]:
        """Return where each slot's scale and shift maps lie within ``weight`` and ``bias``, None where it has none."""
        scale: dict[int, slice] = {}
        shift: dict[int, slice] = {}
        start = 0
        for _, members, shifted, _ in self._groups:
            for target, layers in ((scale, members), (shift, shifted)):
                for i in layers:
                    target[i] = slice(start, start + self.slots[i].channels)
                    start += self.slots[i].channels
        return tuple((scale.get(i), shift.get(i)) for i in range(len(self.slots)))

    def extra_repr(self) -> str:
        """Say how many layers, channels and latents are gated."""
        gated = [slot for slot in self.slots if slot.gate in GATES]
        latents = 0 if self.thresholds is None else len(self.thresholds)
        return f"layers={len(gated)}, channels={sum(slot.channels for slot in gated)}, latents={latents}"
