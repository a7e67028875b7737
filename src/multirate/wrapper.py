"""The multi-rate model: a base module left as it was, a response, and hooks that carry its gates to the layers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multirate.beta import BetaLike, BetaRange
from multirate.errors import BetaError, ConversionError
from multirate.layers import (
    NORMALIZING,
    WEIGHTED,
    apply_gate,
    gated_recurrent_weights,
    kind_of,
    scale_and_shift,
    spread_gate,
)
from multirate.maps import plain_eager, without_autocast
from multirate.plan import GatedLayer, Plan
from multirate.rectified import LastGated, hook_nonlinearities
from multirate.response import Gate, Response
from multirate.saving import save


class ActiveGates(threading.local):
    """The gates of the call in progress, one set a thread; empty between calls."""

    def __init__(self) -> None:  # run once in each thread
        self.gates: tuple[Gate, ...] | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return ActiveGates, ()

    def of(self, index: int, name: str) -> Gate:
        """Return the gate of one layer, or raise if no call with a beta is in progress."""
        if self.gates is None:
            raise BetaError(
                f"layer {name!r} is gated and no beta is set: call model(x, beta=...) or use `with model.at(beta):`"
            )
        return self.gates[index]


class OwnLock:
    """A lock that one thread may take again, and of which every copy of its owner makes its own."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return OwnLock, ()


