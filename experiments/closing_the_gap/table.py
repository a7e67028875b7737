"""Print the gaps of a table of trials as Markdown: ``python experiments/closing_the_gap/table.py``."""

import argparse
import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from options import Trial

from multirate.errors import DataError

TABLE = Path(__file__).resolve().parents[2] / "results" / "closing-the-gap" / "trials.jsonl"
FOUR_BETAS = (0.01, 0.1, 1.0, 10.0)
# A dedicated run stands against a multi-rate one if these are equal.
SETTING = (
    *("model", "latents", "data", "examples", "epochs", "batch_size"),
    *("initial_weights", "initial_scale", "decay", "decay_fraction", "hidden", "step_factors"),
)


@dataclass(frozen=True)
class Dedicated:
    """The best dedicated beta-VAE of one setting at one beta.

    Args:
        objective: on the split that is shown, mean over seeds, nats per example.
        learning_rate: of that run, chosen on the validation split.
        seeds: how many.
    """

    objective: float
    learning_rate: float
    seeds: int


@dataclass(frozen=True)
class Gaps:
    """One multi-rate trial, all its seeds together, held against dedicated runs.

    Args:
        note: of the first seed.
        trial: its options, of the first seed.
        seeds: how many.
        objective: at each beta, mean over seeds, nats per example.
        gap: objective above the best dedicated run's, at each beta that has one.
        dedicated_seeds: the fewest seeds of these dedicated runs, 0 if there are none.
    """

    note: str
    trial: Trial
    seeds: int
    objective: dict[float, float]
    gap: dict[float, float]
    dedicated_seeds: int

    @property
    def mean(self) -> float | None:
        """Mean gap over all betas that have a dedicated run."""
        return fmean(self.gap.values()) if self.gap else None

    @property
    def worst(self) -> float | None:
        """Largest gap over all betas that have a dedicated run."""
        return max(self.gap.values(), default=None)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a table of trials, one JSON object a line; a file that is not there is empty.

    Raises:
        DataError: if a line is not JSON.
    """
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as error:
        raise DataError(f"cannot read {path}: {error}") from error


def by_trial(rows: Iterable[dict[str, Any]]) -> dict[Trial, list[dict[str, Any]]]:
    """Group rows that differ in their seed alone, in the order of the first; of equal rows the last counts."""
    latest: dict[Trial, dict[str, Any]] = {Trial.from_options(row["trial"]): row for row in rows}
    groups: dict[Trial, list[dict[str, Any]]] = {}
    for trial, row in latest.items():
        groups.setdefault(dataclasses.replace(trial, seed=0), []).append(row)
    return groups


def mean_objective(rows: Sequence[dict[str, Any]], split: str) -> dict[float, float]:
    """Return the mean over rows of the objective at each beta."""
    columns = zip(*(row[split]["objective"] for row in rows), strict=True)
    return {beta: fmean(column) for beta, column in zip(rows[0]["betas"], columns, strict=True)}


def setting(trial: Trial, epochs: int | None = None) -> tuple[Any, ...]:
    """Return the options in which a dedicated run must equal a multi-rate one; ``epochs`` replaces the trial's."""
    chosen = trial if epochs is None else dataclasses.replace(trial, epochs=epochs)
    return tuple(getattr(chosen, name) for name in SETTING)


def best_dedicated(rows: Iterable[dict[str, Any]], split: str = "test") -> dict[tuple[Any, ...], Dedicated]:
    """Find the best dedicated run of each setting and beta.

    Step size and the other options that are not part of the setting are chosen by the objective on the validation
    split, mean over seeds.

    Args:
        rows: of the table.
        split: ``validation`` or ``test``, whose objective is reported.

    Returns:
        By setting and beta.
    """
    best: dict[tuple[Any, ...], tuple[float, Dedicated]] = {}
    for trial, group in by_trial(rows).items():
        if trial.beta is None:
            continue
        key = (*setting(trial), trial.beta)
        choice = mean_objective(group, "validation")[trial.beta]
        if key not in best or choice < best[key][0]:
            found = Dedicated(mean_objective(group, split)[trial.beta], trial.learning_rate, len(group))
            best[key] = (choice, found)
    return {key: found for key, (_, found) in best.items()}


