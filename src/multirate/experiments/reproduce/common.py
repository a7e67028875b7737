"""What the arms of every recipe are built from: a setting, and one function for each way to train in it.

A setting is data, model and training; an arm is one line of a figure in it. ``shared.py`` has the settings of the
paper. A run's name says all in which it differs from others (``naming.py``), so arms of several recipes share runs::

    setting = image_setting("omniglot", "resnet", "cpu")
    multirate_arm(setting)                                                     # omniglot-resnet-w32-multirate-8ep-s0
    multirate_arm(setting, response="paper", label="paper's gates")            # ...-multirate-paper-8ep-s0
    multirate_arm(setting, betas=(0.1, 10.0), arm="multirate-0.1to10", spec={"beta_low": 0.1})
    dedicated_arm(setting, (0.01, 0.1, 1.0, 10.0))                             # ...-beta0.01-8ep-s0, ...
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multirate.experiments.reproduce.naming import member_name
from multirate.experiments.reproduce.recipe import Arm, Choice, Evaluation, Member
from multirate.experiments.spec import RunSpec
from multirate.training.config import TrainConfig

MULTI_RATE = "MR-VAE"
PAPER_GATES = "MR-VAE (paper's gates)"
DEDICATED = "β-VAE"
ANNEALED = "β-VAE (KL annealing)"
WARM_STARTED = "β-VAE (warm-started)"
FILM = "FiLM-conditioned VAE"
SIGMA = "\N{GREEK SMALL LETTER SIGMA}-VAE"

Options = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Data, model and training that the arms of one panel share.

    Args:
        panel: of the figure, such as ``"MNIST, ResNet"``.
        name: first part of its runs' names, such as ``"mnist-resnet-w32"``; it tells its specification and its training
            from those of every other setting.
        spec: data and model, without anything of the multi-rate model.
        config: how its runs are trained; seed and objective apart.
        evaluation: how its runs are measured; the betas are those of a multi-rate run.
        seeds: one curve each.
        learning_rates: a grid, of which each run takes the best on the validation split; the gates of a multi-rate
            model then have the step size of its weights. Empty: the config's step sizes.
    """

    panel: str
    name: str
    spec: RunSpec
    config: TrainConfig
    evaluation: Evaluation
    seeds: tuple[int, ...] = (0,)
    learning_rates: tuple[float, ...] = ()

    def of_epochs(self, epochs: int) -> "Setting":
        """Return the setting with another budget; a warm-up in steps keeps its share of the run."""
        steps = self.config.warmup_steps
        warmup = None if steps is None else max(1, round(steps * epochs / self.config.epochs))
        return dataclasses.replace(self, config=dataclasses.replace(self.config, epochs=epochs, warmup_steps=warmup))


def multirate_arm(
    setting: Setting,
    *,
    label: str = MULTI_RATE,
    response: str = "default",
    arm: str | None = None,
    betas: Sequence[float] | None = None,
    spec: Options | None = None,
    config: Options | None = None,
) -> Arm:
    """One multi-rate model.

    Args:
        setting: where.
        label: in the legend.
        response: as in :class:`~multirate.experiments.spec.RunSpec`.
        arm: its part of the names; by default ``multirate`` or ``multirate-<response>``. Give one that tells it from
            all others if ``spec`` or ``config`` is given.
        betas: that it is measured at; by default the setting's.
        spec: further fields of the specification: ``beta_low``, ``beta_high``, ``beta_skew``, ``model_options``.
        config: further fields of the training's options.

    Returns:
        The arm, of one choice a seed.
    """
    name = arm or ("multirate" if response == "default" else f"multirate-{response}")
    evaluation = setting.evaluation
    if betas is not None:
        evaluation = dataclasses.replace(evaluation, betas=tuple(betas))
    changes = {"response": response, **(spec or {})}
    seeds = tuple((_choice(setting, name, seed, evaluation, spec=changes, config=config),) for seed in setting.seeds)
    return Arm(label=label, panel=setting.panel, seeds=seeds, budget=_epochs(setting, 1))


def dedicated_arm(
    setting: Setting,
    betas: Sequence[float],
    *,
    label: str = DEDICATED,
    arm: str = "",
    epochs: int | None = None,
    spec: Options | None = None,
    config: Options | None = None,
    seeds: Sequence[int] | None = None,
) -> Arm:
    """One plain beta-VAE for each beta: the baseline.

    Args:
        setting: where.
        betas: increasing.
        label: in the legend.
        arm: what comes before ``beta<beta>`` in the names; give one if ``spec`` or ``config`` is given.
        epochs: of each, in place of the setting's.
        spec: further fields of the specification.
        config: further fields of the training's options.
        seeds: in place of the setting's.

    Returns:
        The arm, of one choice a beta and seed.
    """
    setting = setting if epochs is None else setting.of_epochs(epochs)
    chosen = tuple(
        tuple(
            _choice(
                setting,
                _of_beta(arm, beta),
                seed,
                _at(setting, beta),
                spec={"beta": beta, **(spec or {})},
                config=config,
            )
            for beta in betas
        )
        for seed in (setting.seeds if seeds is None else seeds)
    )
    return Arm(label=label, panel=setting.panel, seeds=chosen, kind="dedicated", budget=_epochs(setting, len(betas)))


