"""A run against its baselines, kept in the run's folder for figures and the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multirate.comparison import Comparison, compare, families
from multirate.curve import Curve
from multirate.errors import UsageError
from multirate.experiments.run import read_curve
from multirate.files import remove, write_json


def compare_run(run: Path, baselines: Sequence[Path]) -> list[Comparison]:
    """Compare a run's curve with baselines; in a run's folder, write ``comparison.json`` and ``baselines/*.json``.

    Args:
        run: folder of an evaluated run, or a curve file, beside which nothing is written.
        baselines: folders with a ``curve.json``, or such files.

    Returns:
        One comparison a family of baselines; ``comparison.json`` holds it, or the list of them if there are several.

    Raises:
        UsageError: if there is no baseline, or it measures other data.
        DataError: if a curve is missing or damaged.
    """
    if not baselines:
        raise UsageError("name at least one baseline: a sweep, an evaluated run or a curve.json")
    curve = read_curve(run)
    known = families([read_curve(path) for path in baselines])
    comparisons = [compare(curve, family) for family in known]
    if run.is_dir():
        keep_baselines(run, known)
        write_json(run / "comparison.json", as_json(comparisons))
    return comparisons


def as_json(comparisons: Sequence[Comparison]) -> Any:
    """Return a comparison for JSON as it is, several as a list."""
    found = [comparison.to_dict() for comparison in comparisons]
    return found[0] if len(found) == 1 else found


def keep_baselines(run: Path, curves: Sequence[Curve]) -> None:
    """Replace the baselines in a run's folder."""
    folder = run / "baselines"
    written = [curve.save(folder / f"{index:02d}-{_slug(curve.label)}.json") for index, curve in enumerate(curves)]
    for old in folder.glob("*.json"):
        if old not in written:
            remove(old)


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
