"""What a run's folder holds, as far as a report needs it; no torch, so nothing of the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from multirate.collapse import Collapse, collapse
from multirate.comparison import Comparison, compare, families
from multirate.curve import Curve
from multirate.errors import DataError, UsageError
from multirate.fairness import incompatible
from multirate.files import read_json
from multirate.invariants import checked
from multirate.reading import json_lines, reason
from multirate.yamlfile import read_yaml

# Of a run's folder, where the explorer lies.
EXPLORER = "explorer/index.html"
# Drawn anew inside the page, from the curves themselves.
_REDRAWN = ("rate_distortion", "against_beta", "gaps", "training")


@dataclass(frozen=True)
class RunFiles:
    """The files of one run.

    Args:
        folder: of the run.
        config: of ``config.yaml``; empty if there is none.
        history: the lines of ``metrics.jsonl``.
        curve: of ``curve.json``, or None.
        baselines: of ``baselines/*.json``, a curve a family.
        comparisons: of the curve with each of them; of ``comparison.json`` if there are no baselines.
        pictures: ``figures/*.png``, but for the figures that the report draws itself.
        sentences: the points of ``sentences.json``, what a text model writes at each beta.
        left_out: why baselines that are there do not appear, a sentence each.
        collapse: of ``collapse.json`` if it is of this curve, or else of the curve alone; None without a curve.
        measured: day of ``curve.json``, or an empty string.
        explorer: whether the folder holds the explorer's page.
    """

    folder: Path
    config: dict[str, Any]
    history: list[dict[str, Any]]
    curve: Curve | None
    baselines: list[Curve]
    comparisons: list[Comparison]
    pictures: list[Path]
    sentences: list[dict[str, Any]]
    left_out: list[str]
    collapse: Collapse | None
    measured: str
    explorer: bool = False


def read_run(folder: Path, baselines: Sequence[Curve] = ()) -> RunFiles:
    """Read a run's folder.

    Args:
        folder: of the run.
        baselines: in place of those in the folder.

    Returns:
        What is there; baselines that cannot be compared with the curve are left out, with a sentence that says so.

    Raises:
        DataError: if there is neither ``config.yaml`` nor ``curve.json``, or a file is damaged.
    """
    measured = folder / "curve.json"
    if not measured.exists() and not (folder / "config.yaml").exists():
        raise DataError(f"{folder} holds no run; make one with `multirate train --out {folder}`")
    curve = checked(Curve.load(measured)) if measured.exists() else None
    found = list(baselines) or [Curve.load(path) for path in sorted((folder / "baselines").glob("*.json"))]
    kept, comparisons, left_out = _compared(curve, found)
    if not found and (folder / "comparison.json").exists():
        comparisons = [Comparison.load(folder / "comparison.json")]
    changed = datetime.fromtimestamp(measured.stat().st_mtime, UTC) if curve is not None else None
    return RunFiles(
        folder=folder,
        config=_config(folder / "config.yaml"),
        history=_history(folder / "metrics.jsonl"),
        curve=curve,
        baselines=kept,
        comparisons=comparisons,
        pictures=[p for p in sorted((folder / "figures").glob("*.png")) if not p.stem.startswith(_REDRAWN)],
        sentences=_sentences(folder / "sentences.json"),
        left_out=left_out,
        collapse=None if curve is None else _collapse(folder / "collapse.json", curve),
        measured="" if changed is None else f"{changed:%d %B %Y}",
        explorer=(folder / EXPLORER).is_file(),
    )


def _collapse(path: Path, curve: Curve) -> Collapse:
    """Return what was kept, unless it is of another curve."""
    if path.exists():
        kept = Collapse.load(path)
        if kept.betas == tuple(curve.betas.tolist()) and path.stat().st_mtime_ns >= _changed(path.parent):
            return kept
    try:
        return collapse(curve)
    except DataError as error:
        raise DataError(f"{path.parent / 'curve.json'}: {error}") from error


def _changed(folder: Path) -> int:
    return (folder / "curve.json").stat().st_mtime_ns


def _compared(curve: Curve | None, found: Sequence[Curve]) -> tuple[list[Curve], list[Comparison], list[str]]:
    """Return the families of baselines that fit the curve, their comparisons, and why others are left out."""
    kept: list[Curve] = []
    comparisons: list[Comparison] = []
    reasons: dict[str, list[str]] = {}
    fitting = []
    for baseline in found:
        differing = [] if curve is None else incompatible(curve, baseline)
        if differing:
            reasons.setdefault(f"differ in {' and '.join(differing)}", []).append(_named(baseline))
        else:
            fitting.append(baseline)
    try:
        joined = families(fitting)
    except UsageError as error:
        joined = []
        reasons[f"do not go together ({error})"] = [_named(baseline) for baseline in fitting]
    for family in joined:
        try:
            comparisons += [] if curve is None else [compare(curve, family)]
            kept.append(family)
        except UsageError as error:
            reasons[f"cannot be compared ({error})"] = [_named(family)]
    return (
        kept,
        comparisons,
        [
            f"baselines left out: {', '.join(names)} {reason}; run multirate compare again"
            for reason, names in reasons.items()
        ],
    )


def _named(curve: Curve) -> str:
    return f"{curve.label} (β = {', '.join(f'{beta:.3g}' for beta in curve.betas)})"


def _config(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        return {}
    return content if isinstance(content, dict) else {}


def _sentences(path: Path) -> list[dict[str, Any]]:
    content = read_json(path, "remove it and run `multirate evaluate` again") if path.exists() else {}
    points = content.get("points", []) if isinstance(content, dict) else None
    wanted = ("inputs", "reconstructions", "samples")
    if not isinstance(points, list) or not all(
        isinstance(p, dict) and "beta" in p and all(isinstance(p.get(key), list) for key in wanted) for p in points
    ):
        raise DataError(f"{path} holds no sentences; remove it and run `multirate evaluate` again")
    return points


def _history(path: Path) -> list[dict[str, Any]]:
    """Read the lines that are whole; a run that was stopped may have left half of one."""
    try:
        return [line for line in json_lines(path) if isinstance(line, dict)] if path.exists() else []
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}; remove it") from error
