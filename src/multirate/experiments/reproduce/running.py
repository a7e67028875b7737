"""Tasks one after the other, in processes, or on a cluster; and the lines that tell how far they are."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

from multirate.experiments.parallel import KILLED, in_processes
from multirate.experiments.reproduce.records import steps_of
from multirate.experiments.reproduce.tasks import Outcome, Task, run_task

# Seconds between two looks at the jobs of a cluster.
_POLL = 1.0


def outcomes(tasks: Sequence[Task], *, jobs: int = 1, executor: Any = None) -> Iterator[Outcome]:
    """Do tasks that do not wait for each other.

    Args:
        tasks: what to do.
        jobs: processes at a time, among which the cores are split; 1: in this process.
        executor: of submitit, which then does them, each a job.

    Yields:
        How each of them went, as they come.
    """
    if not tasks:
        return
    if executor is not None:
        yield from _submitted(tasks, executor)
    elif jobs == 1:
        yield from map(run_task, tasks)
    else:
        yield from _in_processes(tasks, jobs)


def _in_processes(tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    left = {task.name for task in tasks}
    try:
        for outcome in in_processes(run_task, tasks, jobs, ordered=False):
            left.discard(outcome.name)
            yield outcome
    except BrokenExecutor:
        yield from (Outcome(name=name, failure=KILLED) for name in sorted(left))


class _Job:
    """Does a task on a cluster; one that is out of time is put in the queue again and goes on from its checkpoint."""

    def __call__(self, task: Task) -> Outcome:
        return run_task(task)

    def checkpoint(self, task: Task) -> Any:
        """Return what is to be done when the time is over: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, task)


def _submitted(tasks: Sequence[Task], executor: Any) -> Iterator[Outcome]:
    from submitit.helpers import as_completed

    with executor.batch():
        jobs = [executor.submit(_Job(), task) for task in tasks]
    names = {job.job_id: task.name for job, task in zip(jobs, tasks, strict=True)}
    for job in as_completed(jobs, poll_frequency=_POLL):
        try:
            outcome: Outcome = job.result()
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            outcome = Outcome(name=names[job.job_id], failure=f"job {job.job_id}: {reason[0]}")
        yield outcome


class Board:
    """Says how far a recipe is: a line a task, with the time that is left.

    The time is guessed from the seconds a step of the tasks so far: of those of the same data and model, if any.

    Args:
        tasks: all of them.
        say: called with each line.
        jobs: at a time.
    """

    def __init__(self, tasks: Sequence[Task], say: Callable[[str], None], jobs: int = 1) -> None:
        self._say = say
        self._jobs = jobs
        self._count = len(tasks)
        self._left = {task.name: task for task in tasks if not task.done}
        self._speeds: dict[tuple[Any, ...], tuple[int, float]] = {}
        self._ready = self._count - len(self._left)

    def begin(self, title: str) -> None:
        """Say what is to do."""
        steps = sum(task.steps_left for task in self._left.values())
        done = f", {self._ready} of them done already" if self._ready else ""
        todo = f": {steps:,} steps of training" if steps else ""
        self._say(f"{title}: {self._count} {'run' if self._count == 1 else 'runs'}{done}{todo}")

    def note(self, outcome: Outcome, *, training: bool = True) -> None:
        """Say how a task went.

        Args:
            outcome: of the task.
            training: whether there was training in it; else its time says nothing of training.
        """
        task = self._left.pop(outcome.name)
        steps = steps_of(task.member) if training and outcome.failure is None else None
        if steps:
            for kind in (_kind(task), ()):
                known, seconds = self._speeds.get(kind, (0, 0.0))
                self._speeds[kind] = (known + steps, seconds + outcome.seconds)
        if outcome.failure is None:
            text = f"{f'{steps:,} steps, ' if steps else ''}{duration(outcome.seconds)}"
        else:
            text = f"{'diverged' if outcome.diverged else 'failed'}: {outcome.failure}"
        left = self._seconds_left() if self._left else None
        self._line(outcome.name, text + ("" if left is None else f"; about {duration(left)} left"))

    def skip(self, name: str, reason: str) -> None:
        """Say that a task is left out, and why."""
        del self._left[name]
        self._line(name, reason)

    def _line(self, name: str, text: str) -> None:
        self._ready += 1
        self._say(f"[{self._ready}/{self._count}] {name}: {text}")

    def _seconds_left(self) -> float | None:
        total = 0.0
        for task in self._left.values():
            steps = 0 if task.trained else steps_of(task.member)
            known, seconds = self._speeds.get(_kind(task)) or self._speeds.get(()) or (0, 0.0)
            if steps is None or not known:
                return None
            total += steps * seconds / known
        return total / max(1, min(self._jobs, len(self._left)))


def duration(seconds: float) -> str:
    """Write a time for people: ``3 s``, ``12 min``, ``1 h 20 min``."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _kind(task: Task) -> tuple[Any, ...]:
    spec = task.member.spec
    return (spec.data, spec.data_options, spec.model, spec.model_options, spec.hidden)
