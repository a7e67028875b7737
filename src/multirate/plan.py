"""What a conversion would do: which layers get a gate, where the gate sits, and why the others get none."""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from multirate.errors import ConversionError
from multirate.latents import Name, find_latents
from multirate.layers import NORMALIZING, RECURRENT, WEIGHTED, copied, kind_of
from multirate.maps import FEATURES
from multirate.response import GATES, RESPONSES, Slot
from multirate.seeding import seeded

Patterns: TypeAlias = str | Sequence[str]

ENCODER_NAMES = ("encoder", "enc", "encoder_net", "encoder_network", "z_encoder", "inference_net", "q_net", "g_a")
DECODER_NAMES = ("decoder", "dec", "decoder_net", "decoder_network", "generator", "generative_net", "p_net", "g_s")
_INDIVISIBLE = (nn.MultiheadAttention,)
_LONE_NORM = "a normalization that follows no gated layer"


@dataclass(frozen=True)
class GatedLayer:
    """One layer that gets gates.

    Args:
        name: the layer's path in the base.
        at: the path of the module whose output is gated: the layer, or the normalization that follows it.
        side: ``encoder``, ``decoder`` or ``latent``.
        type: the layer's class.
        gate: the gate function's name, or the kind of latent gate.
        channels: how many gates.
        shift: whether the gate also adds a shift.
        recurrent: whether the weights are gated, so that one call takes one beta.
    """

    name: str
    at: str
    side: str
    type: str
    gate: str
    channels: int
    shift: bool = False
    recurrent: bool = False

    @property
    def on_input(self) -> bool:
        """Whether the gates multiply the layer's input, not its output."""
        return self.gate == "latent input"

    @property
    def slot(self) -> Slot:
        """The layer as the response sees it."""
        return Slot(self.gate, self.channels, self.shift)


@dataclass(frozen=True)
class SkippedLayer:
    """One module with weights that gets no gate, and why."""

    name: str
    type: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """The layers that a conversion gates, and the modules with weights that it leaves alone.

    Args:
        gated: in the order in which the base registers them, then the places where latents are gated.
        skipped: every other module that owns parameters, with the reason.
        missing: a line for each part of the latents that the response would gate and that was not found.
    """

    gated: tuple[GatedLayer, ...]
    skipped: tuple[SkippedLayer, ...] = field(default=())
    missing: tuple[str, ...] = field(default=())

    @property
    def latents(self) -> int:
        """How many latents are gated."""
        sites = [layer for layer in self.gated if layer.side == "latent"]
        return 0 if not sites else sites[0].channels // (2 if sites[0].gate == "latent moments" else 1)

    @property
    def parameters(self) -> int:
        """How many parameters the response adds: two, or more if bent, for each map of each channel, one a latent."""
        layers = [layer for layer in self.gated if layer.side != "latent"]
        maps = (layer.channels * (2 if layer.shift else 1) * GATES[layer.gate].coefficients for layer in layers)
        hidden = 2 * FEATURES["mlp"] if any(GATES[layer.gate].bent == "mlp" for layer in layers) else 0
        return sum(maps) + hidden + self.latents

    @property
    def one_beta(self) -> bool:
        """Whether a call takes one beta for all examples, because a recurrent layer is gated."""
        return any(layer.recurrent for layer in self.gated)

    def __str__(self) -> str:
        rows = [("layer", "type", "side", "gate", "channels", "gated at")]
        rows += [(g.name, g.type, g.side, g.gate, str(g.channels), "" if g.at == g.name else g.at) for g in self.gated]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        layers = [g for g in self.gated if g.side != "latent"]
        channels = sum(g.channels for g in layers)
        latents = f", {self.latents:,} latents" if self.latents else ""
        lines.append(f"{len(layers)} layers gated, {channels:,} channels{latents}, {self.parameters:,} parameters more")
        lines += [f"without {missing}" for missing in self.missing]
        if self.skipped:
            lines.append("not gated:")
            lines += [f"  {s.name} ({s.type}): {s.reason}" for s in self.skipped]
        return "\n".join(lines)


