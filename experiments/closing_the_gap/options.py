"""What one trial is: every option of the search, by name, with the library's defaults as its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multirate.beta import BetaRange
from multirate.errors import UsageError

# Of the library's cubic gates; other degrees are candidates.
LIBRARY_DEGREE = 3
LIBRARY_SHARPNESS = 8.0

CHOICES: Mapping[str, tuple[str, ...]] = {
    "gates": ("film", "paper", "sigmoid", "none"),
    "slope_signs": ("alternating", "random"),
    "initial_weights": ("he", "torch"),
    "decay": ("linear", "cosine"),
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run and the candidates that it tries.

    ``Trial()`` is the library's default model and recipe. With ``beta`` it is a dedicated beta-VAE, for which the
    options of range, sampling, response and latents mean nothing.

    Raises:
        UsageError: if a value cannot be right.
    """

    note: str = field(default="", compare=False)
    """Free text, kept with the figures; two trials that differ in it alone are the same."""
    model: str = "mlp"
    """A built-in network; the linear one has a Gaussian likelihood and its own initial weights."""
    latents: int = 32
    """Number of latents."""
    hidden: tuple[int, ...] = (512, 256)
    """Widths of an MLP's encoder; the decoder mirrors them. Other models have their own."""
    data: str = "mnist"
    """What :func:`multirate.data.load` takes."""
    examples: int | None = None
    """Use only so many examples of each split, the first ones; None: all."""
    epochs: int = 8
    """Passes over the training data."""
    batch_size: int = 128
    """Examples a step."""
    seed: int = 0
    """Fixes initial weights, order of the data, betas and noise."""
    beta: float | None = None
    """Train a plain VAE for this beta; None: a multi-rate model."""

    low: float = 0.01
    """Smallest beta of the range."""
    high: float = 10.0
    """Largest beta of the range."""
    skew: float | None = None
    """Exponent that favours small betas, as in :class:`multirate.BetaRange`; 1 is log-uniform, None its default."""
    margin: float = 1.35
    """Factor beyond the upper end up to which training draws."""
    skew_end: float | None = None
    """Curriculum: the skew moves linearly from ``skew`` to this over the run."""
    growth: tuple[float, float] | None = None
    """Curriculum ``(beta, share)``: the lower end of what is drawn starts at this beta and falls to ``low``, evenly in
    log beta, over this share of the run."""
    betas_per_example: int = 1
    """Betas, each with its own posterior sample, that each example of a batch gets in every step."""
    u_shape: tuple[float, float] | None = None
    """Draw the position in the range of log beta from a beta distribution with these two parameters, in place of the
    skewed density; both below 1 favours both ends."""
    uniform_share: float = 0.0
    """Share of the betas that is drawn log-uniform, beside the skewed rest."""
    loss_weight_exponent: float = 0.0
    """Weight each example's objective by ``(1 + beta)`` to the minus this power, scaled to a mean of 1 in a batch."""

    gates: str = "film"
    """Gates of the hidden layers: ``film`` (scale and shift), ``paper``, ``sigmoid``, or ``none`` for latents alone."""
    slope: float = 0.4
    """Where the slopes of film gates' scales start, up to the sign; 0: equal gates at every beta."""
    scale_ends: tuple[float, float] = (1.0, 1.0)
    """Mean of film gates' scales at the lower and the upper end of the range at the start; even in log beta."""
    specialists: tuple[float, float] | None = None
    """``(share, shut)``: this share of the hidden units starts open at the upper end alone, with a cubic rise over the
    range; the scales of the others start as much less there. In place of ``slope``."""
    partition: tuple[float, float, float, float] | None = None
    """``(share, log beta, width, shut)``: for good, this share of the hidden units works above this log beta alone and
    the others fall by ``shut`` there, through a sigmoid of this width."""
    slope_signs: str = "alternating"
    """Signs of these slopes from channel to channel: ``alternating`` or ``random``."""
    degree: int = 3
    """Degree of the polynomial of log beta that feeds film gates, and no others; the terms above the first are
    Legendre's and start at 0."""
    gated_heads: bool = False
    """Film gates on the posterior's heads, the decoder's stem and the output layer too."""
    head_slope: float = 0.0
    """The slope of these layers' scales at the start."""
    log_variance_slope: float = 0.0
    """The slope of the log-variance head's shift at the start; needs ``gated_heads``."""
    matrix_layers: tuple[str, ...] = ()
    """Linear layers, by path in the base, whose whole weight matrix is affine in log beta."""

    gated_latents: bool = True
    """Gate each latent by a threshold on beta."""
    threshold_start: tuple[float, float] = (-2.0, 0.0)
    """First and last latent's threshold at the start, nats of log beta above the range's upper end; even between."""
    threshold_learning_rate: float | None = None
    """Adam's step size of the thresholds, in nats of log beta; 0 fixes them; None: as the library has it."""
    sharpness: float = LIBRARY_SHARPNESS
    """How sharply a latent opens at its threshold, the softplus's beta."""

    initial_weights: str = "he"
    """Start of the hidden layers: ``he`` (normal, the library's) or ``torch`` (uniform, a sixth of the variance)."""
    initial_scale: float = 1.0
    """Factor on these layers' weights; 2.45 gives ``torch`` the variance of ``he``."""
    output_bias: bool = False
    """Start the output layer's bias at the log odds of the mean training example, for binary data."""

    learning_rate: float = 2e-3
    """Adam's step size of the weights."""
    response_learning_rate: float | None = None
    """Adam's step size of the gates; None: 7.5 times ``learning_rate``, as the library has it."""
    step_factors: tuple[str, ...] = ()
    """Factors on the step size of single layers of the base, each as ``path=factor``."""
    adam_beta1: float = 0.9
    """Adam's averaging constant of gradients."""
    adam_beta2: float = 0.99
    """Adam's averaging constant of squared gradients."""
    decay: str = "linear"
    """Shape of the step size's decay to 0: ``linear`` or ``cosine``."""
    decay_fraction: float = 0.4
    """Share of the run, at its end, over which the step size decays; 1: from the end of warm-up."""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        if self.betas_per_example < 1:
            raise UsageError(f"betas_per_example is at least 1; got {self.betas_per_example}")
        if self.specialists is not None and (self.gates != "film" or self.degree != LIBRARY_DEGREE):
            raise UsageError(f"specialists need film gates of degree {LIBRARY_DEGREE}")
        if self.degree < 1:
            raise UsageError(f"degree is at least 1; got {self.degree}")
        if self.gates == "none" and not self.gated_latents:
            raise UsageError("gates none leaves nothing to gate; set gated_latents")
        if not 0 <= self.uniform_share < 1:
            raise UsageError(f"uniform_share must be at least 0 and below 1; got {self.uniform_share}")
        if self.u_shape is not None and (self.skew_end is not None or self.uniform_share or self.growth is not None):
            raise UsageError("u_shape takes the place of the skewed density; drop skew_end, uniform_share and growth")
        if self.growth is not None and (self.uniform_share or not self.growth[1] > 0):
            raise UsageError("growth needs a positive share of the run, and no uniform_share")
        _check_units(self)

    @property
    def beta_range(self) -> BetaRange:
        """The range that the multi-rate model serves."""
        return BetaRange(self.low, self.high, skew=self.skew, margin=self.margin)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Trial:
        """Make a trial from what YAML or JSON gives: lists stand for tuples, and ``"2e-3"`` for a number.

        Args:
            options: of the fields; those left out keep their defaults.

        Returns:
            The trial.

        Raises:
            UsageError: if a name is unknown or a value cannot be right.
        """
        kinds = {entry.name: str(entry.type) for entry in dataclasses.fields(cls)}
        unknown = [name for name in options if name not in kinds]
        if unknown:
            raise UsageError(f"no option {unknown[0]!r}; choose from {', '.join(kinds)}")
        return cls(**{name: _read(name, value, kinds[name]) for name, value in options.items()})

    def to_options(self) -> dict[str, Any]:
        """Return every option but the note, as JSON has them; :meth:`from_options` reads them back."""
        options = dataclasses.asdict(self)
        del options["note"]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}

    def differences(self) -> dict[str, Any]:
        """Return the options that are not the default's, but the note."""
        usual = Trial().to_options()
        return {name: value for name, value in self.to_options().items() if value != usual[name]}


def _check_units(trial: Trial) -> None:
    for name in ("specialists", "partition"):
        chosen = getattr(trial, name)
        if chosen is not None and not 0 < chosen[0] <= 1:
            raise UsageError(f"the share of {name} must be above 0 and at most 1; got {chosen[0]}")
    others = trial.gated_heads or trial.matrix_layers or trial.degree != LIBRARY_DEGREE
    if trial.partition is not None and (others or trial.sharpness != LIBRARY_SHARPNESS):
        raise UsageError(
            "partition goes with the library's degree and sharpness, without gated_heads and matrix_layers"
        )
    for entry in trial.step_factors:
        try:
            _, factor = entry.split("=")
            float(factor)
        except ValueError as error:
            raise UsageError(f"step_factors are path=factor, such as decoder.0=4; got {entry!r}") from error


def _read(name: str, value: Any, kind: str) -> Any:
    if value is None:
        return value
    try:
        if kind.startswith("tuple[float"):
            return tuple(float(part) for part in value)
        if kind.startswith("tuple[int"):
            return tuple(int(part) for part in value)
        if kind.startswith("tuple"):
            return tuple(value)
        return float(value) if kind.startswith("float") else value
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} must be {kind}; got {value!r}") from error
