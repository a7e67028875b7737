"""A run from its specification to its curve: what the command line, sweeps and the quickstart have in common."""

import dataclasses
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from multirate.curve import Curve
from multirate.data import Source
from multirate.errors import DataError, UsageError
from multirate.evaluate import evaluate
from multirate.experiments.building import build_model, load_data
from multirate.experiments.facts import training_details, training_times, with_training
from multirate.experiments.spec import MULTIRATE_ONLY, VOCABULARY, RunSpec, for_objective, words_of
from multirate.experiments.start import needs_start
from multirate.inference import base_of
from multirate.invariants import checked
from multirate.loading import load as load_model
from multirate.locking import alone
from multirate.metrics.makers import USUAL_MEASURES
from multirate.metrics.options import MeasureOptions
from multirate.plain import from_plain
from multirate.recalibrate import has_batchnorm
from multirate.saving import DESCRIPTION, read_description
from multirate.training import Run, TrainConfig, fit
from multirate.training.folder import RunFolder
from multirate.training.tracking import Pictures
from multirate.yamlfile import read_yaml

SIGMA, SIGMA_LABEL = "sigma-vae", "\N{GREEK SMALL LETTER SIGMA}-VAE"


@dataclass(frozen=True)
class FinishedRun:
    """A run's folder with what evaluation needs of it.

    Args:
        folder: of the run.
        spec: what was trained.
        details: facts of the training for the curve's record: epochs, learning rate, examples, seconds, seed.
    """

    folder: Path
    spec: RunSpec
    details: dict[str, Any]

    @cached_property
    def model(self) -> nn.Module:
        """The trained model, in eval mode, on the CPU; read when it is first asked for.

        Raises:
            DataError: if a file is damaged, or the model is of a class of the user's own, which only Python can build.
        """
        description = read_description(self.folder / "model")
        if description["model"] is None:
            name = str(description["class"]).rpartition(".")[2]
            model, curve = str(self.folder / "model"), str(self.folder / "curve.json")
            beta = "" if self.beta is None else f", beta={self.beta:g}"
            raise DataError(
                f"the model of {self.folder} is a {description['class']}, which is not built in; go on in Python: "
                f"model = multirate.load({model!r}, base={name}(...)); curve = multirate.evaluate(model, data{beta}); "
                f"curve.save({curve!r})"
            )
        return load_model(self.folder / "model")

    @property
    def beta(self) -> float | None:
        """The beta of a plain model, None for a multi-rate one; of a sigma-VAE the one that its training came to."""
        return self.spec.beta


def train(
    spec: RunSpec,
    config: TrainConfig,
    folder: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    validate: bool = False,
    trackers: Sequence[str] = (),
    pictures: Pictures | None = None,
) -> Run:
    """Train a specification's model in a run's folder.

    Args:
        spec: model and data.
        config: how to train; its beta is replaced by the specification's.
        folder: of the run.
        resume: go on where a run in this folder stopped.
        progress: show a bar.
        validate: measure the validation split after each epoch.
        trackers: as in :func:`multirate.fit`.
        pictures: as in :func:`multirate.fit`.

    Returns:
        The run.

    Raises:
        UsageError: if a KL schedule is asked for a multi-rate model, the likelihood does not suit the data, or the
            model lacks the posterior that the objective needs.
        MultirateError: as :func:`multirate.fit`.
    """
    spec = for_objective(spec, config.objective)
    if spec.beta is None and config.kl_schedule != "constant":
        raise UsageError(
            f"kl_schedule {config.kl_schedule} goes with a plain VAE only, whose beta it ramps; "
            "leave it out, or train a plain one with --beta"
        )
    source = load_data(spec, "train")
    reads_start = needs_start(spec, folder, resume=resume)
    about = spec if reads_start else dataclasses.replace(spec, start=None, preserve_at=None)
    model = build_model(about, source, config.seed)
    _check_likelihood(model, source)
    if spec.beta is not None:
        config = dataclasses.replace(config, beta=spec.beta)
    record = {"run": dataclasses.asdict(spec), "command": command(spec, config, folder)}
    val = load_data(spec, "validation") if validate else None
    run = RunFolder(folder)
    with run.held():
        # One that an earlier command left behind, which then was refused, is of other words.
        if source.vocabulary is not None and not run.exists():
            source.vocabulary.save(folder / VOCABULARY)
        return fit(
            model,
            source,
            config=config,
            val=val,
            out=folder,
            resume=resume,
            progress=progress,
            record=record,
            trackers=trackers,
            pictures=pictures,
        )


