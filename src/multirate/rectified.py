r"""A gate and the ReLU after it as one step of backward, which keeps the ReLU's output alone.

Autograd keeps a layer's pre-activation :math:`a` for the gradient of its gate, beside the ReLU's output that the next
layer keeps anyway. But where :math:`y = \max(0, s a + t)` is positive, :math:`a = (y - t) / s`, and where it is not no
gradient comes through; with :math:`g = \partial L / \partial y\,[y > 0]`, summed over the places that share a gate,

.. math:: \frac{\partial L}{\partial s} = \sum g\,a = \frac{\sum g\,y - t \sum g}{s}.
"""

from typing import Any

import torch
from torch import Tensor, nn

from multirate.response import Gate

# Of the type's precision: a gate nearer to 0 has let too little through to tell the pre-activation.
_SHUT = 8.0
# Numbers of a product that are in memory at a time.
_BLOCK = 1 << 19


class _GatedReLU(torch.autograd.Function):
    """``relu(scale * pre + shift)``, whose value is known already."""

    @staticmethod
    def forward(pre: Tensor, scale: Tensor, shift: Tensor | None, output: Tensor) -> Tensor:
        return output.view_as(output)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(output, inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        output, scale, shift = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grads[0], output, 0)
        product, total = _summed_product(grad, output, scale.shape), None
        if shift is not None:
            total = grad.sum_to_size(scale.shape)
            product = torch.addcmul(product, shift, total, value=-1)
        # 1 / scale, but 0 where the scale is: s / (s^2 + eps^2).
        least = scale.new_tensor((_SHUT * torch.finfo(scale.dtype).eps) ** 2)
        scale_grad = product * scale / torch.addcmul(least, scale, scale)
        again = torch.is_grad_enabled()  # a gradient of this gradient may be asked for
        return grad * scale if again else grad.mul_(scale), scale_grad, total, None


def _summed_product(grad: Tensor, output: Tensor, shape: torch.Size) -> Tensor:
    """Return ``grad * output`` summed to ``shape``, without the whole product in memory where rows have sums apart."""
    rows = max(1, _BLOCK // max(1, grad[:1].numel()))
    if shape[0] == 1 or rows >= shape[0]:
        return (grad * output).sum_to_size(shape)
    blocks = zip(grad.split(rows), output.split(rows), strict=True)
    return torch.cat([(g * o).sum_to_size(len(g), *shape[1:]) for g, o in blocks])


class ReLUHook:
    """Forward hook of a ReLU: where its input is a gated output, backward goes to the pre-activation at once."""

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        """Return the output on its new way back, or None to leave it as it is."""
        source = getattr(args[0], "_gated_from", None) if args else None
        if source is None:
            return None
        args[0]._gated_from = None
        pre, gate = source
        rectified: Tensor = _GatedReLU.apply(pre, gate.scale, gate.shift, output.detach())  # type: ignore[no-untyped-call]  # untyped in torch
        return rectified


def remember(gated: Tensor, pre: Tensor, gate: Gate) -> None:
    """Note on a gated output what it was made of, for a ReLU that may take it.

    Args:
        gated: ``gate.scale * pre + gate.shift``.
        pre: the layer's output.
        gate: of the layer, in the shape that broadcasts with ``pre``.
    """
    gated._gated_from = (pre, gate)  # type: ignore[attr-defined]  # lives and dies with the tensor