def annealed_arm(setting: Setting, betas: Sequence[float], *, label: str = ANNEALED, epochs: int | None = None) -> Arm:
    """Plain beta-VAEs whose weight of the rate rises from 0 over the first half of the run (Bowman et al. 2016).

    Args:
        setting: where.
        betas: that the weight ends at.
        label: in the legend.
        epochs: of each, in place of the setting's.
    """
    return dedicated_arm(setting, betas, label=label, arm="anneal", epochs=epochs, config={"kl_schedule": "linear"})


def warm_started_arm(
    setting: Setting, betas: Sequence[float], *, label: str = WARM_STARTED, epochs: int | None = None
) -> Arm:
    """Plain beta-VAEs in a chain from the smallest beta up, each from the weights of the one before.

    The first is the dedicated model of that beta. A larger beta shuts latents that are in use, and training does that
    from where it is; a collapsed latent would not come back on the way down.

    Args:
        setting: where.
        betas: increasing.
        label: in the legend.
        epochs: of each, in place of the setting's.
    """
    setting = setting if epochs is None else setting.of_epochs(epochs)
    chains = []
    for seed in setting.seeds:
        chain: list[Choice] = []
        for place, beta in enumerate(betas):
            before: tuple[str | None, ...] = tuple(member.name for member in chain[-1]) if chain else ()
            # The way to a later link is part of what it is: it goes into the name.
            arm = "" if not chain else f"warm{betas[0]:g}x{place}"
            chain.append(
                _choice(setting, _of_beta(arm, beta), seed, _at(setting, beta), spec={"beta": beta}, starts=before)
            )
        chains.append(tuple(chain))
    budget = _epochs(setting, len(betas))
    return Arm(label=label, panel=setting.panel, seeds=tuple(chains), kind="dedicated", budget=budget)


def film_arm(setting: Setting, *, label: str = FILM) -> Arm:
    """One VAE whose layers are scaled and shifted by an affine map of log beta, drawn log-uniformly.

    That is loss-conditional training (Dosovitskiy and Djolonga 2020) with FiLM layers (Perez et al. 2018).

    Args:
        setting: where.
        label: in the legend.
    """
    uniform = {"beta_skew": 1.0, "beta_margin": 1.0}
    return multirate_arm(setting, label=label, response="film", arm="film", spec=uniform)


def sigma_arm(setting: Setting, *, label: str = SIGMA) -> Arm:
    """One sigma-VAE, whose likelihood has the best variance for the batch: one point (Rybkin et al. 2021).

    Training finds its beta, so no beta is asked for when it is measured. Seeds and step sizes end at betas of their
    own, where objectives do not compare: there is one run, of the first seed and the config's step size.

    Args:
        setting: where; its distortion is a squared error.
        label: in the legend.
    """
    single = dataclasses.replace(setting, learning_rates=())
    unasked = dataclasses.replace(setting.evaluation, betas=())
    objective = {"objective": "sigma-vae"}
    choice = _choice(single, "sigma", setting.seeds[0], unasked, spec={"beta": 1.0}, config=objective)
    return Arm(label=label, panel=setting.panel, seeds=((choice,),), kind="point", budget=_epochs(setting, 1))


def _choice(
    setting: Setting,
    arm: str,
    seed: int,
    evaluation: Evaluation,
    *,
    spec: Options,
    config: Options | None = None,
    starts: tuple[str | None, ...] = (),
) -> Choice:
    """Return one run, or one for each learning rate of the setting; ``starts`` has as many names, or none."""
    about = dataclasses.replace(setting.spec, **spec)
    base = dataclasses.replace(setting.config, seed=seed, **(config or {}))
    rates: tuple[float | None, ...] = setting.learning_rates or (None,)
    members = []
    for rate, start in zip(rates, starts or (None,) * len(rates), strict=True):
        chosen = base
        if rate is not None:
            gates = rate if about.beta is None else None
            chosen = dataclasses.replace(base, learning_rate=rate, response_learning_rate=gates)
        name = member_name(setting.name, arm, epochs=base.epochs, seed=seed, learning_rate=rate)
        members.append(Member(name=name, spec=about, config=chosen, evaluation=evaluation, start=start))
    return tuple(members)


def _of_beta(arm: str, beta: float) -> str:
    return f"{arm}-beta{beta:g}" if arm else f"beta{beta:g}"


def _at(setting: Setting, beta: float) -> Evaluation:
    return dataclasses.replace(setting.evaluation, betas=(beta,))


def _epochs(setting: Setting, models: int) -> str:
    count = setting.config.epochs
    return f"{count} epoch{'' if count == 1 else 's'}" + (f" each, {models} models" if models > 1 else "")
