"""Find where a VAE's latents are made and used: the posterior's heads and the layer that takes the latents."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from torch import nn

from multirate.errors import ConversionError
from multirate.layers import WEIGHTED, kind_of

# What names a module: a path, or none on purpose (an empty tuple).
Name: TypeAlias = str | tuple[()] | None

MEAN_NAMES = (
    *("mean", "mu", "means", "z_mean", "z_mu", "fc_mean", "fc_mu", "mean_head", "mu_head", "to_mean", "to_mu"),
    *("mean_encoder", "mean_layer", "mu_layer", "encoder_mean", "encoder_mu", "latent_mean", "linear_mu"),
)
# Also the name of other things, so taken only where no other name is found.
LAST_MEAN_NAMES = ("embedding",)
LOG_VARIANCE_NAMES = (
    *("log_variance", "log_var", "logvar", "logvars", "z_log_var", "z_logvar", "fc_log_variance", "fc_log_var"),
    *("fc_logvar", "fc_var", "log_var_head", "logvar_head", "to_log_var", "to_logvar", "var_encoder", "logvar_layer"),
    *("log_var_layer", "encoder_log_var", "encoder_logvar", "latent_log_variance", "linear_logvar", "log_covariance"),
)
INPUT_NAMES = (
    *("stem", "decoder_input", "decoder_in", "decoder_fc", "fc_decode", "fc_decoder", "from_latent", "from_z"),
    *("latent_to_hidden", "latent_to_features", "post_quant_conv", "z_to_hidden", "fc_z", "decoder_stem"),
)
JOINT_NAMES = ("quant_conv", "moments", "to_moments", "fc_moments")
_OFF = "left out"
# What may come after a head's last layer in its container.
_SHAPING = (nn.Identity, nn.Flatten, nn.Unflatten)


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
    sides: Mapping[str, Collection[str]],
    *,
    mean: Name = None,
    log_variance: Name = None,
    latent_input: Name = None,
    ungated: Collection[str] = (),
    normalized: Collection[str] = (),
) -> LatentSites:
    """Find the layers that make and take the latents, by the names given or by common ones.

    A name may be a module's path; of a container the last weighted layer counts. The same layer named as mean and as
    log-variance gives both, the means first. By default the heads are the only modules called ``mean``, ``fc_mu``, ...
    and ``log_variance``, ``logvar``, ..., or a lone ``quant_conv``; the decoder's input is the module called ``stem``,
    ``decoder_input``, ..., else the decoder's first layer, if it takes as many channels as there are latents.

    Args:
        base: the VAE.
        sides: for each module of encoder and decoder, by path and in order, the sides on which it lies.
        mean: path of the layer that gives the posterior's mean; ``()`` for none.
        log_variance: path of the layer that gives the log-variance (of sigma squared); ``()`` for none.
        latent_input: path of the layer whose input is the latents alone; ``()`` for none.
        ungated: paths of layers that must get no gate.
        normalized: paths of layers that a normalization follows.

    Returns:
        What was found.

    Raises:
        ConversionError: if a name that was given is no layer that can be gated so.
    """
    search = _Search(base, {"encoder": [], "decoder": []}, frozenset(ungated), frozenset(normalized), [])
    for name, where in sides.items():
        for side in where:
            search.sides[side].append(name)
    heads = _heads(search, mean, log_variance)
    latents = {site.channels // (2 if site.gate == "latent moments" else 1) for site in heads}
    if len(latents) > 1:
        widths = ", ".join(f"{site.name!r} has {site.channels}" for site in heads)
        if isinstance(mean, str) and isinstance(log_variance, str):
            raise ConversionError(f"the heads of mean and log-variance differ in width: {widths}")
        search.missing.append(
            f"latent mean and log-variance: the layers found differ in width ({widths}); name them with mean=..., "
            "log_variance=..."
        )
        heads, latents = [], set()
    found = _input(search, latent_input, latents)
    return LatentSites((*heads, *found), tuple(search.missing))


class _Search(NamedTuple):
    """What the parts of the search share; ``missing`` grows."""

    base: nn.Module
    sides: dict[str, list[str]]
    ungated: frozenset[str]
    normalized: frozenset[str]
    missing: list[str]

    def canonical(self, what: str, name: str) -> str:
        """Return the path under which ``named_modules`` lists a module that may have several."""
        modules = dict(self.base.named_modules(remove_duplicate=False))
        if not name or name not in modules:
            raise ConversionError(f"{what}={name!r} names no submodule")
        paths: dict[nn.Module, str] = {module: path for path, module in self.base.named_modules()}
        return paths[modules[name]]

    def called(self, names: Sequence[str]) -> list[str]:
        """Return the canonical paths of all modules that bear one of these names."""
        everywhere = self.base.named_modules(remove_duplicate=False)
        found = [self.canonical("", name) for name, _ in everywhere if name.rpartition(".")[2] in names]
        return list(dict.fromkeys(found))

    def layers(self, name: str) -> list[str]:
        """Return the paths of the weighted layers in a module, itself included."""
        inside = self.base.get_submodule(name).named_modules()
        return [f"{name}.{path}".rstrip(".") for path, module in inside if kind_of(module, WEIGHTED) is not None]

    def refusal(self, name: str) -> str | None:
        """Return why a weighted layer cannot carry gates, if so."""
        layer = self.base.get_submodule(name)
        if name in self.ungated:
            return "is named in ungated"
        if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
            return "is lazy: run the model once before converting it"
        if hasattr(layer, "parametrizations") or "weight" not in layer._parameters:
            return "has computed weights (weight norm, spectral norm, pruning); remove that first"
        return None


def _heads(search: _Search, mean: Name, log_variance: Name) -> list[LatentSite]:
    if mean is None and log_variance is None:
        joint = search.called(JOINT_NAMES)
        if len(joint) == 1 and not search.called(MEAN_NAMES) and not search.called(LOG_VARIANCE_NAMES):
            mean = log_variance = joint[0]
    mean_names = MEAN_NAMES if search.called(MEAN_NAMES) else LAST_MEAN_NAMES
    names = {
        "latent mean": _head(search, mean, mean_names, "mean"),
        "latent log-variance": _head(search, log_variance, LOG_VARIANCE_NAMES, "log_variance"),
    }
    if names["latent mean"] is not None and names["latent mean"] == names["latent log-variance"]:
        names = {"latent moments": names["latent mean"]}
    sites = []
    for gate, name in names.items():
        if name is None:
            continue
        layer = search.base.get_submodule(name)
        kind = kind_of(layer, WEIGHTED)
        assert kind is not None
        reason = search.refusal(name)
        if reason is None and name in search.normalized:
            reason = "is followed by a normalization, which would undo the gate"
        if reason is None and gate != "latent mean" and getattr(layer, "bias", None) is None:
            reason = "has no bias, into which its shift could be folded"
        if reason is None and gate == "latent moments" and kind.channels(layer) % 2:
            reason = "has an odd number of channels"
        if reason is None:
            sites.append(LatentSite(name, gate, kind.channels(layer)))
        else:
            search.missing.append(f"{gate}: {name!r} {reason}")
    return sites


def _head(search: _Search, given: Name, names: Sequence[str], what: str) -> str | None:
    """Return the path of the weighted layer that a head's name stands for."""
    label = "latent " + what.replace("_", "-")
    if given == ():
        search.missing.append(f"{label}: {_OFF}")
        return None
    if isinstance(given, str):
        layer = _last_layer(search, search.canonical(what, given))
        if layer is None:
            raise ConversionError(f"{what}={given!r} does not end in a layer that can be gated")
        return layer
    layers = (_last_layer(search, name) for name in search.called(names))
    found = list(dict.fromkeys(layer for layer in layers if layer is not None))
    if len(found) == 1:
        return found[0]
    if found:
        reason = f"several modules could be it ({', '.join(found[:4])})"
    else:
        reason = f"no layer is called {', '.join(MEAN_NAMES[:3] if what == 'mean' else names[:3])}, ..."
    search.missing.append(f"{label}: {reason}; name it with {what}=...")
    return None