def command(spec: RunSpec, config: TrainConfig, folder: Path) -> str:
    """Return the `multirate train` command that makes a run, with every option that is not the default.

    Args:
        spec: model and data.
        config: how to train.
        folder: of the run.
    """
    words = ["multirate", "train"]
    for options, defaults in ((spec, RunSpec()), (config, TrainConfig())):
        for entry in dataclasses.fields(options):
            if entry.name != "beta" or options is not config:
                words += words_of(entry.name, getattr(options, entry.name), getattr(defaults, entry.name))
    return shlex.join([*words, "--out", str(folder)])


def open_run(folder: str | Path, *, data: str | None = None) -> FinishedRun:
    """Read a finished run.

    Args:
        folder: of the run.
        data: name or path of a data set in place of the run's.

    Returns:
        Its specification, and its model when it is asked for.

    Raises:
        DataError: if the folder holds no run, or one that is not finished.
    """
    folder = Path(folder)
    try:
        document = read_yaml(folder / "config.yaml")
        if not isinstance(document, dict):
            raise DataError(f"{folder / 'config.yaml'} is empty or no record of a run; train again in another folder")
        training = document["training"]
        about = document.get("run") or _foreign_spec(document)
        options: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in about.items()}
        if options.get("beta") is not None:
            # Recorded before they were refused beside beta; they did nothing.
            options = {key: value for key, value in options.items() if key not in MULTIRATE_ONLY}
        options |= {} if data is None else _other_data(folder, data)
        unknown = sorted(options.keys() - {entry.name for entry in dataclasses.fields(RunSpec)})
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no option of a run")
        spec = from_plain(RunSpec, options)
        details = training_details(document, training)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{folder} holds no run: {_what_is_there(folder)}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{folder / 'config.yaml'} is not the record of a run: {error}") from error
    if not (folder / "model" / DESCRIPTION).exists():
        raise DataError(
            f"the run in {folder} is not finished; go on with the same `multirate train` command and --resume"
        )
    if training.get("objective") == SIGMA:
        learnt = read_description(folder / "model")["extra"]
        spec, details = dataclasses.replace(spec, beta=learnt.pop("beta")), details | learnt
    return FinishedRun(folder, spec, details | training_times(folder / "metrics.jsonl"))


def evaluate_run(
    run: FinishedRun,
    betas: int | Sequence[float] = 20,
    *,
    split: str = "test",
    samples: int = 1,
    examples: int | None = None,
    seed: int = 0,
    data_dir: str | None = None,
    measures: Sequence[str] = USUAL_MEASURES,
    measure_options: MeasureOptions | None = None,
    recalibrate: bool = False,
    label: str | None = None,
    progress: bool = True,
) -> Curve:
    """Measure a run's curve and write ``curve.json`` and ``curve.csv`` in its folder.

    Args:
        run: of :func:`open_run`.
        betas: how many, or which; a plain model is measured at its own beta.
        split: of the data to measure on.
        samples: posterior samples an example.
        examples: only the first so many.
        seed: of the noise.
        data_dir: folder of the original files, in place of the run's.
        measures: as in :func:`multirate.evaluate`.
        measure_options: as in :func:`multirate.evaluate`.
        recalibrate: estimate BatchNorm statistics anew at each beta, on the run's training data.
        label: of the curve.
        progress: show a bar.

    Returns:
        The curve.

    Raises:
        UsageError: if other betas are asked of a plain model than its own, its likelihood does not suit the data, or
            there is no BatchNorm to recalibrate.
        DataError: if a text's vocabulary is not the one that the run was trained with, or the folder is in use.
        MultirateError: as :func:`multirate.evaluate`.
    """
    _check_betas(run, betas)
    with alone(run.folder):
        model = run.model
        training = recalibration_data(run, data_dir) if recalibrate else None
        source = load_data(run.spec, split, data_dir)
        _check_likelihood(model, source)
        _check_vocabulary(run.folder, source)
        if label is None and run.details.get("objective") == SIGMA:
            label = f"{SIGMA_LABEL} {run.spec.model}"
        curve = evaluate(
            model,
            source,
            20 if run.beta is not None else betas,
            beta=run.beta,
            samples=samples,
            examples=examples,
            seed=seed,
            measures=measures,
            measure_options=measure_options,
            recalibrate=training,
            objective=run.details.get("objective", TrainConfig.objective),
            label=label,
            progress=progress,
        )
        curve = with_training(curve, run.details)
        curve.save(run.folder / "curve.json")
        curve.save_csv(run.folder / "curve.csv")
        return curve


