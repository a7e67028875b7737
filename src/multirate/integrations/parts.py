"""The functions of a model that are exported: encoder, decoder and reconstruction, as modules of tensors alone."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from multirate.beta import BetaRange
from multirate.errors import ConversionError, UsageError
from multirate.fold import fold
from multirate.inference import at, base_of, inference, like_parameters
from multirate.models.decoding import PAD, START
from multirate.models.lstm_vae import LSTMVAE
from multirate.saving import built_in
from multirate.seeding import seeded
from multirate.terms import gaussian_kl
from multirate.wrapper import MultiRate

BATCH = "batch"
_POSTERIOR = ("mean", "log_variance")
_RATES = ("rate", "latent_rate")
_STATE = ("hidden", "cell", "latent_part")
_SAME_RATE = 1e-3
# As a range of beta has it: float32(0.01) is a little below 0.01.
_EDGE = 1e-6


@dataclass(frozen=True)
class Part:
    """One function of a model, with a name for everything that goes in and comes out.

    Args:
        name: of the file, without its ending.
        module: called with the inputs in their order; returns a tuple of tensors, one row an example.
        inputs: name to an example of at least two rows.
        outputs: names.
        dynamic: of an input, the axes that may have another size, by axis the name of the size.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    dynamic: Mapping[str, Mapping[int, str]]

    def description(self) -> dict[str, Any]:
        """Return inputs with their shapes, dynamic axes by name, and the names of the outputs; JSON-able."""
        shapes = {
            name: [self.dynamic.get(name, {}).get(axis, size) for axis, size in enumerate(x.shape)]
            for name, x in self.inputs.items()
        }
        return {"inputs": shapes, "outputs": list(self.outputs)}


