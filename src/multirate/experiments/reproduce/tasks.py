"""One member's work: trained, or gone on with, and measured; whatever goes wrong comes back as a reason."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

from multirate.curve import Curve
from multirate.errors import DivergenceError, MultirateError
from multirate.experiments.reproduce.recipe import Evaluation, Member
from multirate.experiments.reproduce.records import (
    divergence,
    measured_path,
    note_divergence,
    note_trained,
    steps_of,
    trained,
)
from multirate.experiments.spec import RunSpec
from multirate.locking import alone


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be done of one member.

    Args:
        member: which one.
        folder: of its run; that of the member whose weights it starts from lies beside.
        evaluations: of it, in order; ``curve.json`` holds the last one.
        data_dir: folder of the original files, in place of the specification's.
        progress: show bars.
    """

    member: Member
    folder: Path
    evaluations: tuple[Evaluation, ...]
    data_dir: str | None = None
    progress: bool = False

    @property
    def name(self) -> str:
        """The member's name."""
        return self.member.name

    @property
    def spec(self) -> RunSpec:
        """What is trained, with the folders that it needs."""
        spec, start = self.member.spec, self.member.start
        if start is not None:
            spec = dataclasses.replace(spec, start=str(self.folder.parent / start))
        return spec if self.data_dir is None else dataclasses.replace(spec, data_dir=self.data_dir)

    @property
    def trained(self) -> bool:
        """Whether training is done."""
        return trained(self.member, self.folder)

    @property
    def missing(self) -> tuple[Evaluation, ...]:
        """The evaluations that are not done."""
        return tuple(one for one in self.evaluations if not self.measured(one).exists())

    @property
    def done(self) -> bool:
        """Whether there is nothing to do."""
        return self.trained and not self.missing

    @property
    def state(self) -> str:
        """How far it is, in a word."""
        if self.trained:
            return "trained" if self.missing else "done"
        if divergence(self.member, self.folder) is not None:
            return "diverged"
        return "begun" if (self.folder / "config.yaml").exists() else "to do"

    @property
    def steps_left(self) -> int:
        """Steps of training of what is not trained, as far as they are known; those of a begun run count in full."""
        return (steps_of(self.member) or 0) if self.state in ("to do", "begun") else 0

    def measured(self, evaluation: Evaluation) -> Path:
        """Return the file of an evaluation."""
        return measured_path(self.member, self.folder, evaluation)

    def curve(self, evaluation: Evaluation) -> Curve:
        """Return what an evaluation measured.

        Raises:
            DataError: if it is not done.
        """
        return Curve.load(self.measured(evaluation))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task went.

    Args:
        name: of the member.
        seconds: that it took.
        failure: why it failed, in one line; None if it did not.
        diverged: whether it failed for its training, which would come to the same again.
    """

    name: str
    seconds: float = 0.0
    failure: str | None = None
    diverged: bool = False


def run_task(task: Task) -> Outcome:
    """Train a member and measure it; what is done already is left as it is.

    Args:
        task: what to do.

    Returns:
        How it went: no error of one member stops the others.
    """
    started = time.monotonic()
    failure, diverged = None, False
    try:
        # Another recipe may train the same run, or a process that outlived its parent.
        with alone(task.folder, wait=True):
            _train(task)
            for evaluation in task.missing:
                _measure(task, evaluation)
    except DivergenceError as error:
        failure, diverged = _in_a_line(error), True
        note_divergence(task.member, task.folder, failure)
    except Exception as error:
        failure = _in_a_line(error)
    return Outcome(name=task.name, seconds=time.monotonic() - started, failure=failure, diverged=diverged)


def _train(task: Task) -> None:
    if task.trained:
        return
    from multirate.experiments.run import train

    config = task.member.config
    validate = config.decay == "plateau"
    train(task.spec, config, task.folder, resume=True, progress=task.progress, validate=validate)
    note_trained(task.member, task.folder)


def _measure(task: Task, evaluation: Evaluation) -> None:
    from multirate.experiments.run import evaluate_run, open_run

    plain = task.member.spec.beta is not None
    curve = evaluate_run(
        open_run(task.folder),
        20 if plain else evaluation.betas,
        split=evaluation.split,
        samples=evaluation.samples,
        examples=evaluation.examples,
        data_dir=task.data_dir,
        measures=evaluation.measures,
        measure_options=evaluation.options,
        recalibrate=evaluation.recalibrate,
        progress=task.progress,
    )
    curve.save(task.measured(evaluation))


def _in_a_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, MultirateError) else f"{type(error).__name__}: {text}"