def recalibration_data(run: FinishedRun, data_dir: str | None = None) -> Source:
    """Load the data that a run was trained on, whatever it is measured on, to estimate BatchNorm statistics anew.

    Args:
        run: of :func:`open_run`.
        data_dir: folder of the original files, in place of the run's.

    Raises:
        UsageError: if the run's model has no BatchNorm.
        DataError: if the data cannot be read.
    """
    if not has_batchnorm(run.model):
        raise UsageError(f"{run.folder} has no BatchNorm whose statistics could be recalibrated; leave that out")
    return load_data(open_run(run.folder).spec, "train", data_dir)


def read_curve(path: str | Path) -> Curve:
    """Read the curve of a run, of a sweep, or of a file.

    Args:
        path: a folder with ``curve.json``, or the file.

    Returns:
        The curve, checked (:mod:`multirate.invariants`).

    Raises:
        DataError: if there is none, or it is not a curve.
        UsageError: if the path does not exist.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"no run, sweep or curve file {path}")
    if path.is_dir():
        if not (path / "curve.json").exists():
            raise DataError(f"{path} has no curve yet; run `multirate evaluate {path}` first")
        path = path / "curve.json"
    return checked(Curve.load(path))


def _what_is_there(folder: Path) -> str:
    """Say what a folder without ``config.yaml`` is, and what to do."""
    runs = sorted(path.parent for path in folder.glob("beta-*/config.yaml"))
    if runs:
        return f"it is a sweep; name one of its runs, such as {runs[0]}"
    if (folder / DESCRIPTION).exists():
        return f"it is a saved model, which multirate.load({str(folder)!r}) reads in Python; name the run it came from"
    return f"no config.yaml; make one with `multirate train --out {folder}`"


def _check_betas(run: FinishedRun, betas: int | Sequence[float]) -> None:
    if run.beta is None or isinstance(betas, int):
        return
    if len(betas) != 1 or not math.isclose(betas[0], run.beta, rel_tol=1e-6):
        asked = ", ".join(f"{beta:g}" for beta in betas)
        raise UsageError(
            f"{run.folder} holds a plain VAE, trained at beta {run.beta:g}: it cannot be measured at beta {asked}; "
            "leave the betas out"
        )


def _check_likelihood(model: nn.Module, source: Source) -> None:
    likelihood = getattr(base_of(model), "likelihood", None)
    if isinstance(likelihood, str):
        try:
            source.check_likelihood(likelihood)
        except UsageError as error:
            of_values = likelihood == "bernoulli" and source.likelihood != "categorical"
            remedy = " (--data-options scale=..., --likelihood gaussian)" if of_values else ""
            raise UsageError(f"{error}{remedy}") from error
    low, high = source.value_range or (0.0, 1.0)
    if likelihood == "discretized_logistic" and (low < 0 or high > 1):
        raise UsageError(
            f"{source.name} has values from {low:g} to {high:g}, but a discretized_logistic likelihood needs bytes "
            "divided by 255, in [0, 1]; choose another --likelihood, or divide by --data-options scale=..."
        )


def _check_vocabulary(folder: Path, source: Source) -> None:
    if source.vocabulary is None or not (folder / VOCABULARY).exists():
        return
    from multirate.data.vocabulary import Vocabulary

    if Vocabulary.load(folder / VOCABULARY) != source.vocabulary:
        raise DataError(
            f"{source.name} has another vocabulary than the run was trained with, {folder / VOCABULARY}: its files or "
            "options have changed; for another text give its path with --data"
        )


def _other_data(folder: Path, data: str) -> dict[str, Any]:
    """Return what replaces a run's data; another text is read with the run's vocabulary."""
    text = (folder / VOCABULARY).exists()
    # In quotes, for options are read as YAML, and a path may hold what YAML reads otherwise.
    return {"data": data, "data_options": (f"vocabulary={json.dumps(str(folder / VOCABULARY))}",) if text else ()}


def _foreign_spec(document: dict[str, Any]) -> dict[str, Any]:
    """Make a specification of a run that was trained from Python, by ``multirate.fit``."""
    model = document["model"]
    beta = None if "beta_range" in model else document["training"]["beta"]
    return {"data": document["data"]["name"], "model": model["name"] or "mlp", "beta": beta}
