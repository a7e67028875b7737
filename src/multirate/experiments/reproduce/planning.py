"""From a recipe's arms to tasks: every run once, in an order in which each starts after what it starts from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from multirate.errors import UsageError
from multirate.experiments.reproduce.naming import members_of
from multirate.experiments.reproduce.recipe import SCALES, Arm, Choice, Evaluation, Member, Recipe, Scale
from multirate.experiments.reproduce.selection import on_validation
from multirate.experiments.reproduce.tasks import Task

RUNS = "runs"


def arms_of(recipe: Recipe, scale: Scale) -> tuple[Arm, ...]:
    """Return a recipe's arms.

    Args:
        recipe: which one.
        scale: of its runs.

    Raises:
        UsageError: if the scale is unknown, or an arm cannot be told from another or has nothing to run.
    """
    if scale not in SCALES:
        raise UsageError(f"no scale {scale!r}; choose one of {', '.join(SCALES)}")
    arms = tuple(recipe.arms(scale))
    names = [(arm.panel, arm.label) for arm in arms]
    for arm, name in zip(arms, names, strict=True):
        if names.count(name) > 1:
            raise UsageError(f"{recipe.name} has two arms {arm.label!r} in panel {arm.panel!r}; name one otherwise")
        if not arm.seeds or not all(choices and all(choices) for choices in arm.seeds):
            raise UsageError(f"{recipe.name} has nothing to run for {arm.label!r} in panel {arm.panel!r}; give it runs")
    return arms


def choices_of(arms: Iterable[Arm]) -> Iterator[Choice]:
    """Yield every choice of every arm; what arms share comes several times."""
    yield from (choice for arm in arms for choices in arm.seeds for choice in choices)


def candidates_of(arms: Iterable[Arm]) -> set[str]:
    """Return the names of the members that are one of several to choose from."""
    return {member.name for choice in choices_of(arms) if len(choice) > 1 for member in choice}


def plan(arms: Sequence[Arm], out: Path, *, data_dir: str | None = None, progress: bool = False) -> dict[str, Task]:
    """Return the tasks of arms by name: training, and what has to be measured before candidates are chosen.

    One of several candidates is measured on the validation split, and only the best of them, later, as the recipe
    says.

    Args:
        arms: of a recipe.
        out: folder of all recipes.
        data_dir: folder of the original files, in place of the recipe's.
        progress: show bars.

    Raises:
        UsageError: if two members that differ have one name.
    """
    wanted: dict[str, dict[Evaluation, None]] = {}
    for choice in choices_of(arms):
        for member in choice:
            evaluation = member.evaluation if len(choice) == 1 else on_validation(member.evaluation)
            wanted.setdefault(member.name, {})[evaluation] = None
    return {
        name: Task(
            member=member,
            folder=out / RUNS / name,
            evaluations=tuple(wanted[name]),
            data_dir=data_dir,
            progress=progress,
        )
        for name, member in members_of(arms).items()
    }


def waves(members: Mapping[str, Member]) -> list[list[str]]:
    """Order members: those of a wave start from members of waves before it.

    Args:
        members: by name.

    Returns:
        Names, wave by wave, each in the order in which they came.

    Raises:
        UsageError: if one starts from what is not there, or from itself by a detour.
    """
    depths: dict[str, int] = {}
    for name in members:
        chain = [name]
        while (start := members[chain[-1]].start) is not None and start not in depths:
            if start not in members:
                raise UsageError(f"{chain[-1]} starts from {start}, which is not a run of the recipe; add it to an arm")
            if start in chain:
                raise UsageError(
                    f"{name} starts from itself, by way of {', '.join(chain[1:]) or name}; break the chain"
                )
            chain.append(start)
        for link in reversed(chain):
            start = members[link].start
            depths[link] = 0 if start is None else depths[start] + 1
    found: list[list[str]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    for name in members:
        found[depths[name]].append(name)
    return found
