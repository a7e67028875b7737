"""The training loop: one for plain beta-VAEs and for multi-rate VAEs."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from multirate.convert import MultiRate
from multirate.data import as_source
from multirate.data.source import Source
from multirate.errors import UsageError
from multirate.memory import keep_freed_memory
from multirate.objectives import optimal_beta
from multirate.saving import DESCRIPTION, built_in
from multirate.saving import save as save_model
from multirate.seeding import preserved_rng
from multirate.training.config import TrainConfig
from multirate.training.devices import accelerator_for, agreed
from multirate.training.finite import LARGE_VALUE
from multirate.training.folder import RunFolder, commit, versions
from multirate.training.interrupt import deferred_interrupt
from multirate.training.objective import check_single_examples, check_terms
from multirate.training.progress import TrainingProgress
from multirate.training.session import Session
from multirate.training.tracking import FOLDER as TRACKING
from multirate.training.tracking import Pictures, Tracking, check_trackers
from multirate.training.variance import optimal_variance
from multirate.wrapper import evaluating


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        model: the object that was given, trained, on the device of the run.
        folder: with the files of the run, or None.
        config: of the run.
        history: one dict for each ``log_every`` steps: step, epoch, loss, rate, distortion (means over these steps, in
            nats an example) and seconds since the start.
        seconds: of training, over all resumptions.
        validation: one dict for each epoch and beta: step, epoch, beta, rate, distortion, objective and seconds.
        learnt: of a sigma-VAE its ``optimal_variance`` over the training data, and ``beta``, at which it is a point of
            a curve; kept with the model. Empty for others.
    """

    model: nn.Module
    folder: Path | None
    config: TrainConfig
    history: list[dict[str, Any]]
    seconds: float
    validation: list[dict[str, Any]] = field(default_factory=list)
    learnt: dict[str, float] = field(default_factory=dict)