class AtBeta(nn.Module):
    """A function of a model that holds beta, its last input, while it runs.

    Exported, beta is a tensor that nobody checks. Here rows whose beta is outside the model's range, not a number or
    not positive come out as NaN, in every output: nothing is extrapolated in silence.

    Args:
        model: plain or multi-rate.
        compute: of the base and the inputs without beta; a tuple of tensors, one row an example.
    """

    def __init__(self, model: nn.Module, compute: Callable[..., tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.model = model
        self.compute = compute

    def __str__(self) -> str:
        return f"{self.compute.__name__.removeprefix('_')} of {type(base_of(self.model)).__name__}"

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs; the last input of a multi-rate model is beta, ``[B]`` or ``[1]``."""
        if not isinstance(self.model, MultiRate):
            return self.compute(self.model, *inputs)
        beta = inputs[-1]
        inside = _inside(beta, self.model.beta_range)
        # Whatever comes out of a row at another beta is thrown away: there is no need to compute it with one.
        with self.model.at(torch.where(inside, beta, self.model.beta_range.low)):
            outputs = self.compute(self.model.base, *inputs[:-1])
        return tuple(torch.where(inside.reshape(-1, *[1] * (out.ndim - 1)), out, torch.nan) for out in outputs)


def parts_of(model: nn.Module, example: Tensor) -> tuple[Part, ...]:
    """Return the functions of a model that make sense without it.

    A model with ``encode(x) -> posterior`` and ``decode(z) -> likelihood``, both of ``torch.distributions``, the
    posterior a diagonal Gaussian, gives ``encoder`` (mean, log-variance, and where it is the model's own, rate),
    ``decoder`` (mean of the likelihood) and ``reconstruction`` (the decoder at the posterior's mean). The sentence VAE
    gives ``encoder``, ``decoder_start`` and ``decoder_step``; any other model its ``forward``, as ``model``.

    Beta is the last input of a multi-rate model: one an example, ``[B]``; where a recurrent layer is gated, ``[1]``.

    Args:
        model: plain or multi-rate.
        example: data, ``[B, ...]``, as the model takes them.

    Returns:
        The parts, in the order of the data.

    Raises:
        UsageError: if the example is empty.
        ConversionError: if the model has no part that could be exported.
    """
    if example.ndim == 0 or example.shape[0] == 0:
        raise UsageError(f"example must be a batch of data, [B, ...]; got shape {list(example.shape)}")
    x = like_parameters(example, model)
    x = torch.cat([x, x]) if x.shape[0] == 1 else x
    with inference(model), seeded(0, "export"):
        if isinstance(base_of(model), LSTMVAE):
            return _of_sentences(model, x)
        if _speaks_of_distributions(model, x):
            return _of_gaussian(model, x)
        return (_of_forward(model, x),)


def plain_at(model: nn.Module, beta: float | None) -> nn.Module:
    """Return the folded model where a beta is given, else the model itself.

    Raises:
        UsageError: if a beta is asked of a plain model.
        BetaError: if it is outside the range.
    """
    if beta is None:
        return model
    if not isinstance(model, MultiRate):
        raise UsageError(f"a {type(model).__name__} is plain, of one beta already: leave beta={beta:g} out")
    return fold(model, beta)


def about(model: nn.Module, beta: float | None) -> dict[str, Any]:
    """Return what an exported model's user should know of it: class, range of beta, likelihood, shapes; JSON-able.

    Args:
        model: plain or multi-rate.
        beta: at which it is folded.
    """
    base = base_of(model)
    name, _ = built_in(base)
    facts: dict[str, Any] = {"model": name or type(base).__name__, "units": "nats per example"}
    if isinstance(model, MultiRate) and beta is None:
        span = model.beta_range
        facts["beta_range"] = {"low": span.low, "high": span.high, "reach": span.reach, "weighs": span.weighs}
        facts["beta_outside"] = "NaN"
    elif isinstance(model, MultiRate):
        facts["beta"] = beta
    for key in ("likelihood", "latents", "shape"):
        value = getattr(base, key, None)
        if isinstance(value, str | int):
            facts[key] = value
        elif isinstance(value, tuple) and all(isinstance(size, int) for size in value):
            facts[key] = list(value)
    return facts


def one_beta_a_call(model: nn.Module) -> bool:
    """Return whether a gated layer is recurrent: it gates its weights, which examples share."""
    return isinstance(model, MultiRate) and any(
        isinstance(model.base.get_submodule(layer.at), nn.RNNBase) for layer in model.plan.gated
    )


def _part(
    name: str,
    model: nn.Module,
    compute: Callable[..., tuple[Tensor, ...]],
    inputs: dict[str, Tensor],
    outputs: tuple[str, ...],
    *,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
) -> Part:
    """Make a part, with beta as its last input if the model is multi-rate; every other input has a row an example."""
    axes = {key: {0: BATCH} for key in inputs} | dict(dynamic or {})
    module = AtBeta(model, compute).eval()
    if isinstance(module.model, MultiRate):
        rows = 1 if one_beta_a_call(model) else next(iter(inputs.values())).shape[0]
        inputs = {**inputs, "beta": _betas(module.model, rows)}
        axes |= {} if rows == 1 else {"beta": {0: BATCH}}
    return Part(name, module, inputs, outputs, axes)


def _betas(model: MultiRate, rows: int) -> Tensor:
    weight = model.response.weight
    low, high = model.beta_range.low, model.beta_range.high
    middle = torch.tensor([(low * high) ** 0.5]) if rows == 1 else model.beta_range.grid(rows)
    return middle.to(weight.device, torch.promote_types(weight.dtype, torch.float32))


def _inside(beta: Tensor, beta_range: BetaRange) -> Tensor:
    least, most = (end(beta_range.low, beta_range.high, beta_range.reach) for end in (min, max))
    return (beta >= least * (1 - _EDGE)) & (beta <= most * (1 + _EDGE))


def _encode(base: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    posterior = base.encode(x)
    return posterior.mean, 2 * posterior.stddev.log()


def _encode_with_rates(base: Any, x: Tensor) -> tuple[Tensor, ...]:
    mean, log_variance = _encode(base, x)
    latent_rate = gaussian_kl(mean, log_variance)
    return mean, log_variance, latent_rate.flatten(1).sum(1), latent_rate


def _decode(base: Any, z: Tensor) -> tuple[Tensor]:
    likelihood = base.decode(z)
    return (likelihood if isinstance(likelihood, Tensor) else likelihood.mean,)


def _reconstruct(base: Any, x: Tensor) -> tuple[Tensor]:
    return _decode(base, base.encode(x).mean)


def _forward(base: Any, x: Tensor) -> tuple[Tensor, ...]:
    output = base(x)
    return (output,) if isinstance(output, Tensor) else tuple(output)


def _encode_words(base: Any, words: Tensor) -> tuple[Tensor, ...]:
    """Return what :func:`_encode_with_rates` does, for sentences with their padding: packing depends on the data."""
    outputs, _ = base.encoder.lstm(base.encoder.embedding(words))
    end = (words != PAD).sum(1) - 1
    features = outputs.gather(1, end[:, None, None].expand(-1, 1, outputs.shape[2]))[:, 0]
    mean, log_variance = base.mean(features), base.log_variance(features)
    latent_rate = gaussian_kl(mean, log_variance)
    return mean, log_variance, latent_rate.sum(1), latent_rate


def _start(base: Any, z: Tensor) -> tuple[Tensor, ...]:
    hidden, cell, latent_part = base.initial_state(z)
    return hidden, cell, latent_part


def _step(base: Any, word: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
    logits, (hidden, cell, _) = base.step(word, state)
    return logits, hidden, cell


def _at_some_beta(model: nn.Module) -> AbstractContextManager[object]:
    return at(model, float(_betas(model, 1)[0]) if isinstance(model, MultiRate) else None)


def _is_diagonal_gaussian(posterior: object) -> bool:
    while isinstance(posterior, Independent):
        posterior = posterior.base_dist
    return isinstance(posterior, Normal)


def _speaks_of_distributions(model: nn.Module, x: Tensor) -> bool:
    base: Any = base_of(model)
    if not (callable(getattr(base, "encode", None)) and callable(getattr(base, "decode", None))):
        return False
    with _at_some_beta(model):
        posterior = base.encode(x)
        return _is_diagonal_gaussian(posterior) and isinstance(base.decode(posterior.mean), Distribution | Tensor)


def _posterior_has_the_rate(model: nn.Module, x: Tensor) -> bool:
    """Return whether the rate that the model trains with is the posterior's divergence from the standard normal."""
    base: Any = base_of(model)
    if not callable(getattr(base, "terms", None)):
        return False
    with _at_some_beta(model):
        rate = _encode_with_rates(base, x)[2]
        return torch.allclose(base.terms(x).rate.to(rate), rate, rtol=_SAME_RATE, atol=_SAME_RATE)


def _of_gaussian(model: nn.Module, x: Tensor) -> tuple[Part, ...]:
    base: Any = base_of(model)
    with _at_some_beta(model):
        z = torch.randn_like(base.encode(x).mean)
    rated = _posterior_has_the_rate(model, x)
    encode, outputs = (_encode_with_rates, _POSTERIOR + _RATES) if rated else (_encode, _POSTERIOR)
    return (
        _part("encoder", model, encode, {"x": x}, outputs),
        _part("decoder", model, _decode, {"z": z}, ("mean",)),
        _part("reconstruction", model, _reconstruct, {"x": x}, ("mean",)),
    )


def _of_sentences(model: nn.Module, x: Tensor) -> tuple[Part, ...]:
    base: Any = base_of(model)
    z = base.mean.weight.new_zeros(x.shape[0], base.latents)
    with _at_some_beta(model):
        state = {name: part.contiguous() for name, part in zip(_STATE, base.initial_state(z), strict=True)}
    words = torch.full((x.shape[0],), START, device=x.device)
    return (
        _part("encoder", model, _encode_words, {"x": x}, _POSTERIOR + _RATES),
        _part("decoder_start", model, _start, {"z": z}, _STATE),
        _part("decoder_step", model, _step, {"word": words, **state}, ("logits", "next_hidden", "next_cell")),
    )


def _of_forward(model: nn.Module, x: Tensor) -> Part:
    base = base_of(model)
    try:
        with _at_some_beta(model):
            outputs = _forward(base, x)
    except TypeError as error:
        raise ConversionError(
            f"{type(base).__name__} cannot be called with one batch of data alone: {error}"
        ) from error
    for output in outputs:
        right = isinstance(output, Tensor) and output.is_floating_point() and output.shape[:1] == x.shape[:1]
        if not right:
            found = f"{output.dtype} {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise ConversionError(
                f"{type(base).__name__}.forward returns {found} for {x.shape[0]} examples; to be exported it returns "
                "floating tensors with a row an example, or the model has encode(x) and decode(z) of distributions"
            )
    names = ("output",) if len(outputs) == 1 else tuple(f"output_{i}" for i in range(len(outputs)))
    return _part("model", model, _forward, {"x": x}, names)
