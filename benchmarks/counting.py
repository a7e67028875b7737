"""Counting what one training step of a model needs, without computing it: tensors on the meta device have shapes alone.

Counted are floating-point operations, bytes that operations read and write, kernels, and bytes that autograd keeps for
backward. PyTorch's own FlopCounterMode is not used: it counts the weight gradient of a depthwise convolution as that of
a dense one (torch 2.13).
"""

import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from multirate.wrapper import MultiRate, terms_at

aten = torch.ops.aten
DENSE, DEPTHWISE, NONE = "dense", "depthwise", "none"
_PRODUCTS = (aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default)
_NOTHING_MOVED = (aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided, aten.detach)


@dataclass(frozen=True)
class Operation:
    """One operation: its floating-point operations in matrix products or convolutions, their kind, and its bytes."""

    flops: int
    kind: str
    moved: int


@dataclass
class Step:
    """What one forward and backward took.

    Args:
        operations: in the order of execution.
        kept: bytes kept for backward, each storage once, parameters and buffers aside.
    """

    operations: list[Operation] = field(default_factory=list)
    kept: int = 0

    def flops(self, kind: str | None = None) -> int:
        """Return the floating-point operations of matrix products and convolutions, of one kind or of all."""
        return sum(each.flops for each in self.operations if kind in (None, each.kind))

    @property
    def moved(self) -> int:
        """Bytes that operations read and write, if each is a kernel of its own."""
        return sum(each.moved for each in self.operations)

    def seconds(self, peaks: Mapping[str, float], bandwidth: float) -> float:
        """Return the time of all operations, each bound by its arithmetic or by its bytes, whichever takes longer.

        Args:
            peaks: operations a second, by kind.
            bandwidth: bytes a second.
        """
        return sum(
            max(each.moved / bandwidth, each.flops / peaks[each.kind] if each.flops else 0.0)
            for each in self.operations
        )


class _Watch(TorchDispatchMode):
    """Notes every operation that is not a mere view."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        before = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        after = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if not _only_looks(func, before, after):
            flops, kind = _products(func, args, result)
            moved = sum(map(_bytes, before)) + sum(map(_bytes, after))
            self.operations.append(Operation(flops, kind, moved))
        return result


def _only_looks(func: Any, before: list[Tensor], after: list[Tensor]) -> bool:
    if func.overloadpacket in _NOTHING_MOVED or not after:
        return True
    sources = {tensor.untyped_storage()._cdata for tensor in before}
    shared = all(tensor.untyped_storage()._cdata in sources for tensor in after)
    return shared and not func._schema.is_mutable


def _bytes(tensor: Tensor) -> int:
    """Return what a tensor takes; an expanded one is read once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _products(func: Any, args: Any, result: Any) -> tuple[int, str]:
    if func in _PRODUCTS:
        first = args[1] if func in (aten.addmm.default, aten.baddbmm.default) else args[0]
        return 2 * result.numel() * first.shape[-1], DENSE
    if func is aten.convolution.default:
        return _convolution(args[0], args[1], result, args[6], args[8])
    if func is aten.convolution_backward.default:
        flops, kind = _convolution(args[1], args[2], args[0], args[7], args[9])
        return flops * sum(map(bool, args[10][:2])), kind
    return 0, NONE


def _convolution(x: Tensor, weight: Tensor, output: Tensor, transposed: bool, groups: int) -> tuple[int, str]:
    """Return the operations of a convolution; either of its gradients takes as many."""
    applied = x if transposed else output
    places = applied.shape[0] * math.prod(applied.shape[2:])
    return 2 * places * weight.numel(), DEPTHWISE if 1 < groups == x.shape[1] else DENSE


def count_step(model: nn.Module, x: Tensor, beta: Tensor | None = None) -> Step:
    """Count one forward and backward of the mean of ``D + beta R``.

    Args:
        model: plain or multi-rate, on the meta device.
        x: batch, on the meta device.
        beta: ``[B]``, real numbers, of a multi-rate model.
    """
    owned = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers()]}
    held: weakref.WeakSet[_Held] = weakref.WeakSet()  # what autograd drops before the end of forward drops out

    def hold(tensor: Tensor) -> _Held:
        holder = _Held(tensor)
        held.add(holder)
        return holder

    with _without_autocast(), _Watch() as watch:
        with torch.autograd.graph.saved_tensors_hooks(hold, lambda holder: holder.tensor):
            terms = terms_at(model, x, beta)
            loss = (terms.distortion + terms.rate).mean()
        storages = {s._cdata: s.nbytes() for s in (holder.tensor.untyped_storage() for holder in held)}
        loss.backward()
    model.zero_grad()
    return Step(watch.operations, sum(size for storage, size in storages.items() if storage not in owned))


class _Held:
    """A tensor that autograd keeps."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@contextmanager
def _without_autocast() -> Iterator[None]:
    """Answer in its stead: the meta device knows no autocast, and torch raises where a model asks whether it is on."""
    with (
        patch.object(torch, "is_autocast_enabled", lambda *args: False),
        patch.object(torch, "autocast", lambda *args, **kwargs: nullcontext()),
    ):
        yield


@contextmanager
def _noted(model: MultiRate, note: Callable[[Tensor], None]) -> Iterator[None]:
    handles = []
    for layer in model.plan.gated:
        target = model.base.get_submodule(layer.at)
        if layer.on_input:
            handles.append(target.register_forward_pre_hook(lambda module, args: note(args[0])))
        else:
            handles.append(target.register_forward_hook(lambda module, args, output: note(output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gated_elements(model: MultiRate, x: Tensor, beta: Tensor) -> int:
    """Return how many numbers the gates of layers multiply for an image.

    Args:
        model: on the meta device.
        x: batch, on the meta device.
        beta: ``[B]``, real numbers.
    """
    counts: list[int] = []
    with _noted(model, lambda tensor: counts.append(tensor.numel())), torch.no_grad(), _without_autocast():
        model.terms(x, beta=beta)
    return sum(counts) // len(x)