def fit(
    model: nn.Module,
    data: Any,
    *,
    config: TrainConfig | None = None,
    val: Any = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    record: dict[str, Any] | None = None,
    trackers: Sequence[str] = (),
    pictures: Pictures | None = None,
    **options: Any,
) -> Run:
    r"""Train a model in place.

    A plain VAE minimises :math:`D + \beta R` at ``beta`` (times the KL schedule's weight). A multi-rate VAE minimises
    :math:`E_\beta[D(\beta) + \beta R(\beta)]` (Bae et al. 2023, Eq. 11) over the betas of its range's
    :meth:`multirate.BetaRange.sample`, with one beta an example, stratified over the batch; its recurrent layers take
    one beta a batch, and so do objectives that look at the aggregate posterior of a batch.

    Everything random is keyed by the seed and the step: the same call gives the same weights, a run that was stopped
    and resumed is equal bit for bit to one that was not (on the same machine), and the global generator is left alone.

    Args:
        model: anything whose ``terms(x)`` returns :class:`multirate.terms.Terms`, or a
            :class:`multirate.convert.MultiRate` of such a model. Frozen parameters stay as they are, and so do
            modules that are in evaluation mode, such as a BatchNorm with fixed statistics, while the model is not.
        data: a Source, a tensor, an array or a Dataset.
        config: options; the defaults if it is None.
        val: data to measure after each epoch, at ``validation_betas`` betas of a multi-rate model's range or at a plain
            one's beta.
        out: folder for config.yaml, metrics.jsonl, checkpoints and the model; None writes nothing.
        resume: go on from the newest checkpoint in ``out``; a folder without a run starts a new one, and a finished run
            is loaded into ``model`` and returned as it is.
        progress: show a bar, or a line an epoch where there is no terminal, and the curve so far after each validation,
            on standard error.
        record: more entries for config.yaml, plain values.
        trackers: that get every line of metrics too: ``tensorboard``, ``wandb``, ``trackio``.
        pictures: called with model, validation data and the validation's lines so far after each validation; what it
            returns, ``uint8`` pictures by name, goes to the trackers
            (:func:`multirate.experiments.monitoring.pictures` draws the curve so far, reconstructions and samples).
        options: fields of :class:`TrainConfig`, in place of the config's.

    Returns:
        The run.

    Raises:
        UsageError: if an option is unknown or cannot be right, or ``out`` holds a run and ``resume`` is False.
        TrainingError: if the loss or the weights become non-finite, or the run in ``out`` is a different one.
        DataError: if data cannot be read, or the folder cannot be written or is in use by another process.
        KeyboardInterrupt: on Ctrl-C, after the step and its checkpoint are done (of several processes: at the next
            line of metrics); a second Ctrl-C stops at once.
        Terminated: likewise on SIGTERM, unless somebody else handles it; a KeyboardInterrupt too.
    """
    config = _configure(config, options)
    source = as_source(data)
    validation = None if val is None else as_source(val, name="validation")
    _check_model(model, source, config)
    check_terms(model, source, config)
    if config.decay == "plateau" and validation is None:
        raise UsageError("decay plateau halves the step size by the validation objective: give val=... (--validate)")
    folder = RunFolder(out)
    check_trackers(trackers, folder.path)
    logs = None if folder.path is None else folder.path / TRACKING
    with folder.held(), accelerator_for(config, trackers, logs) as accelerator, preserved_rng():
        if accelerator.device.type == "cpu":
            keep_freed_memory()
        check_single_examples(model, source, config, accelerator.num_processes)
        session = Session(model, source, validation, config, folder, accelerator)
        document = _describe(model, source, config, session.resolved(), record)
        going_on = resume and folder.exists()
        if going_on:
            folder.check_same(document)
        else:
            folder.check_free()
        accelerator.wait_for_everyone()
        if going_on:
            session.restore()
        else:
            if accelerator.is_main_process:
                folder.write_config(document)
            session.save_checkpoint()
        tracking = Tracking(accelerator, trackers, folder.path, pictures)
        tracking.start(document)
        _run(session, tracking, shown=progress and accelerator.is_main_process)
        learnt = _learnt(model, source, config)
        if (
            folder.path is not None
            and accelerator.is_main_process
            and not (folder.path / "model" / DESCRIPTION).exists()
        ):
            save_model(model, folder.path / "model", learnt)
        accelerator.wait_for_everyone()
    return Run(model, folder.path, config, session.history, session.seconds, session.validation_history, learnt)


def _run(session: Session, tracking: Tracking, *, shown: bool) -> None:
    modes = [(module, module.training) for module in session.model.modules()]
    if not session.model.training:
        session.model.train()
    # Several processes agree to stop where they meet anyway.
    several = session.accelerator.num_processes > 1
    agree = partial(agreed, session.accelerator)
    bar = TrainingProgress(steps=session.steps, epochs=session.config.epochs, done=session.step, shown=shown)
    try:
        with bar, deferred_interrupt(agree=agree) as stop_if_asked:
            while session.step < session.steps:
                session.take_step()
                bar.advance(session.step, session.epoch)
                if session.log_is_due():
                    line = session.log()
                    bar.report(line)
                    tracking.line(line)
                if session.epoch_is_done():
                    session.validate()
                    _show_validation(session, bar, tracking)
                session.whole = True
                if session.checkpoint_is_due():
                    session.save_checkpoint()
                if not several or session.log_is_due():
                    stop_if_asked()
    except KeyboardInterrupt as stop:
        if session.folder.path is None or not session.whole:
            raise
        session.save_checkpoint()
        raise type(stop)(
            f"stopped after step {session.step} of {session.steps}; "
            f"go on with --resume (resume=True) in {session.folder.path}"
        ) from stop
    finally:
        tracking.finish()
        for module, training in modes:
            module.training = training


