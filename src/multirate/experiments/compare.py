"""A run against its baselines, kept in the run's folder for figures and the report."""

from collections.abc import Sequence
from pathlib import Path

from multirate.comparison import Comparison, compare, families
from multirate.curve import Curve
from multirate.errors import UsageError
from multirate.experiments.run import read_curve
from multirate.files import write_json


def compare_run(run: Path, baselines: Sequence[Path]) -> list[Comparison]:
    """Compare a run's curve with baselines; in a run's folder, write ``comparison.json`` and ``baselines/*.json``.

    Args:
        run: folder of an evaluated run, or a curve file, beside which nothing is written.
        baselines: folders with a ``curve.json``, or such files.

    Returns:
        One comparison a family of baselines.

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
        write_json(run / "comparison.json", comparisons[0].to_dict())
    return comparisons


def keep_baselines(run: Path, curves: Sequence[Curve]) -> None:
    """Replace the baselines in a run's folder."""
    folder = run / "baselines"
    for old in folder.glob("*.json"):
        old.unlink()
    for index, curve in enumerate(curves):
        curve.save(folder / f"{index:02d}-{_slug(curve.label)}.json")


def read_baselines(run: Path) -> list[Curve]:
    """Read the baselines that :func:`keep_baselines` left in a run's folder, in their order; none is an empty list."""
    return [Curve.load(path) for path in sorted((run / "baselines").glob("*.json"))]


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