def plan(
    base: nn.Module,
    *,
    encoder: Patterns | None = None,
    decoder: Patterns | None = None,
    mean: Name = None,
    log_variance: Name = None,
    latent_input: Name = None,
    ungated: Patterns = (),
    response: str | Mapping[str, str] = "default",
    example: Any = None,
) -> Plan:
    """Decide which layers of ``base`` get gates, without changing it.

    Every Linear, convolution, transposed convolution, LSTM and GRU inside the encoder and the decoder is gated at its
    output, before the nonlinearity; where a BatchNorm, GroupNorm, InstanceNorm or LayerNorm follows the layer, after
    that (Bae et al. 2023, appendix). What lies outside the two, usually the heads, the decoder's stem and its output
    layer, stays as it is, but for the latents: the default response gates them too, by one threshold each, where the
    posterior's heads and the layer that takes the latents are found (see :mod:`multirate.latents`). The plan says what
    was not found; that part is then left out.

    A pattern is the path of a submodule (``"net.encoder"``: all below it) or holds wildcards (``"blocks.*.conv1"``).

    Args:
        base: the VAE.
        encoder: patterns of encoder modules; by default any module called ``encoder``, ``enc``, ``z_encoder``, ...
        decoder: patterns of decoder modules; by default any module called ``decoder``, ``dec``, ``generator``, ...
        mean: path of the layer that gives the posterior's mean, found by common names; ``()`` leaves it ungated.
        log_variance: the same for its log-variance; the same path as ``mean`` if one layer gives both, means first.
        latent_input: the same for the layer whose input is the latents alone.
        ungated: patterns of modules inside these two that get no gate.
        response: ``default``, ``paper``, ``sigmoid``, ``film``, ``mlp`` or ``water-filling``; or a table of pattern to
            gate function (``sigmoid``, ``sqrt``, ``ramp``, ``film``, ``cubic``, ``mlp-sigmoid``, ``mlp-sqrt``), of
            which the first that matches counts;
            ``encoder`` and ``decoder`` in such a table also stand for the whole side, and ``"latents": "threshold"``
            gates the latents.
        example: an input of the base, a tensor or a tuple of arguments. With it the base is run once, on a copy, to see
            which layers are used and which normalization follows which layer. Without it a normalization follows a
            layer if it comes next in a ``Sequential``, or is registered next under a name that ends in the same number.

    Returns:
        The plan; ``print`` shows it.

    Raises:
        ConversionError: if a pattern matches nothing, a layer belongs to both sides or nothing can be gated.
    """
    table = _response_table(response)
    sides = _sides(base, encoder, decoder)
    left_out = set(_select(base, ungated, "ungated"))
    norms, called = (_registered_norms(base), None) if example is None else _traced_norms(base, example)
    chosen = {"mean": mean, "log_variance": log_variance, "latent_input": latent_input}
    latents = _latents(base, table, sides, chosen, left_out, norms)
    heads = {site.name for site in latents.gated if not site.on_input}
    gated: dict[str, GatedLayer] = {}
    skipped: list[SkippedLayer] = []
    for name, layer in _owners(base):
        if name in heads:
            continue
        at = norms.get(name, name)
        reason = _refusal(layer, name, sides, left_out, called) or _refusal_at(base.get_submodule(at), layer)
        if reason is None and at in gated:
            reason = f"gated together with {gated[at].name!r}, with which it shares {at!r}"
        if reason is None and len(sides[name]) > 1:
            raise ConversionError(f"layer {name!r} lies in both encoder and decoder; name them with encoder=, decoder=")
        if reason is None:
            side = next(iter(sides[name]))
            gated[at] = _gated_layer(base, name, at, side, _gate_name(table, name, side))
        else:
            skipped.append(SkippedLayer(name or "(root)", type(layer).__name__, reason))
    skipped = [layer for layer in skipped if layer.name not in gated]
    if not gated:
        raise ConversionError(_nothing_gated(base, skipped))
    return Plan((*gated.values(), *latents.gated), tuple(skipped), latents.missing)


