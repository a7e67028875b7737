"""Weights that a run starts from: those of a plain VAE that was trained before."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.data import Source
from multirate.errors import DataError, UsageError
from multirate.experiments.spec import VOCABULARY, RunSpec
from multirate.experiments.weights import load_weights, read_weights
from multirate.loading import load
from multirate.saving import built_in, read_description
from multirate.seeding import preserved_rng
from multirate.training import checkpoint
from multirate.training.folder import RunFolder
from multirate.yamlfile import read_yaml


@dataclass(frozen=True)
class Start:
    """A plain VAE to start from.

    Args:
        folder: as it was given: of a run or of a saved model, or a file of weights.
        weights: of the VAE, by name.
        network: its name and options; None of bare weights.
        beta: that it was trained or folded at; None if that is not known.
    """

    folder: Path
    weights: dict[str, Tensor]
    network: tuple[str | None, dict[str, Any]] | None
    beta: float | None


def read_start(folder: str | Path, source: Source | None = None) -> Start:
    """Read the plain VAE of a run's folder, of a saved model's, or of a file of weights; no code in it is run.

    Args:
        folder: of a finished run (its model is in ``model/``), or what :func:`multirate.save` or ``multirate fold``
            wrote; or a state dict's file, as :func:`multirate.experiments.weights.read_weights` reads it.
        source: training data of the new run; a text must have the vocabulary of the old one.

    Returns:
        The model and its beta.

    Raises:
        UsageError: if there is no such folder or file, the model is multi-rate, or not built in, or knows other words.
        DataError: if a file is damaged or the run is not finished.
    """
    folder = Path(folder)
    if folder.is_file():
        return Start(folder, read_weights(folder), None, None)
    if not folder.is_dir():
        raise UsageError(f"no folder {folder} to start from; name a run's folder, a saved model's or a file of weights")
    saved = folder / "model" if (folder / "config.yaml").is_file() else folder
    description = read_description(saved)
    if description["multirate"] is not None:
        raise UsageError(
            f"{folder} holds a multi-rate model, and a run starts from a plain one: fold it first, at a beta of its "
            f"range, with `multirate fold {folder} --beta 1.0 --out PLAIN`, and start from PLAIN"
        )
    if description["model"] is None:
        raise UsageError(
            f"{folder} holds a {description['class']}, which is not built in; convert and train it in Python"
        )
    _check_words(folder, saved, source)
    with preserved_rng():
        model = load(saved)
    return Start(folder, model.state_dict(), _options(model), _beta_of(saved, description))


def load_start(model: nn.Module, start: Start) -> None:
    """Give a network the weights of the model to start from; both must be the same network.

    Args:
        model: plain, built anew; changed in place.
        start: of :func:`read_start`.

    Raises:
        UsageError: naming the first option that differs, with both values; of bare weights the first that does not fit.
    """
    if start.network is None:
        load_weights(model, start.weights, start.folder)
        return
    (name, options), (other, others) = _options(model), start.network
    if name != other:
        raise UsageError(f"{start.folder} holds a model {other}, this run is of model {name}; choose --model {other}")
    for key in {**others, **options}:
        ours, theirs = options.get(key), others.get(key)
        if ours != theirs:
            raise UsageError(
                f"{start.folder} holds another network: its {key} is {_words(theirs)} and this run's is "
                f"{_words(ours)}; choose the same"
            )
    model.load_state_dict(start.weights)


def preserved_beta(spec: RunSpec, start: Start) -> float:
    """Return the beta at which a multi-rate model first computes what the model does that it starts from.

    Args:
        spec: of the multi-rate run.
        start: of :func:`read_start`.

    Returns:
        ``spec.preserve_at``, or else the beta at which the model was trained.

    Raises:
        UsageError: if that beta is not known, or not in the range.
    """
    beta_range = BetaRange(**spec.range_options())
    beta = start.beta if spec.preserve_at is None else spec.preserve_at
    if beta is None:
        raise UsageError(f"{start.folder} does not say at which beta it was trained; say it with --preserve-at")
    if not beta_range.low <= beta <= beta_range.high:
        known = f"{start.folder} was trained at beta" if spec.preserve_at is None else "preserve_at is"
        raise UsageError(
            f"{known} {beta:g}, which is not in the range of {beta_range.low:g} to {beta_range.high:g}: give the beta "
            "of the range at which to start from it with --preserve-at, or another --beta-low or --beta-high"
        )
    return beta


def needs_start(spec: RunSpec, folder: Path, *, resume: bool) -> bool:
    """Return whether a run has still to read what it starts from: one that goes on has it in its checkpoint.

    Args:
        spec: of the run.
        folder: of the run.
        resume: go on where a run in this folder stopped.

    Raises:
        UsageError: if the run that goes on did not start as the specification says.
    """
    run = RunFolder(folder)
    if not (resume and run.exists() and run.checkpoints is not None):
        return spec.start is not None
    before = _record(folder).get("run") or {}
    if _place(before.get("start")) != _place(spec.start) or before.get("preserve_at") != spec.preserve_at:
        raise UsageError(
            f"the run in {folder} started from {_said(before)}, not from {_said(vars(spec))}; go on with the same "
            "command, or choose another folder"
        )
    return spec.start is not None and not checkpoint.newest_first(run.checkpoints)


def start_name(start: str | None) -> str | None:
    """Return the name of what a run started from, without the folders around it; None for new weights."""
    if start is None:
        return None
    path = Path(start)
    return path.parent.name if path.name == "model" else path.name


def _place(start: str | None) -> Path | None:
    return None if start is None else Path(start).resolve()


def _said(options: dict[str, Any]) -> str:
    start, beta = options.get("start"), options.get("preserve_at")
    return "new weights" if start is None else f"{start}" + ("" if beta is None else f" at beta {beta:g}")


def _options(network: nn.Module) -> tuple[str | None, dict[str, Any]]:
    name, options = built_in(network)
    plain: dict[str, Any] = json.loads(json.dumps(options or {}))
    return name, plain


def _words(value: Any) -> str:
    return "the default" if value is None else str(value)


def _beta_of(saved: Path, description: dict[str, Any]) -> float | None:
    extra = description.get("extra") or {}
    beta = extra.get("folded_at_beta", extra.get("beta"))
    if beta is None and saved.name == "model" and (saved.parent / "config.yaml").is_file():
        beta = (_record(saved.parent).get("training") or {}).get("beta")
    if beta is not None and (isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 < beta < math.inf):
        raise DataError(f"{saved} was trained at beta {beta!r}, which is no number above 0; start from another model")
    return None if beta is None else float(beta)


def _record(folder: Path) -> dict[str, Any]:
    try:
        document = read_yaml(folder / "config.yaml")
    except OSError as error:
        raise DataError(f"no file {folder / 'config.yaml'}; start from another run") from error
    return document if isinstance(document, dict) else {}


def _check_words(folder: Path, saved: Path, source: Source | None) -> None:
    if source is None or source.vocabulary is None:
        return
    from multirate.data.vocabulary import Vocabulary

    path = (saved.parent if saved.name == "model" else saved) / VOCABULARY
    if path.is_file() and Vocabulary.load(path) != source.vocabulary:
        raise UsageError(
            f"{folder} knows other words than {source.name}; read the text with its vocabulary: "
            f"--data-options vocabulary={path}"
        )
