"""The part of a model that does not depend on beta, computed once for all betas of an evaluation."""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from multirate.wrapper import MultiRate


@contextmanager
def first_layer_once(model: nn.Module) -> Iterator[None]:
    """Let the first gated layer keep its pre-activation for as long as it sees the same data, within a block.

    The gates come after it, so that it is the same at every beta. Without gradients only; the layer's output for the
    last batch stays in memory until the block ends. Other threads that use the model meanwhile have their own block or
    none, and a copy that one of them makes remembers nothing.

    Args:
        model: plain models, and those whose first gated layer is recurrent, are left alone.
    """
    gated = model.plan.gated if isinstance(model, MultiRate) else ()
    first = next((layer for layer in gated if layer.side == "encoder"), None)
    if first is None or first.recurrent:
        yield
        return
    assert isinstance(model, MultiRate)
    layer = model.base.get_submodule(first.name)
    with model.resting():
        there = vars(layer).get("forward")  # of another block, of somebody else, or none
        once = there if isinstance(there, _Once) else _Once(layer)
        once.enter()
    try:
        yield
    finally:
        with model.resting():
            once.leave()


class _Memory(threading.local):
    """What one thread remembers: in how many blocks it is, and the last question with its answer."""

    blocks: int = 0
    last: tuple[tuple[Any, ...], Tensor, Tensor] | None = None


class _Once:
    """A layer's forward that answers the same question from memory, to threads that are in a block."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.own = vars(layer).get("forward")
        self.forward: Callable[..., Tensor] = layer.forward
        self.parameters = tuple(layer.parameters())
        self.blocks = 0
        self.memory = _Memory()

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., Tensor]:
        return copy.deepcopy(self.forward, memo)

    def enter(self) -> None:
        """Begin a block of this thread; the first of all puts this in the place of the layer's forward."""
        self.blocks += 1
        self.memory.blocks += 1
        self.layer.forward = self

    def leave(self) -> None:
        """End a block of this thread; the last of all gives the layer its forward back."""
        self.blocks -= 1
        self.memory.blocks -= 1
        self.memory.last = None
        if self.blocks == 0:
            del self.layer.forward
            if self.own is not None:
                self.layer.forward = self.own

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the layer's output, as a view: nobody changes what is kept."""
        known = not (torch.is_grad_enabled() or args or kwargs) and self.memory.blocks > 0
        if not known or any(t.is_inference() for t in (x, *self.parameters)):  # these do not count their changes
            return self.forward(x, *args, **kwargs)
        # The last input is kept with the output, so that its memory is nobody else's.
        question = (x.data_ptr(), x.dtype, x.shape, x.stride(), *(t._version for t in (x, *self.parameters)))
        last = self.memory.last
        if last is None or last[0] != question:
            last = self.memory.last = (question, x, self.forward(x))
        return last[2].view_as(last[2])
