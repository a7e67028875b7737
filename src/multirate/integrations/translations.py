"""Operators that the ONNX exporter translates with a loss of digits near 0, where gates open and rates vanish."""

from collections.abc import Callable
from typing import Any

import torch

from multirate.integrations.extras import require


def translations() -> dict[Any, Callable[..., Any]]:
    """Return torch's operators with what to write for them, as ``torch.onnx.export`` takes it.

    The exporter's own ``expm1`` and ``log1p`` add and subtract 1, and ONNX Runtime's Softplus does too; it has none of
    float64. A gate is the root of such a number: where that is 1e-6 and off by 6e-8, the gate is off by 3e-5.
    """
    aten = torch.ops.aten
    return {aten.expm1.default: expm1, aten.log1p.default: log1p, aten.softplus.default: softplus}


def expm1(x: Any) -> Any:
    r"""Write :math:`e^x - 1 = \tanh(x / 2) (e^x + 1)`."""
    op = _operators()
    return op.Mul(op.Tanh(op.Div(x, _number(2.0, x))), op.Add(op.Exp(x), _number(1.0, x)))


def log1p(x: Any) -> Any:
    r"""Write :math:`\log(1 + x)` as :math:`x \log(u) / (u - 1)` of :math:`u = 1 + x` as it is rounded.

    Where u is 1 it is x (Goldberg 1991, Theorem 4).
    """
    op = _operators()
    one = _number(1.0, x)
    u = op.Add(x, one)
    rounded = op.Equal(u, one)
    part = op.Where(rounded, one, op.Sub(u, one))
    return op.Where(rounded, x, op.Div(op.Mul(x, op.Log(u)), part))


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    r"""Write :math:`\log(1 + e^{\beta x}) / \beta`, which is x above the threshold as in torch."""
    op = _operators()
    scaled = op.Mul(x, _number(beta, x))
    positive = op.Max(scaled, _number(0.0, x))
    value = op.Div(op.Add(positive, log1p(op.Exp(op.Neg(op.Abs(scaled))))), _number(beta, x))
    return op.Where(op.Greater(scaled, _number(threshold, x)), x, value)


def _operators() -> Any:
    return require("onnxscript", extra="onnx").opset18


def _number(value: float, like: Any) -> Any:
    op = _operators()
    return op.CastLike(op.Constant(value_float=float(value)), like)