def _latents(
    base: nn.Module,
    table: Mapping[str, str],
    sides: Mapping[str, set[str]],
    chosen: Mapping[str, Name],
    ungated: set[str],
    norms: Mapping[str, str],
) -> Plan:
    """Return the part of the plan that gates the latents."""
    if "latents" not in table:
        named = [f"{what}={name!r}" for what, name in chosen.items() if isinstance(name, str)]
        if named:
            raise ConversionError(f"{named[0]} has no use: this response does not gate the latents; drop it")
        return Plan(())
    found = find_latents(base, sides, **chosen, ungated=ungated, normalized=norms)
    sites = [(site, type(base.get_submodule(site.name)).__name__) for site in found.sites]
    gated = (GatedLayer(site.name, site.name, "latent", kind, site.gate, site.channels) for site, kind in sites)
    return Plan(tuple(gated), missing=found.missing)


def _gated_layer(base: nn.Module, name: str, at: str, side: str, gate: str) -> GatedLayer:
    layer, target = base.get_submodule(name), base.get_submodule(at)
    recurrent = kind_of(layer, RECURRENT)
    kind = recurrent or kind_of(layer, WEIGHTED)
    assert kind is not None
    shift = GATES[gate].shift and _has_bias(target)
    return GatedLayer(name, at, side, type(layer).__name__, gate, kind.channels(layer), shift, recurrent is not None)


def _response_table(response: str | Mapping[str, str]) -> Mapping[str, str]:
    if isinstance(response, str):
        if response not in RESPONSES:
            raise ConversionError(f"no response {response!r}; choose one of {', '.join(RESPONSES)}")
        return RESPONSES[response]
    for pattern, gate in response.items():
        if pattern == "latents" and gate != "threshold":
            raise ConversionError(f"latents are gated by 'threshold'; got {gate!r}")
        if pattern != "latents" and gate not in GATES:
            raise ConversionError(f"no gate function {gate!r}; choose one of {', '.join(GATES)}")
    return response


def _gate_name(table: Mapping[str, str], name: str, side: str) -> str:
    for pattern, gate in table.items():
        if pattern != "latents" and (pattern == side or _matches(name, pattern)):
            return gate
    raise ConversionError(f"the response names no gate function for layer {name!r}; add a pattern for it, or {side!r}")


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}.*")


def _select(base: nn.Module, patterns: Patterns, what: str) -> Iterator[str]:
    """Yield the canonical name of every module that a pattern matches under any of its names."""
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    canonical = {module: name for name, module in base.named_modules()}
    for pattern in patterns:
        found = [module for name, module in _all_names(base) if _matches(name, pattern)]
        if not found:
            raise ConversionError(f"{what}={pattern!r} matches no submodule; there are: {_candidates(base)}")
        yield from (canonical[module] for module in found)


def _sides(base: nn.Module, encoder: Patterns | None, decoder: Patterns | None) -> dict[str, set[str]]:
    """Return the sides on which each module lies, by its canonical name."""
    canonical = {module: name for name, module in base.named_modules()}
    sides: dict[str, set[str]] = {}
    for side, patterns, defaults in (("encoder", encoder, ENCODER_NAMES), ("decoder", decoder, DECODER_NAMES)):
        if patterns is None:
            names = [canonical[m] for n, m in _all_names(base) if any(part in defaults for part in n.split("."))]
            if not names:
                raise ConversionError(
                    f"no submodule is called {side}; name it with {side}=... ({side}=() to gate none); "
                    f"there are: {_candidates(base)}"
                )
        else:
            names = list(_select(base, patterns, side))
        for name in names:
            sides.setdefault(name, set()).add(side)
    return sides


