"""What a run trains and on which data; imports no torch, so that the command line can build its help from it."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from multirate.errors import UsageError

# Options that mean nothing to a plain VAE.
MULTIRATE_ONLY = ("beta_low", "beta_high", "beta_skew", "beta_margin", "response", "preserve_at")
# Options whose name on the command line is not the field's, which would be a keyword of Python.
FLAGS = {"start": "from"}
# File of a run's folder, and of a folded text model's, with the words that the model knows.
VOCABULARY = "vocabulary.json"

LikelihoodName: TypeAlias = Literal[
    "bernoulli", "gaussian", "squared_error", "gaussian_learned", "discretized_logistic"
]


def words_of(name: str, value: Any, default: Any = None) -> list[str]:
    """Return the words that give an option its value on the command line, none for its default.

    Args:
        name: of the field.
        value: a number, text, a truth value, or a sequence.
        default: of the field.
    """
    if value == default and type(value) is type(default):
        return []
    flag = FLAGS.get(name, name).replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *map(str, value if isinstance(value, tuple | list) else [value])]


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """The model and the data of a run; with the training options it says all that a run needs.

    Raises:
        UsageError: if an option does not go with another.
    """

    data: str = "digits"
    """Data set by name (`multirate data` lists them); the path of an array file, of a text file of one document a line,
    or of a folder or zip of images; or hf:USER/NAME, a data set of the Hugging Face hub (extra hf)."""
    data_dir: str | None = None
    """Folder of the original files, tried before MULTIRATE_DATA and the cache."""
    data_options: tuple[str, ...] = ()
    """Options of the data set's loader, each as name=value: binarize=none, size=32, max_words=60, key=images."""
    examples: int | None = None
    """Train on the first so many examples only."""
    model: str = "mlp"
    """Built-in network: linear, mlp, convnet, resnet, nvae, or lstm for text."""
    model_options: tuple[str, ...] = ()
    """Further options of the network, each as name=value: decoder_activation=tanh, configuration=mnist, dropout=0.3."""
    latents: int | None = None
    """Number of latents; of nvae in each group. None: the network's default, 32 for all but nvae."""
    hidden: tuple[int, ...] = ()
    """Widths of the hidden layers, for mlp only; by default 512 256."""
    likelihood: LikelihoodName | None = None
    """By default gaussian of unit variance for model linear, and for others what suits the data: bernoulli if every
    value is 0 or 1, discretized_logistic for nvae on bytes, else gaussian. gaussian_learned learns the variance;
    squared_error is the summed squared error, no likelihood; discretized_logistic is for nvae alone."""
    beta: float | None = None
    """Train a plain beta-VAE at this beta, in place of a multi-rate one."""
    beta_low: float = 0.01
    """Smallest beta that the multi-rate model serves."""
    beta_high: float = 10.0
    """Largest beta that the multi-rate model serves."""
    beta_skew: float | None = None
    """How much training favours small betas: log beta grows as a uniform number to this power. None: as the package's
    default, or 1 (log-uniform) with response paper."""
    beta_margin: float | None = None
    """Factor beyond beta_high up to which training draws beta. None: as the package's default, or 1 with response
    paper."""
    response: str = "default"
    """How gates respond to beta: default; paper; mlp, the paper's gates of a small network of log beta in place of an
    affine map; sigmoid; film; or water-filling, which holds the exact optimum of model linear. For a multi-rate model
    only."""
    start: str | None = None
    """Start from the weights of a plain VAE of the same network, trained before: its run's folder, a saved or folded
    model's, or a file with its state dict (.safetensors, .pt). A multi-rate model then computes the same at one beta,
    and is fine-tuned from there."""
    preserve_at: float | None = None
    """The beta at which a multi-rate model first computes what the VAE does that it starts from. None: the beta at
    which that one was trained."""

    def __post_init__(self) -> None:
        if self.beta is not None and not 0 < self.beta < math.inf:
            raise UsageError(f"beta must be positive and finite; got {self.beta:g}")
        self._check_beta_alone()
        if self.start is None and self.preserve_at is not None:
            raise UsageError(f"preserve_at {self.preserve_at:g} goes with weights to start from; give --from RUN too")
        if self.hidden and self.model != "mlp":
            raise UsageError(f"hidden goes with model mlp, not {self.model}; leave it out")
        if self.examples is not None and self.examples < 1:
            raise UsageError(f"examples must be at least 1; got {self.examples}")
        self.loader_options()
        self.network_options()

    def _check_beta_alone(self) -> None:
        for name in MULTIRATE_ONLY:
            if self.beta is not None and getattr(self, name) != getattr(RunSpec, name):
                raise UsageError(
                    f"{name} {getattr(self, name)} goes with a multi-rate model, and beta {self.beta:g} asks for a "
                    "plain one; leave one of them out"
                )

    def range_options(self) -> dict[str, Any]:
        """Return the keywords of :class:`multirate.BetaRange`."""
        chosen = {"skew": self.beta_skew, "margin": self.beta_margin}
        given = {name: value for name, value in chosen.items() if value is not None}
        usual = {"skew": 1.0, "margin": 1.0} if self.response == "paper" else {}
        return {"low": self.beta_low, "high": self.beta_high, **usual, **given}

    def network_options(self) -> dict[str, Any]:
        """Return what the specification itself says of the network, as keywords of :func:`multirate.models.build`."""
        chosen: dict[str, Any] = {"latents": self.latents, "hidden": self.hidden or None}
        return {name: value for name, value in chosen.items() if value is not None} | read_pairs(
            self.model_options, "a model option"
        )

    def loader_options(self) -> dict[str, Any]:
        """Return ``data_options`` as keywords, with values read as YAML reads them."""
        return read_pairs(self.data_options, "a data option")


def for_objective(spec: RunSpec, objective: str) -> RunSpec:
    """Return the specification of a plain model where the objective is for no other; else the same.

    Args:
        spec: of the run.
        objective: of its training. A sigma-VAE is plain, and comes to its beta by training: 1 stands for it till then.

    Raises:
        UsageError: if an option of a multi-rate model is asked for beside such an objective.
    """
    if objective != "sigma-vae" or spec.beta is not None:
        return spec
    for name in MULTIRATE_ONLY:
        if getattr(spec, name) != getattr(RunSpec, name):
            raise UsageError(
                f"{name} {getattr(spec, name)} goes with a multi-rate model, and objective {objective} trains a plain "
                "one; leave one of them out"
            )
    return replace(spec, beta=1.0)


def read_pairs(texts: tuple[str, ...], what: str) -> dict[str, Any]:
    """Read options, values as YAML reads them.

    Args:
        texts: each ``name=value``.
        what: one of them is, for errors.

    Raises:
        UsageError: if one has no name or no value, or a value that is no YAML.
    """
    from multirate.yamlfile import parse_yaml

    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"{what} is written name=value; got {text!r}")
        try:
            options[name.replace("-", "_")] = parse_yaml(value)
        except ValueError as error:
            raise UsageError(f"{what} has a value in YAML, such as 3, tanh or [8, 8]; got {text!r}") from error
    return options
