"""Options of a training run; imports no torch, so that the command line can build its help from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cache
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from multirate.errors import UsageError
from multirate.objectives.names import POSTERIOR_OBJECTIVES


@dataclass(frozen=True)
class TrainConfig:
    """How to train one model.

    Raises:
        UsageError: if a value cannot be right, naming it.
    """

    epochs: int = 8
    """Passes over the training data."""
    batch_size: int = 128
    """Examples a step, over all processes together. The last, partial batch of an epoch is dropped, unless the data are
    fewer than one batch."""
    learning_rate: float = 2e-3
    """Adam's step size after warm-up; a decay takes it to 0 at the end."""
    response_learning_rate: float | None = None
    """Step size of the gates of a multi-rate model's layers; None: 7.5 times learning_rate. Thresholds of latents take
    learning_rate."""
    warmup_steps: int | None = None
    """Steps of linear warm-up; None: 5% of all steps, at most 500."""
    decay: Literal["linear", "cosine", "plateau"] = "linear"
    """How the step size decays: to 0 along a line or a cosine; or halved after each epoch whose validation objective is
    not the best so far (plateau, which needs validation data)."""
    decay_fraction: float = 0.4
    """Share of the run, at its end, over which the step size decays along its line or cosine; 1: from the end of
    warm-up."""
    optimizer: Literal["adam", "adamax"] = "adam"
    """Adam, or Adamax as for NVAE."""
    adam_beta2: float = 0.99
    """Averaging constant of squared gradients (adam), or decay of the largest gradient (adamax)."""
    weight_decay: float = 0.0
    """So much of each of the model's weights, gates aside, is added to its gradient."""
    spectral_regularization: float = 0.0
    """Weight of the sum over layers of the largest singular value of their weights, and of the sizes of BatchNorm
    scales (Vahdat and Kautz 2020)."""
    objective: Literal["beta-vae", "beta-tcvae", "dip-vae-i", "dip-vae-ii", "info-vae", "free-bits", "sigma-vae"] = (
        "beta-vae"
    )
    """What beta weighs: the rate (beta-vae, and free-bits with a floor), the total correlation (beta-tcvae), the
    penalty on the latents' covariance (dip-vae-i, dip-vae-ii) or on their distance from the prior (info-vae: at most 2
    nats, so that betas of 100 and more make a difference). sigma-vae trains a plain VAE without any beta: the
    likelihood is a Gaussian with the best variance for each batch, and gives one point of a curve."""
    tc_estimator: Literal["stratified", "weighted"] = "stratified"
    """Minibatch estimate of the aggregate posterior, for beta-tcvae only."""
    free_bits: float = 0.0
    """Nats of each latent that are free, for free-bits only."""
    beta: float = 1.0
    """Weight of the rate. For a plain VAE only: a multi-rate model samples its own range, one beta an example."""
    kl_schedule: Literal["constant", "linear", "cyclical"] = "constant"
    """How a plain VAE's beta is reached: at once, by a ramp from 0, or by several ramps. For a plain VAE only."""
    kl_warmup_fraction: float = 0.5
    """Share of the run (linear) or of each cycle (cyclical) that the ramp from 0 takes."""
    kl_cycles: int = 4
    """Number of ramps of the cyclical schedule."""
    clip_norm: float | None = None
    """Largest norm of the gradient of all parameters together; None: no clipping."""
    seed: int = 0
    """Fixes the order of the data, the betas and the noise; on the command line also the initial weights."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None: one at the end of each epoch."""
    log_every: int = 50
    """Steps that one line of metrics.jsonl averages over."""
    validation_betas: int = 4
    """Betas, log-spaced over the range, at which a multi-rate model is measured on validation data after each epoch."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision."""
    device: str | None = None
    """Such as cpu or cuda:0; None: the best that accelerate finds."""
    compile: bool = False
    """Compile the model with torch.compile: slower to start, faster steps."""
    channels_last: bool = True
    """Keep convolution weights and images in channels-last order, which is faster on most machines."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            _check_type(entry.name, getattr(self, entry.name), str(entry.type))
        for name in ("epochs", "batch_size", "kl_cycles", "log_every"):
            _check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        _check("validation_betas", self.validation_betas, self.validation_betas >= 2, "at least 2, both ends")
        for name in ("learning_rate", "response_learning_rate", "clip_norm"):
            value = getattr(self, name)
            _check(name, value, value is None or (math.isfinite(value) and value > 0), "positive and finite")
        for name in ("weight_decay", "spectral_regularization", "free_bits"):
            value = getattr(self, name)
            _check(name, value, math.isfinite(value) and value >= 0, "finite and not negative")
        for name, least in (("warmup_steps", 0), ("checkpoint_every", 1), ("seed", 0)):
            value = getattr(self, name)
            _check(name, value, value is None or value >= least, f"at least {least}")
        _check("beta", self.beta, math.isfinite(self.beta) and self.beta >= 0, "finite and not negative")
        for name in ("kl_warmup_fraction", "decay_fraction"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "between 0 and 1")
        _check("adam_beta2", self.adam_beta2, 0 <= self.adam_beta2 < 1, "at least 0 and below 1")
        for name, choices in _hints().items():
            if get_origin(choices) is Literal:
                known = get_args(choices)
                _check(name, getattr(self, name), getattr(self, name) in known, f"one of {', '.join(known)}")
        if (self.objective == "free-bits") != (self.free_bits > 0):
            raise UsageError(
                f"objective {self.objective} does not go with free_bits {self.free_bits:g}: give free_bits above 0 "
                "with objective free-bits, and with no other"
            )
        if self.tc_estimator != TrainConfig.tc_estimator and self.objective != "beta-tcvae":
            raise UsageError(
                f"tc_estimator {self.tc_estimator} goes with objective beta-tcvae, not {self.objective}; leave it out"
            )
        if self.objective == "sigma-vae":
            _check_without_beta(self)
        if self.objective in POSTERIOR_OBJECTIVES and self.batch_size < 2:
            raise UsageError(
                f"batch_size must be at least 2 with objective {self.objective}, which compares the examples of a "
                f"batch; got {self.batch_size}"
            )


def examples_a_step(config: TrainConfig, examples: int, processes: int) -> int:
    """Return how many examples a step takes, over all processes together.

    Args:
        config: of the run.
        examples: in the training data.
        processes: of the run.

    Raises:
        UsageError: if the batch does not divide among the processes, or there is no example for each.
    """
    if config.batch_size % processes:
        raise UsageError(
            f"batch_size {config.batch_size} does not divide among {processes} processes; choose a multiple"
        )
    size = min(config.batch_size, examples - examples % processes)
    if size < 1:
        raise UsageError(f"cannot train on {examples} examples in {processes} processes; give at least one for each")
    return size


_KINDS: dict[str, tuple[type | UnionType, str]] = {
    "int": (int, "an integer"),
    "float": (int | float, "a number"),
    "bool": (bool, "True or False"),
    "str": (str, "text"),
}


@cache
def _hints() -> dict[str, Any]:
    """Return the types of the fields, read once: that takes a millisecond."""
    return get_type_hints(TrainConfig)


def _check_type(name: str, value: object, annotation: str) -> None:
    """Raise unless a value is of its field's type; an annotation that is not in :data:`_KINDS` is checked elsewhere."""
    kind, _, optional = annotation.partition(" | ")
    if kind not in _KINDS or (optional and value is None):
        return
    accepted, needed = _KINDS[kind]
    right = isinstance(value, accepted) and (kind == "bool" or not isinstance(value, bool))
    _check(name, repr(value), right, needed)


def _check_without_beta(config: TrainConfig) -> None:
    """Raise if an option weighs the rate, for an objective in which nothing does."""
    weighs = {"beta": config.beta != TrainConfig.beta, "kl_schedule": config.kl_schedule != TrainConfig.kl_schedule}
    for name, wrong in (weighs | {"decay": config.decay == "plateau"}).items():
        if wrong:
            raise UsageError(
                f"{name} {getattr(config, name)} does not go with objective {config.objective}, which has no beta; "
                "leave it out"
            )


def _check(name: str, value: object, right: bool, needed: str) -> None:
    if not right:
        raise UsageError(f"{name} must be {needed}; got {value}")
