"""``multirate train``."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from multirate.cli.shared import RunPath, Screen, Shared, SharedOptions
from multirate.errors import DataError, UsageError
from multirate.experiments.spec import FLAGS, RunSpec, words_of
from multirate.training.config import TrainConfig

RESUME = "go on with the same command and --resume"
# Names on the command line, to fields.
_FIELDS = {flag: name for name, flag in FLAGS.items()}
# What is on unless it is switched off; other truth values are off.
_SWITCHES = {entry.name: True for entry in dataclasses.fields(TrainConfig) if entry.default is True}


@dataclass(frozen=True)
class TrainingOptions(TrainConfig):
    """The training options, but for beta: on the command line it chooses between a plain and a multi-rate model."""

    beta: tyro.conf.Suppress[tyro.conf.Fixed[float]] = 1.0

    def config(self) -> TrainConfig:
        """Return the options as :func:`multirate.fit` takes them."""
        return TrainConfig(**dataclasses.asdict(self))


@dataclass(frozen=True, kw_only=True)
class TrainSpec(RunSpec):
    """The specification of a run, with the names that its options have on the command line."""

    start: Annotated[str | None, tyro.conf.arg(name=FLAGS["start"], metavar="RUN")] = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train one model: a multi-rate VAE, or with --beta a plain beta-VAE.

    Example: multirate train --data mnist --model resnet --epochs 8 --out runs/mnist
    """

    out: RunPath
    """Folder of the run, made here: config.yaml, metrics.jsonl, checkpoints/ and model/."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE.yaml")] = None
    """YAML file with any of these options by name, or a run's config.yaml to repeat it; the command line wins."""
    resume: bool = False
    """Go on where the run in this folder stopped."""
    validate: bool = False
    """Measure the validation split after each epoch, into metrics.jsonl, and show the curve so far."""
    track: Annotated[tuple[Literal["tensorboard", "wandb", "trackio"], ...], tyro.conf.arg(metavar="TRACKER ...")] = ()
    """Send the metrics to tensorboard (files in OUT/tracking), wandb or trackio too; with --validate also the curve so
    far, reconstructions and samples."""
    spec: Annotated[TrainSpec, tyro.conf.arg(name="")] = field(default_factory=TrainSpec)
    training: Annotated[TrainingOptions, tyro.conf.arg(name="")] = field(default_factory=TrainingOptions)
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Train, and say where the run is."""
    from multirate.experiments.monitoring import pictures
    from multirate.experiments.run import train

    screen = Screen(options.shared)
    done = train(
        options.spec,
        options.training.config(),
        options.out,
        resume=options.resume,
        validate=options.validate,
        trackers=options.track,
        pictures=pictures,
    )
    if os.environ.get("RANK", "0") != "0":
        return  # one of several processes, of which the first speaks
    last = {key: done.history[-1][key] for key in ("loss", "rate", "distortion")} if done.history else {}
    numbers = ", ".join(f"{key} {value:.2f}" for key, value in last.items())
    screen.say(f"trained in {done.seconds:.0f} s; at the end of training, in nats an example: {numbers}")
    screen.say(f"the run is in {options.out}; next: multirate evaluate {options.out}")
    screen.result({"run": str(options.out), "seconds": done.seconds, "epochs": done.config.epochs, **last})


def expand(words: Sequence[str]) -> list[str]:
    """Put the options of the YAML file named by ``--config`` before those on the command line, which then win.

    Args:
        words: the command line.

    Returns:
        Words for the parser.

    Raises:
        UsageError: if the file is missing, not a YAML mapping, or has an unknown key.
    """
    path = _config_path(words)
    if path is None:
        return list(words)
    known = _option_names()
    expanded: list[str] = []
    for key, value in _read(path).items():
        name = _FIELDS.get(str(key), str(key)).replace("-", "_")
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`multirate train --help` lists the options"
            raise UsageError(f"unknown option {str(key)!r} in {path}; {hint}")
        expanded += _words(name, value, path)
    return [*expanded, *words]


def _config_path(words: Sequence[str]) -> Path | None:
    for index, word in enumerate(words):
        if word == "--config" and index + 1 < len(words):
            return Path(words[index + 1])
        if word.startswith("--config="):
            return Path(word.partition("=")[2])
    return None


def _option_names() -> list[str]:
    nested = (RunSpec, TrainingOptions, Shared)
    names = [
        entry.name
        for entry in dataclasses.fields(Options)
        if entry.name not in ("spec", "training", "shared", "config")
    ]
    return [*names, *(entry.name for kind in nested for entry in dataclasses.fields(kind))]


def _read(path: Path) -> dict[Any, Any]:
    from multirate.reading import reason
    from multirate.yamlfile import read_yaml

    try:
        content = read_yaml(path)
    except OSError as error:
        raise UsageError(f"cannot read {path} as YAML: {reason(error)}") from error
    except DataError as error:
        raise UsageError(str(error)) from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold options as `name: value`, one a line")
    run, training = content.get("run"), content.get("training")
    if isinstance(run, dict) and isinstance(training, dict):
        return {key: value for key, value in training.items() if key != "beta"} | run
    return content


def _words(name: str, value: Any, path: Path) -> list[str]:
    if value is None or value == []:
        return []
    if isinstance(value, dict):
        raise UsageError(f"option {name!r} in {path} must be a value or a list, not a mapping")
    return words_of(name, value, _SWITCHES.get(name, False) if isinstance(value, bool) else None)