class GateHook:
    """Forward hook of a feed-forward layer: gates its output."""

    def __init__(self, active: ActiveGates, last: LastGated, index: int, axis: int, name: str) -> None:
        self.active, self.last, self.index, self.axis, self.name = active, last, index, axis, name

    def __call__(self, layer: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Return the gated output."""
        gate = spread_gate(self.active.of(self.index, self.name), output, self.axis, self.name)
        if not plain_eager():
            return scale_and_shift(output, gate)
        alone = len(layer._forward_hooks) == 1 and not output._is_view()  # fresh, and nobody else has seen it
        if not torch.is_grad_enabled() and alone and gate.scale.shape[0] in (1, output.shape[0]):
            return scale_and_shift(output, gate, out=output)
        gated = scale_and_shift(output, gate)
        if torch.is_grad_enabled() and output.ndim > 2 and output.dtype in (torch.float32, torch.float64):
            self.last.note(gated, output, gate)
        return gated


class InputHook:
    """Forward pre-hook of the layer that takes the latents: gates its input."""

    def __init__(self, active: ActiveGates, index: int, axis: int, name: str) -> None:
        self.active, self.index, self.axis, self.name = active, index, axis, name

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the arguments with the layer's input gated."""
        gate = self.active.of(self.index, self.name)
        if args:
            return (apply_gate(args[0], gate, self.axis, self.name), *args[1:]), kwargs
        return args, {**kwargs, "input": apply_gate(kwargs["input"], gate, self.axis, self.name)}


class RecurrentHook:
    """Pair of hooks of an LSTM or GRU: its weights are gated while it runs.

    One call at a time: the layer reads its weights from one list, which a second thread waits to replace.
    """

    def __init__(self, active: ActiveGates, index: int, name: str) -> None:
        self.active, self.index, self.name = active, index, name
        self.lock = threading.Lock()
        self._owner: int | None = None
        self._saved: list[Tensor] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"active": self.active, "index": self.index, "name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # a lock cannot be copied: a copy makes its own

    def before(self, layer: Any, args: Any) -> None:
        """Put gated weights in place of the layer's own."""
        gate = self.active.of(self.index, self.name)
        if gate.scale.shape[0] != 1:
            raise BetaError(
                f"{type(layer).__name__} {self.name!r} gates its weights, one beta a call; got {gate.scale.shape[0]}: "
                "pass one number"
            )
        row = Gate(gate.scale[0], None if gate.shift is None else gate.shift[0])
        weights = [value.to(getattr(layer, name).dtype) for name, value in gated_recurrent_weights(layer, row)]
        self.lock.acquire()
        layer._update_flat_weights()  # else the layer does so during the call, after a copy, and drops the gated ones
        self._owner, self._saved, layer._flat_weights = threading.get_ident(), layer._flat_weights, weights

    def after(self, layer: Any, args: Any, output: Any) -> None:
        """Give the layer its own weights back, also after an error."""
        if self._owner == threading.get_ident():
            layer._flat_weights, self._saved, self._owner = self._saved, [], None
            self.lock.release()


def _check_fit(base: nn.Module, plan: Plan) -> None:
    modules = dict(base.named_modules())
    for layer in plan.gated:
        target = modules.get(layer.at)
        if target is None or type(modules[layer.name]).__name__ != layer.type:
            raise ConversionError(
                f"the plan gates {layer.at!r} ({layer.type}), which this {type(base).__name__} has not"
            )
        kind = kind_of(target)
        channels = 0 if kind is None else kind.inputs(target) if layer.on_input else kind.channels(target)
        if channels != layer.channels:
            raise ConversionError(f"the plan has {layer.channels} gates for {layer.at!r}, which takes another number")


class MultiRate(nn.Module):
    r"""A VAE that serves every beta of a range: its base, and a response that gates the base's layers by beta.

    Each call names its beta, a number or one number an example (or its lambda, if that is what ``beta_range`` is of):

    - ``model(x, beta=0.5)`` runs the base's ``forward``;
    - ``model.terms(x, beta=betas)`` gives rate and distortion;
    - ``with model.at(0.5): model.base.encode(x)`` covers every other method.

    Nothing remembers the last beta. The base keeps its class, its attributes and, under ``base.``, its parameter names.
    Threads may use one model at once, each with its own beta, while others fold or evaluate it. Posterior samples come
    from torch's global generator, which is one for all threads: noise is repeatable in one of them at a time.

    Betas of ``[B]`` belong to the examples of the leading axis. Where a layer sees ``[B * T, ...]``, each example has T
    consecutive rows. Batch-second data ``[T, B, C]`` and stacked samples ``[K, B, Z]`` take one beta a call. A base
    that recomputes activations (``torch.utils.checkpoint``) needs ``with model.at(beta):`` around forward and backward.
    Compiled or exported, the model takes beta as a tensor, without recompiling for each value, and does not check it.

    Args:
        base: the VAE; hooks are added to its gated layers. :func:`multirate.convert` passes a copy.
        beta_range: the range of beta.
        plan: the layers to gate.

    Raises:
        ConversionError: if the plan does not fit the base.
    """

    def __init__(self, base: nn.Module, beta_range: BetaRange, plan: Plan) -> None:
        super().__init__()
        _check_fit(base, plan)
        reference = next((p for p in base.parameters() if p.is_floating_point()), torch.zeros(()))
        dtype = torch.promote_types(reference.dtype, torch.float32)
        self.base = base
        self.beta_range = beta_range
        self.plan = plan
        slots = [layer.slot for layer in plan.gated]
        self.response = Response(slots, beta_range, device=reference.device, dtype=dtype)
        self._active, self._last = ActiveGates(), LastGated()
        self._own_lock = OwnLock()
        self._recurrent: list[RecurrentHook] = []
        for index, layer in enumerate(plan.gated):
            self._hook(base.get_submodule(layer.at), index, layer)
        hook_nonlinearities(base, self._last)

    def _hook(self, target: nn.Module, index: int, layer: GatedLayer) -> None:
        kind, name = kind_of(target, WEIGHTED, NORMALIZING), layer.at
        if kind is not None and layer.on_input:
            hook = InputHook(self._active, index, kind.axis(target), name)
            target.register_forward_pre_hook(hook, with_kwargs=True)
        elif kind is not None:
            target.register_forward_hook(GateHook(self._active, self._last, index, kind.axis(target), name))
        else:
            recurrent = RecurrentHook(self._active, index, name)
            self._recurrent.append(recurrent)
            target.register_forward_pre_hook(recurrent.before)
            target.register_forward_hook(recurrent.after, always_call=True)

    def gates(self, beta: BetaLike | None) -> tuple[Gate, ...]:
        """Compute every gated layer's gate at ``beta``, in the plan's order.

        Args:
            beta: one number, or one an example, ``[B]``.

        Returns:
            Gates with scales and shifts of shape ``[1, C]`` or ``[B, C]``.

        Raises:
            BetaError: if beta is missing, not positive, not finite, of more than one axis or outside the range.
        """
        if not torch.compiler.is_compiling():
            self.beta_range.check(beta)
        weight = self.response.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        with without_autocast(weight.device.type):
            standardized = self.beta_range.standardize(torch.as_tensor(beta, dtype=dtype, device=weight.device))
            gates: tuple[Gate, ...] = self.response(standardized.to(weight.dtype))
        return gates

    @contextmanager
    def at(self, beta: BetaLike) -> Iterator["MultiRate"]:
        """Hold one beta for everything that runs in the block, in this thread, with gates computed once.

        Args:
            beta: one number, or one an example, ``[B]``.

        Yields:
            The model.

        Raises:
            BetaError: as :meth:`gates`.
        """
        before, self._active.gates = self._active.gates, self.gates(beta)
        try:
            yield self
        finally:
            self._active.gates, self._last.source = before, None

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Keep other threads from changing the base's layers within a block, in which it can be copied.

        A recurrent layer that runs holds gated weights in place of its own, and an evaluation gives its first layer a
        memory; a block waits for the first to end, and for the second to begin or end.
        """
        with ExitStack() as locks:
            locks.enter_context(self._own_lock.lock)
            for hook in self._recurrent:
                locks.enter_context(hook.lock)
            yield

    def forward(self, *args: Any, beta: BetaLike | None = None, **kwargs: Any) -> Any:
        """Run the base's ``forward`` at ``beta``.

        Args:
            *args: passed to the base.
            beta: one number, or one an example, ``[B]``; inside :meth:`at` it may be left out.
            **kwargs: passed to the base.

        Returns:
            What the base returns.

        Raises:
            BetaError: as :meth:`gates`.
        """
        return self._call(self.base, beta, args, kwargs)

    def terms(self, *args: Any, beta: BetaLike | None = None, **kwargs: Any) -> Any:
        """Compute the base's rate and distortion at ``beta``.

        Args:
            *args: passed to the base's ``terms``, first the batch ``[B, ...]``.
            beta: one number, or one an example, ``[B]``; inside :meth:`at` it may be left out.
            **kwargs: passed to the base's ``terms``.

        Returns:
            :class:`multirate.Terms`, in nats per example.

        Raises:
            BetaError: as :meth:`gates`.
            ConversionError: if the base has no ``terms``.
        """
        terms = getattr(self.base, "terms", None)
        if terms is None:
            raise ConversionError(
                f"{type(self.base).__name__} has no method terms(x); "
                "add one that returns multirate.Terms(rate, distortion)"
            )
        return self._call(terms, beta, args, kwargs)

    def _call(
        self, function: Callable[..., Any], beta: BetaLike | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        before = self._active.gates
        if beta is None and before is not None:
            return function(*args, **kwargs)
        gates = self.gates(beta)
        betas = gates[0].scale.shape[0]
        if betas != 1 and args and isinstance(args[0], Tensor) and args[0].shape[:1] != (betas,):
            raise BetaError(f"{betas} betas for data of shape {list(args[0].shape)}; pass one beta, or one an example")
        self._active.gates = gates
        try:
            return function(*args, **kwargs)
        finally:
            self._active.gates, self._last.source = before, None

    def save(self, folder: str | Path, extra: dict[str, Any] | None = None) -> Path:
        """Write the model as safetensors and JSON; :func:`multirate.load` reads it back.

        Args:
            folder: made if it is missing.
            extra: JSON-able facts to keep with it.

        Returns:
            The folder.

        Raises:
            DataError: if the folder cannot be written.
        """
        return save(self, folder, extra)

    def _multirate_description(self) -> dict[str, Any]:
        """Return what, beside the tensors, is needed to make the model again from its base; JSON-able."""
        layers = [asdict(layer) for layer in self.plan.gated]
        described = asdict(self.beta_range)
        if described["weighs"] == "rate":  # the files of such models stay what older versions read
            del described["weighs"]
        return {"beta_range": described, "gated": layers}


def terms_at(model: nn.Module, x: Tensor, beta: float | Tensor | None) -> Any:
    """Return a plain model's terms, or a multi-rate model's at ``beta``.

    Args:
        model: plain or multi-rate.
        x: data, ``[B, ...]``.
        beta: one number, or one an example; a plain model does not see it.
    """
    call: Any = model.terms
    return call(x, beta=beta) if isinstance(model, MultiRate) else call(x)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run a block in evaluation mode, then put each of the model's modules back to the mode that it had.

    Args:
        model: any module; modules that were frozen in another mode than the rest stay so afterwards.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
