r"""From beta to gates: the gate functions, and the hypernetwork that feeds them.

A layer's pre-activation :math:`W a + b` becomes :math:`s(\beta) \odot (W a + b)`, with one gate per output channel,

.. math:: s(\beta) = \sigma(w_h \log\beta + b_h)

(Bae et al. 2023, Eq. 6-9). All layers share one affine map of the standardized log beta.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from multirate.errors import UsageError

_SQRT_GATE_EPS = 1e-6


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


@dataclass(frozen=True)
class GateFunction:
    """How one layer's gates follow from the affine map of the standardized log beta.

    Args:
        name: what plans and files call it.
        scale: the function from ``u`` to gates, elementwise.
        offset: where ``u`` starts: the gate is then the same at every beta, open, with a gradient to every parameter.
        shift: whether a second affine map, starting at 0, is added to the gated pre-activation.
    """

    name: str
    scale: Callable[[Tensor], Tensor]
    offset: float
    shift: bool = False


GATES: Mapping[str, GateFunction] = {
    gate.name: gate
    for gate in (
        GateFunction("sigmoid", sigmoid_gate, offset=2.0),
        GateFunction("sqrt", sqrt_gate, offset=-2.0),
        GateFunction("ramp", ramp_gate, offset=-1.0),
        GateFunction("film", linear_gate, offset=1.0, shift=True),
    )
}

RESPONSES: Mapping[str, Mapping[str, str]] = {
    "default": {"encoder": "film", "decoder": "film"},
    "paper": {"encoder": "sigmoid", "decoder": "sqrt"},
    "sigmoid": {"encoder": "sigmoid", "decoder": "sigmoid"},
    "film": {"encoder": "film", "decoder": "film"},
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


class Response(nn.Module):
    r"""The hypernetwork: one affine map of the standardized log beta for all gated layers at once.

    .. math:: u = w_h \, \frac{\log\beta - \mu}{\sigma} + b_h

    ``weight`` is :math:`w_h` and ``bias`` is :math:`b_h`, one number each for every map of every gated channel. Maps
    that share a gate function lie side by side, so that the work is a handful of kernels whatever the depth.

    Args:
        slots: the gated layers, in the order in which :meth:`forward` returns their gates.
        device: where the parameters live.
        dtype: their floating type.

    Raises:
        UsageError: if a gate function is unknown.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for slot in slots:
            if slot.gate not in GATES:
                raise UsageError(f"no gate function {slot.gate!r}; choose one of {', '.join(GATES)}")
        self.slots = tuple(slots)
        used = [gate for gate in GATES.values() if any(slot.gate == gate.name for slot in slots)]
        self._scaled = [(gate, [i for i, slot in enumerate(slots) if slot.gate == gate.name]) for gate in used]
        self._shifted = [i for i, slot in enumerate(slots) if slot.shift]
        offsets = [gate.offset for gate, members in self._scaled for i in members for _ in range(slots[i].channels)]
        offsets += [0.0 for i in self._shifted for _ in range(slots[i].channels)]
        self.weight = nn.Parameter(torch.zeros(len(offsets), device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.tensor(offsets, device=device, dtype=dtype))

    def forward(self, standardized_log_beta: Tensor) -> tuple[Gate, ...]:
        """Compute the gates of all layers.

        Args:
            standardized_log_beta: ``[]`` for one beta for all examples, or ``[B]``.

        Returns:
            One gate a slot, with scales and shifts of shape ``[1, C]`` or ``[B, C]``.
        """
        u = torch.addcmul(self.bias, standardized_log_beta.reshape(-1, 1), self.weight)
        widths = [sum(self.slots[i].channels for i in members) for _, members in self._scaled]
        parts = u.split([*widths, u.shape[1] - sum(widths)], dim=1)
        scales: dict[int, Tensor] = {}
        for (gate, members), part in zip(self._scaled, parts, strict=False):
            scales.update(self._by_layer(gate.scale(part), members))
        shifts = self._by_layer(parts[-1], self._shifted)
        return tuple(Gate(scales[i], shifts.get(i)) for i in range(len(self.slots)))

    def _by_layer(self, values: Tensor, members: list[int]) -> dict[int, Tensor]:
        return dict(zip(members, values.split([self.slots[i].channels for i in members], dim=1), strict=True))

    def channel_slices(self) -> tuple[tuple[slice, slice | None], ...]:
        """Return where each slot's scale map and shift map lie within ``weight`` and ``bias``."""
        scale: dict[int, slice] = {}
        shift: dict[int, slice] = {}
        start = 0
        for target, members in [*((scale, members) for _, members in self._scaled), (shift, self._shifted)]:
            for i in members:
                target[i] = slice(start, start + self.slots[i].channels)
                start += self.slots[i].channels
        return tuple((scale[i], shift.get(i)) for i in range(len(self.slots)))

    def extra_repr(self) -> str:
        """Say how many layers and channels are gated."""
        return f"layers={len(self.slots)}, channels={sum(slot.channels for slot in self.slots)}"
