"""Find where a VAE's latents are made and used: the posterior's heads and the layer that takes the latents."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn

from multirate.errors import ConversionError
from multirate.layers import WEIGHTED, kind_of

# What names a module: a path, or none on purpose (an empty tuple).
Name: TypeAlias = str | tuple[()] | None

MEAN_NAMES = (
    *("mean", "mu", "means", "z_mean", "z_mu", "fc_mean", "fc_mu", "mean_head", "mu_head", "to_mean", "to_mu"),
    *("mean_encoder", "mean_layer", "mu_layer", "embedding", "encoder_mean", "encoder_mu", "latent_mean", "linear_mu"),
)
LOG_VARIANCE_NAMES = (
    *("log_variance", "log_var", "logvar", "logvars", "z_log_var", "z_logvar", "fc_log_variance", "fc_log_var"),
    *("fc_logvar", "fc_var", "log_var_head", "logvar_head", "to_log_var", "to_logvar", "var_encoder", "logvar_layer"),
    *("log_var_layer", "encoder_log_var", "encoder_logvar", "latent_log_variance", "linear_logvar", "log_covariance"),
)
INPUT_NAMES = (
    *("stem", "decoder_input", "decoder_in", "decoder_fc", "fc_decode", "fc_decoder", "from_latent", "from_z"),
    *("latent_to_hidden", "latent_to_features", "post_quant_conv", "z_to_hidden", "fc_z", "decoder_stem"),
)
_OFF = "left out"


@dataclass(frozen=True)
class LatentSite:
    """One place where latents are gated.

    Args:
        name: the layer's path.
        gate: one of :data:`multirate.response.LATENT_GATES`.
        channels: how many gates it takes: as many as there are latents, twice that for moments.
    """

    name: str
    gate: str
    channels: int


@dataclass(frozen=True)
class LatentSites:
    """All places where latents are gated, and a line for each part that is not.

    Args:
        sites: at most one for the mean, one for the log-variance (or one for both) and one for the decoder's input.
        missing: why each missing part is not gated.
    """

    sites: tuple[LatentSite, ...] = ()
    missing: tuple[str, ...] = ()


def find_latents(
    base: nn.Module,
    decoder: Sequence[str],
    *,
    mean: Name = None,
    log_variance: Name = None,
    latent_input: Name = None,
    excluded: Sequence[str] = (),
) -> LatentSites:
    """Find the layers that make and take the latents, by the names given or by common ones.

    A name may be a module's path; of a container the last weighted layer counts. The same layer named as mean and as
    log-variance gives both, the means first. By default the heads are the only modules called ``mean``, ``fc_mu``, ...
    and ``log_variance``, ``logvar``, ..., or a lone ``quant_conv``; the decoder's input is the module called ``stem``,
    ``decoder_input``, ..., else the decoder's first layer, if it takes as many channels as there are latents.

    Args:
        base: the VAE.
        decoder: paths of the modules on the decoder's side, in order.
        mean: path of the layer that gives the posterior's mean; ``()`` for none.
        log_variance: path of the layer that gives the log-variance (of sigma squared); ``()`` for none.
        latent_input: path of the layer whose input is the latents alone; ``()`` for none.
        excluded: paths of layers that must get no gate.

    Returns:
        What was found.

    Raises:
        ConversionError: if a name that was given is no layer that can be gated so.
    """
    missing: list[str] = []
    heads = _heads(base, mean, log_variance, excluded, missing)
    latents = {site.channels // (2 if site.gate == "latent moments" else 1) for site in heads}
    if len(latents) > 1:
        raise ConversionError(
            "the heads of mean and log-variance differ in width: "
            + ", ".join(f"{site.name!r} has {site.channels}" for site in heads)
        )
    found = _input(base, decoder, latent_input, latents, excluded, missing)
    return LatentSites((*heads, *found), tuple(missing))


def _heads(
    base: nn.Module, mean: Name, log_variance: Name, excluded: Sequence[str], missing: list[str]
) -> list[LatentSite]:
    if mean is None and log_variance is None:
        both = _called(base, MEAN_NAMES), _called(base, LOG_VARIANCE_NAMES)
        joint = _called(base, ("quant_conv", "moments", "to_moments", "fc_moments"))
        if not any(both) and len(joint) == 1:
            mean = log_variance = joint[0]
    names = {
        "latent mean": _resolve(base, mean, MEAN_NAMES, "mean", missing),
        "latent log-variance": _resolve(base, log_variance, LOG_VARIANCE_NAMES, "log_variance", missing),
    }
    if names["latent mean"] is not None and names["latent mean"] == names["latent log-variance"]:
        names = {"latent moments": names["latent mean"]}
    sites = []
    for gate, name in names.items():
        if name is None:
            continue
        layer = base.get_submodule(name)
        kind = kind_of(layer, WEIGHTED)
        reason = _refusal(layer, name, excluded)
        if reason is None and gate != "latent mean" and getattr(layer, "bias", None) is None:
            reason = "has no bias, into which its shift could be folded"
        if reason is not None or kind is None:
            missing.append(f"{gate}: {name!r} {reason}")
            continue
        sites.append(LatentSite(name, gate, kind.channels(layer)))
    return sites


def _input(
    base: nn.Module,
    decoder: Sequence[str],
    latent_input: Name,
    latents: set[int],
    excluded: Sequence[str],
    missing: list[str],
) -> list[LatentSite]:
    if latent_input == ():
        missing.append(f"latent input: {_OFF}")
        return []
    if isinstance(latent_input, str):
        _check_path(base, "latent_input", latent_input)
        candidates = [latent_input]
    else:
        candidates = _called(base, INPUT_NAMES)
        candidates += [name for name in decoder if kind_of(base.get_submodule(name), WEIGHTED) is not None][:1]
    for candidate in candidates:
        name = _first_layer(base, candidate)
        kind = None if name is None else kind_of(base.get_submodule(name), WEIGHTED)
        if name is None or kind is None or _refusal(base.get_submodule(name), name, excluded) is not None:
            continue
        channels = kind.inputs(base.get_submodule(name))
        if channels and channels in (latents or {channels if isinstance(latent_input, str) else 0}):
            return [LatentSite(name, "latent input", channels)]
    if isinstance(latent_input, str):
        raise ConversionError(
            f"latent_input={latent_input!r} is no layer whose input is the latents alone"
            + (f", {next(iter(latents))} channels" if latents else "")
        )
    missing.append("latent input: no layer was found that takes the latents alone; name it with latent_input=...")
    return []


def _check_path(base: nn.Module, what: str, name: str) -> None:
    if name not in dict(base.named_modules()):
        raise ConversionError(f"{what}={name!r} names no submodule")


def _resolve(base: nn.Module, given: Name, names: Sequence[str], what: str, missing: list[str]) -> str | None:
    """Return the path of the weighted layer that a head's name stands for."""
    label = "latent " + what.replace("_", "-")
    if given == ():
        missing.append(f"{label}: {_OFF}")
        return None
    if isinstance(given, str):
        _check_path(base, what, given)
        layer = _last_layer(base, given)
        if layer is None:
            raise ConversionError(f"{what}={given!r} holds no layer that can be gated")
        return layer
    found = [layer for layer in (_last_layer(base, name) for name in _called(base, names)) if layer is not None]
    if len(found) == 1:
        return found[0]
    if found:
        missing.append(f"{label}: several modules could be it ({', '.join(found[:4])}); name it with {what}=...")
    else:
        missing.append(f"{label}: no layer is called {', '.join(names[:3])}, ...; name it with {what}=...")
    return None


def _called(base: nn.Module, names: Sequence[str]) -> list[str]:
    return [name for name, _ in base.named_modules() if name.rpartition(".")[2] in names]


def _layers(base: nn.Module, name: str) -> Iterator[str]:
    for path, module in base.get_submodule(name).named_modules():
        if kind_of(module, WEIGHTED) is not None:
            yield f"{name}.{path}".rstrip(".")


def _last_layer(base: nn.Module, name: str) -> str | None:
    return next(iter(reversed(list(_layers(base, name)))), None)


def _first_layer(base: nn.Module, name: str) -> str | None:
    return next(_layers(base, name), None)


def _refusal(layer: nn.Module, name: str, excluded: Sequence[str]) -> str | None:
    if name in excluded:
        return "is named in ungated"
    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        return "is lazy: run the model once before converting it"
    if hasattr(layer, "parametrizations") or "weight" not in layer._parameters:
        return "has computed weights (weight norm, spectral norm, pruning); remove that first"
    return None
