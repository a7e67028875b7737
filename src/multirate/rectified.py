r"""A gate and the nonlinearity after it as one step of backward, which keeps nothing that a plain model does not.

Autograd keeps a layer's pre-activation :math:`a` for the gradient of its gate, beside what the nonlinearity keeps
anyway: a ReLU its output :math:`y = \max(0, u)`, a SiLU its input :math:`u = s a + t`. But from these :math:`a` can be
told, :math:`(u - t) / s`, wherever a gradient :math:`g = \partial L / \partial u` comes through (a ReLU lets it through
where :math:`y = u > 0`). Summed over the places that share a gate,

.. math:: \frac{\partial L}{\partial s} = \sum g\,a = \frac{\sum g\,u - t \sum g}{s}.
"""

import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from multirate.maps import plain_eager
from multirate.response import Gate

# Of the type's precision: a gate nearer to 0 has let too little through to tell the pre-activation.
_SHUT = 8.0
# Numbers of a product that are in memory at a time.
_BLOCK = 1 << 19


class Nonlinearity(NamedTuple):
    """What backward needs to know of a nonlinearity that keeps one tensor.

    Args:
        keeps_output: whether that tensor is its output, rather than its input.
        backward: gradient of the input, from that of the output and the tensor kept.
    """

    keeps_output: bool
    backward: Callable[[Tensor, Tensor], Tensor]


def _relu_backward(grad: Tensor, output: Tensor) -> Tensor:
    passed: Tensor = torch.ops.aten.threshold_backward(grad, output, 0)
    return passed


def _silu_backward(grad: Tensor, x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        fused: Tensor = torch.ops.aten.silu_backward(grad, x)
        return fused
    sigmoid = x.sigmoid()  # torch knows no derivative of its own backward
    return grad * sigmoid * (1 + x * (1 - sigmoid))


NONLINEARITIES: Mapping[type[nn.Module], Nonlinearity] = {
    nn.ReLU: Nonlinearity(True, _relu_backward),
    nn.SiLU: Nonlinearity(False, _silu_backward),
}


class _GatedNonlinearity(torch.autograd.Function):
    """A nonlinearity of ``scale * pre + shift``, whose value is known already, and that sum itself.

    The sum is an output so that second derivatives know what the kept one depends on; nobody else takes it.
    """

    @staticmethod
    def forward(
        pre: Tensor, scale: Tensor, shift: Tensor | None, gated: Tensor, output: Tensor, rule: Nonlinearity
    ) -> tuple[Tensor, Tensor]:
        return output.view_as(output), gated.view_as(gated)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, Tensor]) -> None:
        ctx.rule = inputs[5]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(outputs[0 if ctx.rule.keeps_output else 1], inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        kept, scale, shift = ctx.saved_tensors
        of_output, of_gated = grads
        grad = torch.zeros_like(kept) if of_output is None else ctx.rule.backward(of_output, kept)
        if of_gated is not None:
            grad = grad + of_gated
        product, total = _summed_product(grad, kept, scale.shape), None
        if shift is not None:
            total = grad.sum_to_size(scale.shape)
            product = torch.addcmul(product, shift, total, value=-1)
        # 1 / scale, but 0 where the scale is: s / (s^2 + eps^2).
        least = scale.new_tensor((_SHUT * torch.finfo(scale.dtype).eps) ** 2)
        scale_grad = product * scale / torch.addcmul(least, scale, scale)
        # A gradient of this gradient may be asked for; and a sum over nothing is this gradient itself.
        kept_on = torch.is_grad_enabled() or total is grad
        return grad * scale if kept_on else grad.mul_(scale), scale_grad, total, None, None, None


def _summed_product(grad: Tensor, kept: Tensor, shape: torch.Size) -> Tensor:
    """Return ``grad * kept`` summed to ``shape``, on a CPU without the whole product in memory where it need not be."""
    rows = max(1, _BLOCK // max(1, grad[:1].numel()))
    if shape[0] == 1 or rows >= shape[0] or grad.device.type != "cpu":
        return (grad * kept).sum_to_size(shape)
    blocks = zip(grad.split(rows), kept.split(rows), strict=True)
    return torch.cat([(g * k).sum_to_size(len(g), *shape[1:]) for g, k in blocks])


class LastGated(threading.local):
    """The last gated output of each thread, and what it was made of, until a nonlinearity takes it."""

    def __init__(self) -> None:  # run once in each thread
        self.source: tuple[weakref.ref[Tensor], int, Tensor, Gate] | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return LastGated, ()

    def note(self, gated: Tensor, pre: Tensor, gate: Gate) -> None:
        """Note what a gated output was made of.

        Args:
            gated: ``gate.scale * pre + gate.shift``.
            pre: the layer's output.
            gate: of the layer, in the shape that broadcasts with ``pre``.
        """
        self.source = weakref.ref(gated), gated._version, pre, gate

    def take(self, x: object, changes: int) -> tuple[Tensor, Gate] | None:
        """Return pre-activation and gate, once, if this very tensor is the last gated output.

        Args:
            x: what a nonlinearity took.
            changes: in place that the nonlinearity has made itself; any other, such as ``x += skip``, makes it another.
        """
        if self.source is None or self.source[0]() is not x:
            return None
        _, version, pre, gate = self.source
        self.source = None
        return (pre, gate) if isinstance(x, Tensor) and x._version == version + changes else None


class NonlinearityHook:
    """Forward hook of a nonlinearity: where its input is a gated output, backward goes to the pre-activation at once.

    Args:
        last: gated output, by the hooks of the gated layers.
        kind: of the nonlinearity, a key of :data:`NONLINEARITIES`.
    """

    def __init__(self, last: LastGated, kind: type[nn.Module]) -> None:
        self.last, self.kind = last, kind

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        """Return the output on its new way back, or None to leave it as it is."""
        source = self.last.take(args[0], int(output is args[0])) if args and plain_eager() else None
        rule = NONLINEARITIES[self.kind]
        changed = source is not None and output is args[0] and not rule.keeps_output  # what it would keep is gone
        if source is None or changed or args[0]._backward_hooks:
            return None
        pre, gate = source
        made = _GatedNonlinearity.apply(pre, *gate, args[0].detach(), output.detach(), rule)  # type: ignore[no-untyped-call]  # untyped in torch
        after: Tensor = made[0]
        return after


def hook_nonlinearities(base: nn.Module, last: LastGated) -> None:
    """Let the nonlinearities of a module take gated outputs as one with their gates.

    Args:
        base: whose modules of exactly the types of :data:`NONLINEARITIES` get a hook, before hooks of others.
        last: gated output, by the hooks of the gated layers.
    """
    for module in base.modules():
        if type(module) in NONLINEARITIES:
            module.register_forward_hook(NonlinearityHook(last, type(module)), prepend=True)
