"""``multirate reproduce``."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from multirate.cli.shared import Screen, Shared, SharedOptions, counted
from multirate.errors import MultirateError, TrainingError, UsageError
from multirate.experiments.reproduce.recipes import load_recipe, recipe_names
from multirate.experiments.spec import read_pairs

if TYPE_CHECKING:
    from multirate.experiments.reproduce.recipe import Recipe

RESUME = "go on with the same command: what is finished is kept"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make a figure or table of the paper: train and measure its runs, draw it, and judge the paper's claims.

    Run again, after an interruption or not, it goes on: finished runs are kept, and recipes share them. Each recipe
    leaves figure, numbers, curves and claims in OUT/RECIPE/SCALE/, and index.md to look at.

    Example: multirate reproduce fig5

    Example: multirate reproduce fig1 table2 --scale cpu --jobs 2 --data-dir data

    Example: multirate reproduce all --scale cpu --dry-run

    Example: multirate reproduce fig5 --scale paper --slurm --slurm-options gpus_per_node=1 cpus_per_task=8
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE [RECIPE ...]")]
    """fig1, fig4, fig5, fig6, fig7, fig8, fig9, table1 or table2; several; or all."""
    scale: Literal["smoke", "cpu", "paper"] = "smoke"
    """smoke shows in about a minute, on data that come with the package, that everything works, and is the default
    since it costs nothing; cpu is a short version, about an hour a recipe on two cores, whose results mean something;
    paper is the paper's protocol."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/reproduce")
    """Folder of runs/, which all recipes share, and of a folder for each recipe."""
    jobs: int = 1
    """Processes at a time, among which the cores are split; with --slurm, jobs at a time."""
    data_dir: str | None = None
    """Folder of the original data files, tried before MULTIRATE_DATA and the cache."""
    dry_run: bool = False
    """Train nothing: show the runs, what they come to in steps, and what is done."""
    slurm: bool = False
    """Train and measure on a Slurm cluster, each run a job (extra slurm); OUT is then a folder that all nodes see."""
    slurm_partition: str | None = None
    """Partition of the cluster."""
    slurm_hours: float = 24.0
    """Hours of a job; one that is out of time is put in the queue again and goes on."""
    slurm_options: tuple[str, ...] = ()
    """Further parameters of submitit's AutoExecutor, each as name=value: gpus_per_node=1, mem_gb=16."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Reproduce, and print the claims of each recipe."""
    names = recipe_names(options.names)
    if options.jobs < 1:
        raise UsageError(f"jobs must be at least 1; got {options.jobs}")
    if not options.slurm and (options.slurm_partition is not None or options.slurm_options):
        raise UsageError("slurm_partition and slurm_options go with --slurm; add it, or leave them out")
    screen = Screen(options.shared)
    recipes = [load_recipe(name) for name in names]
    if options.dry_run:
        screen.result([_show(screen, recipe, options) for recipe in recipes])
        return
    executor = _executor(options) if options.slurm else None
    done, failures = [], {}
    for recipe in recipes:
        try:
            done.append(_reproduce(screen, recipe, options, executor))
        except MultirateError as error:
            if len(recipes) == 1:
                raise
            failures[recipe.name] = str(error)
            screen.say(f"{recipe.name}: {error}")
    screen.result(done)
    if failures:
        raise TrainingError("; ".join(f"{name}: {reason}" for name, reason in failures.items()))


def _reproduce(screen: Screen, recipe: "Recipe", options: Options, executor: Any) -> dict[str, Any]:
    from multirate.experiments.reproduce.engine import run_recipe
    from multirate.files import read_json

    run_recipe(
        recipe,
        options.scale,
        options.out,
        jobs=options.jobs,
        executor=executor,
        data_dir=options.data_dir,
        progress=sys.stderr.isatty(),
        say=screen.say,
    )
    folder = options.out / recipe.name / options.scale
    claims = read_json(folder / "claims.json")
    screen.say(f"\n{recipe.name}: {recipe.title}, at scale {options.scale}\n")
    for claim in claims:
        holds, text, paper, here = ("yes" if claim["holds"] else "no"), claim["text"], claim["paper"], claim["ours"]
        screen.say(f"{holds:>4}  {text}\n      paper: {paper}\n      here:  {here}")
    screen.say(f"\n{sum(claim['holds'] for claim in claims)} of {counted(len(claims), 'claim')} hold at this budget")
    screen.say(f"wrote {folder / 'index.md'}, figure.png, numbers.json, claims.md and curves/")
    return {"recipe": recipe.name, "scale": options.scale, "folder": str(folder), "claims": claims}


def _show(screen: Screen, recipe: "Recipe", options: Options) -> dict[str, Any]:
    from multirate.experiments.reproduce.planning import arms_of, plan
    from multirate.experiments.reproduce.records import steps_of

    tasks = plan(arms_of(recipe, options.scale), options.out)
    runs = [
        {"run": name, "steps": steps_of(task.member), "starts_from": task.member.start, "state": task.state}
        for name, task in tasks.items()
    ]
    steps = sum(task.steps_left for task in tasks.values())
    title = f"{recipe.name}: {recipe.title}, at scale {options.scale}"
    screen.table([list(runs[0]), *([_cell(value) for value in row.values()] for row in runs)], title)
    screen.say(
        f"{recipe.budget[options.scale]}\n{counted(len(runs), 'run')}, {counted(steps, 'step')} still to train\n"
    )
    return {"recipe": recipe.name, "scale": options.scale, "runs": runs, "steps_to_train": steps}


def _cell(value: str | int | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else value


def _executor(options: Options) -> Any:
    from multirate.experiments.reproduce.cluster import cluster_executor

    return cluster_executor(
        options.out.resolve() / "slurm",
        partition=options.slurm_partition,
        hours=options.slurm_hours,
        jobs=options.jobs if options.jobs > 1 else None,
        options=read_pairs(options.slurm_options, "a slurm option"),
    )
