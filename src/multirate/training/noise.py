"""The noise of a step that several processes share: each draws it for the whole batch and uses its own rows."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from multirate.seeding import derive_seed
from multirate.training.config import TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

_FILLS: set[Any] = {Tensor.normal_, Tensor.uniform_, Tensor.exponential_, Tensor.bernoulli_, Tensor.log_normal_}
_LIKE: dict[Any, Any] = {torch.randn_like: Tensor.normal_, torch.rand_like: Tensor.uniform_}
_OF_PARAMETERS: set[Any] = {torch.normal, torch.bernoulli}


def noise_of_step(
    accelerator: "Accelerator", config: TrainConfig, step: int, share: int
) -> AbstractContextManager[object]:
    """Return a block in which a model draws its part of the noise that one process would draw for the whole batch.

    With one process nothing changes. A compiled model draws noise of its own in each process.

    Args:
        accelerator: of the run.
        config: of the run.
        step: steps done before this one.
        share: examples of this process.
    """
    if accelerator.num_processes == 1 or config.compile:
        return nullcontext()
    # What is not joint has a stream of its own in each process.
    torch.manual_seed(derive_seed(config.seed, "noise of a process", step, accelerator.process_index))
    generator = torch.Generator(accelerator.device).manual_seed(derive_seed(config.seed, "noise", step, 0))
    return JointNoise(generator, accelerator.num_processes, accelerator.process_index, share)


class JointNoise(TorchFunctionMode):
    """Draws of ``[share, ...]`` become this process's rows of one draw of ``[processes * share, ...]``.

    Every process makes the whole draw from an equal generator, so that they agree without a message. It serves
    ``randn_like``, ``rand_like``, ``torch.normal``, ``torch.bernoulli``, the methods that fill a tensor, and what is
    made of them, such as ``rsample`` of a distribution. All else comes from the global generator: draws with another
    leading axis, ``torch.randn``, dropout; and draws in activation checkpointing, which have to be equal when they are
    repeated.

    Args:
        generator: equal in all processes; on the device of the draws.
        processes: of the run.
        index: of this process.
        share: examples of each process.
    """

    def __init__(self, generator: torch.Generator, processes: int, index: int, share: int) -> None:
        super().__init__()
        self._generator = generator
        self._processes = processes
        self._share = share
        self._rows = slice(index * share, (index + 1) * share)

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call ``func``, or draw what it would draw."""
        kwargs = kwargs or {}
        if not (func in _FILLS or func in _LIKE or func in _OF_PARAMETERS) or not self._applies(args, kwargs):
            return func(*args, **kwargs)
        if func in _OF_PARAMETERS:
            return self._draw(func, *args, **kwargs).clone()
        if func in _LIKE:
            like = torch.empty_like(args[0], **kwargs)
            return like.copy_(self._draw(_LIKE[func], like))
        return args[0].copy_(self._draw(func, *args, **kwargs))

    def _applies(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        of_examples = bool(args) and self._one_an_example(args[0])
        return of_examples and kwargs.get("generator") is None and "out" not in kwargs and not _is_repeated()

    def _one_an_example(self, value: object) -> bool:
        return isinstance(value, Tensor) and value.shape[:1] == (self._share,)

    def _draw(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        whole = [torch.cat([a.detach()] * self._processes) if self._one_an_example(a) else a for a in args]
        drawn: Tensor = func(*whole, **kwargs, generator=self._generator)
        return drawn[self._rows]


def _is_repeated() -> bool:
    """Return whether activation checkpointing may run this again: it hooks saved tensors, or stops autograd."""
    try:
        with torch.autograd.graph.disable_saved_tensors_hooks("looking for hooks"):
            return not torch.is_grad_enabled()
    except RuntimeError:
        return True
