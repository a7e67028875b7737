"""Runs a recipe: trains what is missing, measures it, chooses among candidates, and writes figure, numbers and claims.

Called again, after a kill at any point or not, it goes on: what is done is read back, without any model.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from multirate.errors import TrainingError, UsageError
from multirate.experiments.reproduce.planning import arms_of, candidates_of, choices_of, plan, waves
from multirate.experiments.reproduce.recipe import Arm, Choice, Measured, Member, Recipe, Results, Scale
from multirate.experiments.reproduce.records import divergence
from multirate.experiments.reproduce.running import Board, outcomes
from multirate.experiments.reproduce.selection import best, on_validation, score
from multirate.experiments.reproduce.tasks import Task
from multirate.experiments.reproduce.writing import write
from multirate.locking import alone
from multirate.merging import merge


def run_recipe(
    recipe: Recipe,
    scale: Scale,
    out: str | Path,
    *,
    jobs: int = 1,
    executor: Any = None,
    data_dir: str | None = None,
    progress: bool = False,
    say: Callable[[str], None] = print,
) -> Results:
    """Reproduce one figure or table.

    The result does not depend on ``jobs``, but for the order of floating-point sums if the number of threads changes.

    Args:
        recipe: which one.
        scale: of its runs.
        out: folder, with ``runs/<member>/`` that recipes share, and ``<recipe>/<scale>/`` for what comes of them.
        jobs: processes at a time; the machine's cores are split among them.
        executor: of submitit, in place of processes here: see :func:`.cluster.cluster_executor`.
        data_dir: folder of the original files, in place of the recipe's.
        progress: show bars, where there is one process.
        say: called with a line when a member is done.

    Returns:
        What was measured, with the recipe's own numbers.

    Raises:
        UsageError: if the scale is unknown, ``jobs`` is below 1, or the recipe contradicts itself.
        TrainingError: if members failed, with the reason of each; the others are done.
        DataError: if another process is at the same recipe and scale in this folder, or it cannot be written.
    """
    if jobs < 1:
        raise UsageError(f"jobs must be at least 1; got {jobs}")
    out = Path(out) if executor is None else Path(out).resolve()
    arms = arms_of(recipe, scale)
    tasks = plan(arms, out, data_dir=data_dir, progress=progress and jobs == 1 and executor is None)
    with alone(out / recipe.name / scale):
        return _run(recipe, scale, out, arms, tasks, _Work(candidates_of(arms), jobs, executor, say))


def _run(
    recipe: Recipe, scale: Scale, out: Path, arms: tuple[Arm, ...], tasks: Mapping[str, Task], work: "_Work"
) -> Results:
    order = waves({name: task.member for name, task in tasks.items()})
    work.do(f"{recipe.name} at scale {scale}", [[tasks[name] for name in wave] for wave in order])
    chosen, scores = _choose(arms, tasks, work)
    finals = {
        member.name: dataclasses.replace(tasks[member.name], evaluations=(member.evaluation,))
        for member in chosen.values()
    }
    if scores:
        best_ones = [task for name, task in finals.items() if name in scores]
        work.do(f"{recipe.name} at scale {scale}, the best candidates", [best_ones])
    work.check()
    found = [_measured(arm, chosen, finals) for arm in arms]
    results = Results(scale, {(one.arm.panel, one.arm.label): one for one in found})
    results = dataclasses.replace(results, numbers={} if recipe.numbers is None else recipe.numbers(results))
    write(recipe, results, out / recipe.name / scale, scores=scores)
    return results


class _Work:
    """Does tasks and keeps what went wrong.

    Args:
        candidates: names of members that may diverge, for there are others to choose from.
        jobs: processes at a time.
        executor: of submitit, or None.
        say: called with lines.
    """

    def __init__(self, candidates: set[str], jobs: int, executor: Any, say: Callable[[str], None]) -> None:
        self._candidates = candidates
        self._jobs = jobs
        self._executor = executor
        self._say = say
        self.failures: dict[str, str] = {}
        self.diverged: set[str] = set()

    def do(self, title: str, waves: list[list[Task]]) -> None:
        """Do what is not done, wave by wave."""
        board = Board([task for wave in waves for task in wave], self._say, self._jobs)
        board.begin(title)
        for wave in waves:
            ready = [task for task in wave if not task.done and self._may_start(task, board)]
            trained = {task.name for task in ready if task.trained}
            for outcome in outcomes(ready, jobs=self._jobs, executor=self._executor):
                board.note(outcome, training=outcome.name not in trained)
                if outcome.diverged and outcome.name in self._candidates:
                    self.diverged.add(outcome.name)
                elif outcome.failure is not None:
                    self.failures[outcome.name] = outcome.failure

    def check(self) -> None:
        """Raise if something failed.

        Raises:
            TrainingError: with the reason of each failure.
        """
        if self.failures:
            count = len(self.failures)
            what = "1 run failed" if count == 1 else f"{count} runs failed"
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failures.items())
            raise TrainingError(
                f"{what}, and the same command goes on with {'it' if count == 1 else 'them'} alone: {reasons}"
            )

    def _may_start(self, task: Task, board: Board) -> bool:
        """Return whether a task can be done; if not, it is kept why."""
        start, known = task.member.start, divergence(task.member, task.folder)
        if start in self.failures:
            self.failures[task.name] = f"not begun, for it starts from {start}"
            board.skip(task.name, self.failures[task.name])
        elif start in self.diverged or (known is not None and task.name in self._candidates):
            self.diverged.add(task.name)
            board.skip(
                task.name, f"diverged: {known}" if known else f"left out, for it starts from {start}, which diverged"
            )
        else:
            return True
        return False


def _choose(
    arms: tuple[Arm, ...], tasks: Mapping[str, Task], work: _Work
) -> tuple[dict[Choice, Member], dict[str, float]]:
    """Return the member of each choice that is not held up by a failure, and the scores of all candidates."""
    chosen: dict[Choice, Member] = {}
    scores: dict[str, float] = {}
    for choice in choices_of(arms):
        if choice in chosen or any(member.name in work.failures for member in choice):
            continue
        if len(choice) == 1:
            chosen[choice] = choice[0]
            continue
        for member in choice:
            lost = member.name in work.diverged
            scores[member.name] = (
                math.inf if lost else score(tasks[member.name].curve(on_validation(member.evaluation)))
            )
        try:
            chosen[choice] = best(choice, scores)
        except TrainingError as error:
            work.failures[choice[0].name] = str(error)
    return chosen, scores


def _measured(arm: Arm, chosen: Mapping[Choice, Member], tasks: Mapping[str, Task]) -> Measured:
    """Return an arm's curves; those of dedicated models are joined, one curve a seed."""
    curves, folders = [], []
    for choices in arm.seeds:
        members = [chosen[choice] for choice in choices]
        parts = [tasks[member.name].curve(member.evaluation) for member in members]
        joined = parts[0] if len(parts) == 1 else merge(parts)
        curves.append(dataclasses.replace(joined, label=arm.label))
        folders.append(tuple(tasks[member.name].folder for member in members))
    return Measured(arm, tuple(curves), tuple(folders))