def _all_names(base: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every submodule under every name that it is registered under."""
    return ((name, module) for name, module in base.named_modules(remove_duplicate=False) if name)


def _owners(base: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module that owns parameters; what lies inside an indivisible one belongs to that one."""
    inside: list[str] = []
    for name, module in base.named_modules():
        if any(name.startswith(outer) for outer in inside):
            continue
        parametrized = hasattr(module, "parametrizations")
        indivisible = isinstance(module, _INDIVISIBLE)
        if indivisible or parametrized:
            inside.append(f"{name}." if indivisible else f"{name}.parametrizations.")
        if indivisible or parametrized or any(True for _ in module.parameters(recurse=False)):
            yield name, module


def _refusal(
    layer: nn.Module, name: str, sides: Mapping[str, set[str]], left_out: set[str], called: set[str] | None
) -> str | None:
    if name not in sides:
        return "outside encoder and decoder"
    if name in left_out:
        return "named in ungated"
    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        return "lazy: run the model once before converting it"
    if isinstance(layer, tuple(NORMALIZING)):
        return _LONE_NORM
    if kind_of(layer, WEIGHTED, RECURRENT) is None:
        if isinstance(layer, (*WEIGHTED, *RECURRENT)):
            return "it overrides the forward of its parent class, so that a fold might not be exact"
        return f"no rule for {type(layer).__name__}"
    if called is not None and name not in called:
        return "not called on the example"
    return None


def _refusal_at(target: nn.Module, layer: nn.Module) -> str | None:
    names = target._flat_weights_names if isinstance(target, nn.RNNBase) else ["weight", "bias"]
    if hasattr(target, "parametrizations") or any(name not in target._parameters for name in names):
        return "its weights are computed (weight norm, spectral norm, pruning); remove that first"
    if target._parameters[names[0]] is None:
        return f"a {type(target).__name__} without weights follows it, into which no gate can be folded"
    return None


def _has_bias(layer: nn.Module) -> bool:
    if isinstance(layer, tuple(RECURRENT)):
        return bool(layer.bias)
    return getattr(layer, "bias", None) is not None


def _norm_fits(layer: nn.Module, norm: nn.Module) -> bool:
    kind, norm_kind = kind_of(layer, WEIGHTED), kind_of(norm, NORMALIZING)
    return kind is not None and norm_kind is not None and kind.channels(layer) == norm_kind.channels(norm)


def _registered_norms(base: nn.Module) -> dict[str, str]:
    """Pair each layer with the normalization that is registered right after it, by what their names and place allow."""
    pairs: dict[str, str] = {}
    for prefix, parent in base.named_modules():
        children = [(name, child) for name, child in parent.named_children() if not isinstance(child, nn.Identity)]
        for (name, layer), (norm_name, norm) in pairwise(children):
            together = isinstance(parent, nn.Sequential) or _number(name) == _number(norm_name)
            if together and _norm_fits(layer, norm):
                pairs[f"{prefix}.{name}".lstrip(".")] = f"{prefix}.{norm_name}".lstrip(".")
    return pairs


def _number(name: str) -> str:
    return name[len(name.rstrip("0123456789")) :]


def _traced_norms(base: nn.Module, example: Any) -> tuple[dict[str, str], set[str]]:
    """Run a copy of the base once; see which modules run and which normalization takes which layer's very output."""
    probe = copied(base).eval()
    names = {module: name for name, module in probe.named_modules()}
    outputs: dict[int, tuple[Tensor, int, str]] = {}
    pairs: dict[str, str] = {}
    called: set[str] = set()

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        called.add(names[module])
        inputs = (*args, *kwargs.values())
        tensor, version, source = outputs.get(id(inputs[0]) if inputs else 0, (None, 0, ""))
        untouched = tensor is not None and tensor._version == version
        if untouched and _norm_fits(probe.get_submodule(source), module):
            pairs[source] = names[module]
        if isinstance(output, Tensor) and isinstance(module, tuple(WEIGHTED)):
            outputs[id(output)] = (output, output._version, names[module])

    for module in probe.modules():
        module.register_forward_hook(note, with_kwargs=True)
    arguments = example if isinstance(example, tuple) else (example,)
    run = getattr(probe, "terms", probe)
    with torch.no_grad(), seeded(0, "plan"):
        run(*arguments)
    return pairs, called


def _candidates(base: nn.Module) -> str:
    parents = {
        name.rpartition(".")[0] or name for name, layer in base.named_modules() if name and kind_of(layer) is not None
    }
    return ", ".join(sorted(parents)[:12]) or "none with weights"


def _nothing_gated(base: nn.Module, skipped: Sequence[SkippedLayer]) -> str:
    reasons = {layer.reason for layer in skipped} - {"outside encoder and decoder"}
    why = f" ({'; '.join(sorted(reasons)[:3])})" if reasons else ""
    return f"nothing to gate{why}; name the submodules with encoder=... and decoder=...; there are: {_candidates(base)}"