def _show_validation(session: Session, bar: TrainingProgress, tracking: Tracking) -> None:
    history = session.validation_history
    if session.validation is None or not history:
        return
    steps = sorted({line["step"] for line in history})
    newest, before = ([line for line in history if line["step"] in steps[i : i + 1 or None]] for i in (-1, -2))
    bar.curve(newest, before if len(steps) > 1 else ())
    with preserved_rng(), evaluating(session.model):
        tracking.validation(session.model, session.validation, history)


def _learnt(model: nn.Module, source: Source, config: TrainConfig) -> dict[str, float]:
    """Return what training has found beside the weights, on the training data."""
    if config.objective != "sigma-vae":
        return {}
    variance = optimal_variance(model, source, seed=config.seed)
    return {"optimal_variance": variance, "beta": optimal_beta(getattr(model, "likelihood", None), variance)}


def _check_model(model: nn.Module, source: Source, config: TrainConfig) -> None:
    """Refuse what cannot be trained, and warn of data that a unit variance does not suit."""
    if not hasattr(model, "terms"):
        raise UsageError(
            f"{type(model).__name__} has no terms(x) that returns multirate.Terms; add it or wrap the model"
        )
    if isinstance(model, MultiRate) and config.kl_schedule != "constant":
        raise UsageError(
            f"kl_schedule {config.kl_schedule!r} is for a plain VAE: a multi-rate model samples beta from its own "
            "range; leave it at 'constant'"
        )
    recurrent = [layer.name for layer in model.plan.gated if layer.recurrent] if isinstance(model, MultiRate) else []
    if config.compile and recurrent:
        raise UsageError(
            f"compile does not go with gates on the weights of recurrent layers ({recurrent[0]}); leave it out"
        )
    base = model.base if isinstance(model, MultiRate) else model
    if getattr(base, "likelihood", None) != "gaussian" or source.value_range is None:
        return
    low, high = source.value_range
    if max(-low, high) > LARGE_VALUE:
        warnings.warn(
            f"{source.name} has values from {low:g} to {high:g}, far from the unit variance of the gaussian "
            f"likelihood; divide them, such as by scale={max(-low, high):g}",
            stacklevel=3,
        )


def _configure(config: TrainConfig | None, options: dict[str, Any]) -> TrainConfig:
    known = [entry.name for entry in dataclasses.fields(TrainConfig)]
    for option in options:
        if option not in known:
            raise UsageError(f"fit has no option {option!r}; the options are {', '.join(known)}")
    return dataclasses.replace(config or TrainConfig(), **options)


def _describe(
    model: nn.Module, source: Source, config: TrainConfig, resolved: dict[str, Any], record: dict[str, Any] | None
) -> dict[str, Any]:
    base = model.base if isinstance(model, MultiRate) else model
    name, options = built_in(base)
    about: dict[str, Any] = {
        "name": name or "",
        "class": f"{type(base).__module__}.{type(base).__qualname__}",
        "options": options or {},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    if isinstance(model, MultiRate):
        about["beta_range"] = [model.beta_range.low, model.beta_range.high]
        if model.beta_range.weighs != "rate":
            about["beta_range_weighs"] = model.beta_range.weighs
        about["beta_sampling"] = {"skew": model.beta_range.exponent, "margin": model.beta_range.margin}
        about["gates"] = {
            f"{layer.at} (input)" if layer.on_input else layer.at: f"{layer.channels} {layer.gate}"
            for layer in model.plan.gated
        }
    document: dict[str, Any] = {
        "training": dataclasses.asdict(config),
        "resolved": resolved,
        "model": about,
        "data": {
            "name": source.name,
            "split": source.split,
            "examples": len(source),
            "shape": source.shape,
            "details": source.details,
        },
        "versions": versions(),
    }
    sha = commit()
    if sha is not None:
        document["commit"] = sha
    for name in record or {}:
        if name in document:
            raise UsageError(f"record has an entry {name!r}, which config.yaml needs itself; give it another name")
    plain: dict[str, Any] = json.loads(json.dumps({**document, **(record or {})}))
    return plain