def gaps(rows: Sequence[dict[str, Any]], split: str = "test", dedicated_epochs: int | None = None) -> list[Gaps]:
    """Hold every multi-rate trial against the best dedicated runs of its setting.

    Args:
        rows: of the table.
        split: ``validation`` or ``test``.
        dedicated_epochs: of the dedicated runs; None: as many as the multi-rate trial.

    Returns:
        In the table's order.
    """
    best = best_dedicated(rows, split)
    found = []
    for trial, group in by_trial(rows).items():
        if trial.beta is not None:
            continue
        objective = mean_objective(group, split)
        against = {beta: best.get((*setting(trial, dedicated_epochs), beta)) for beta in objective}
        held = {beta: run for beta, run in against.items() if run is not None}
        gap = {beta: objective[beta] - run.objective for beta, run in held.items()}
        fewest = min((run.seeds for run in held.values()), default=0)
        found.append(Gaps(group[0]["note"], trial, len(group), objective, gap, fewest))
    return found


def markdown(found: Sequence[Gaps]) -> str:
    """Return a Markdown table of gaps, nats per example; n/a where no dedicated run of the same setting is known."""
    betas = " | ".join(f"{beta:g}" for beta in FOUR_BETAS)
    lines = [
        f"| trial | differs from the default in | {betas} | mean | worst | of betas | seeds | dedicated seeds |",
        "|---|---|" + "---|" * (len(FOUR_BETAS) + 5),
    ]
    for gap in found:
        options = ", ".join(f"{name} {value}" for name, value in gap.trial.differences().items() if name != "seed")
        figures = [*(gap.gap.get(beta) for beta in FOUR_BETAS), gap.mean, gap.worst]
        shown = " | ".join("n/a" if value is None else f"{value:+.2f}" for value in figures)
        counts = f"{len(gap.gap)} of {len(gap.objective)} | {gap.seeds} | {gap.dedicated_seeds}"
        lines.append(f"| {gap.note} | {options} | {shown} | {counts} |")
    return "\n".join(lines)


def dedicated_markdown(rows: Sequence[dict[str, Any]], split: str) -> str:
    """Return a Markdown table of the best dedicated runs."""
    lines = [f"| {' | '.join(SETTING)} | beta | objective | learning rate | seeds |", "|" + "---|" * (len(SETTING) + 4)]
    for key, run in best_dedicated(rows, split).items():
        cells = [*map(str, key), f"{run.objective:.2f}", f"{run.learning_rate:g}", str(run.seeds)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the gaps of all multi-rate trials, and what they are held against."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=TABLE, help="JSON lines (%(default)s)")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="(%(default)s)")
    parser.add_argument("--model", help="only trials of this model")
    parser.add_argument("--data", help="only trials on these data")
    parser.add_argument("--epochs", type=int, help="only multi-rate trials of so many epochs")
    parser.add_argument("--seed", type=int, help="only runs of this seed, on both sides")
    parser.add_argument("--dedicated-epochs", type=int, help="of the dedicated runs; otherwise as many as the trial")
    chosen = parser.parse_args(arguments)
    rows = [
        row
        for row in read_rows(chosen.table)
        if all(
            wanted is None or row["trial"][name] == wanted
            for name, wanted in (("model", chosen.model), ("data", chosen.data), ("seed", chosen.seed))
        )
    ]
    found = gaps(rows, chosen.split, chosen.dedicated_epochs)
    print(
        f"Gap in D + beta R to the best dedicated beta-VAE of the same setting, {chosen.split} split, nats/example.\n"
    )
    print(markdown([gap for gap in found if chosen.epochs in (None, gap.trial.epochs)]))
    print("\nDedicated runs, step size chosen on the validation split:\n")
    print(dedicated_markdown(rows, chosen.split))


if __name__ == "__main__":
    main()