def _last_layer(search: _Search, name: str) -> str | None:
    """Return the weighted layer that a module ends in, if nothing but reshaping comes after it."""
    layers = search.layers(name)
    if not layers:
        return None
    inside = [path for path, _ in search.base.get_submodule(name).named_modules(prefix=name)]
    after = [path for path in inside[inside.index(layers[-1]) + 1 :] if not path.startswith(f"{layers[-1]}.")]
    shaping = all(isinstance(search.base.get_submodule(path), _SHAPING) for path in after)
    return layers[-1] if shaping else None


def _input(search: _Search, given: Name, latents: set[int]) -> list[LatentSite]:
    if given == ():
        search.missing.append(f"latent input: {_OFF}")
        return []
    if isinstance(given, str):
        candidates = [search.canonical("latent_input", given)]
    else:
        candidates = [name for name in search.called(INPUT_NAMES) if name not in search.sides["encoder"]]
        candidates += [name for name in search.sides["decoder"] if search.layers(name)][:1]
    for layers in map(search.layers, candidates):
        name = layers[0] if layers else None
        kind = None if name is None else kind_of(search.base.get_submodule(name), WEIGHTED)
        if name is None or kind is None or search.refusal(name) is not None:
            continue
        channels = kind.inputs(search.base.get_submodule(name))
        if channels and (channels in latents or (not latents and isinstance(given, str))):
            return [LatentSite(name, "latent input", channels)]
    if isinstance(given, str):
        width = f", {next(iter(latents))} channels" if latents else ""
        raise ConversionError(f"latent_input={given!r} is no layer that takes the latents alone{width}")
    search.missing.append(
        "latent input: no layer was found that takes the latents alone; name it with latent_input=..."
    )
    return []
