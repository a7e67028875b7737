"""What comes of a recipe, as files: figure, numbers, claims, curves, and a page that shows them."""

import dataclasses
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multirate.curve import Curve
from multirate.errors import UsageError
from multirate.experiments.reproduce.recipe import Claim, Measured, Recipe, Results
from multirate.files import remove, write_atomic, write_json
from multirate.report.style import save
from multirate.training.folder import commit, versions

_HEADER = ("claim", "paper", "here", "holds at this budget")


def write(recipe: Recipe, results: Results, folder: Path, *, scores: Mapping[str, float] | None = None) -> None:
    """Write everything that a recipe gives, in place of what was there.

    Args:
        recipe: which one.
        results: of it, with its own numbers.
        folder: of the recipe and the scale.
        scores: mean validation objective of each candidate, where there was a choice; infinity if it diverged.

    Raises:
        DataError: if a file cannot be written, or a number is not finite.
        UsageError: if the seeds of an arm were measured at different betas.
    """
    claims = recipe.claims(results)
    numbers = summary(recipe, results, scores or {})
    figure = recipe.figure(results)
    curves = _write_curves(results, folder / "curves")
    save(figure, folder / "figure.png")
    save(figure, folder / "figure.pdf")
    write_json(folder / "numbers.json", numbers)
    write_json(folder / "claims.json", [dataclasses.asdict(claim) for claim in claims])
    table = claims_markdown(claims)
    write_atomic(folder / "claims.md", f"# {recipe.title}: claims\n\n{table}")
    write_atomic(folder / "index.md", _page(recipe, results, table, curves))


def claims_markdown(claims: Sequence[Claim]) -> str:
    """Return the table of claims in Markdown.

    Args:
        claims: one a row.
    """
    rows = [(claim.text, claim.paper, claim.ours, "yes" if claim.holds else "no") for claim in claims]
    lines = [_HEADER, ("---",) * len(_HEADER), *rows]
    return "".join(
        "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) + " |\n" for row in lines
    )


def summary(recipe: Recipe, results: Results, scores: Mapping[str, float]) -> dict[str, Any]:
    """Return what ``numbers.json`` holds: how the results were made, each arm over its seeds, the recipe's numbers.

    Args:
        recipe: which one.
        results: of it.
        scores: of candidates.
    """
    arms = list(results.arms.values())
    runs = {folder.name: folder for one in arms for folders in one.folders for folder in folders}
    document: dict[str, Any] = {
        "recipe": recipe.name,
        "title": recipe.title,
        "scale": results.scale,
        "budget": recipe.budget[results.scale],
        "command": f"multirate reproduce {recipe.name} --scale {results.scale}",
        "versions": versions(),
        "commit": commit(),
        "seeds": sorted({seed for one in arms for seed in seeds_of(one)}),
        "runs": len(runs),
        "arms": [_of_arm(one) for one in arms],
        "numbers": results.numbers,
    }
    if scores:
        document["candidates"] = {name: None if math.isinf(value) else value for name, value in scores.items()}
    return document


def seeds_of(measured: Measured) -> list[int]:
    """Return the training seed of each of an arm's curves."""
    return [choices[0][0].config.seed for choices in measured.arm.seeds]


def over_seeds(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return mean, extremes and sample standard deviation over seeds of each measure, one entry a beta.

    Args:
        curves: one a seed, of the same betas.

    Returns:
        For each point ``beta`` and, by measure, ``mean``; with several seeds also ``min``, ``max`` and
        ``standard_deviation`` (of the sample: divided by one less than the number of seeds).

    Raises:
        UsageError: if the betas differ.
    """
    first = curves[0]
    if any(len(curve) != len(first) or not np.allclose(curve.betas, first.betas, rtol=1e-6) for curve in curves):
        raise UsageError(f"the seeds of {first.label!r} were measured at different betas; give the recipe equal ones")
    rows: list[dict[str, Any]] = [{"beta": float(beta)} for beta in first.betas]
    shared = [name for name in first.measures if name != "beta" and all(name in curve.measures for curve in curves)]
    for name in shared:
        values = np.stack([curve.values(name) for curve in curves])
        for row, column in zip(rows, values.T, strict=True):
            row[name] = {"mean": float(column.mean())}
            if len(curves) > 1:
                extremes = {"min": float(column.min()), "max": float(column.max())}
                row[name] |= extremes | {"standard_deviation": float(column.std(ddof=1))}
    return rows


def slug(text: str) -> str:
    """Return text as a part of a file's name: ``MR-VAE (paper's gates)`` is ``mr-vae-papers-gates``."""
    spelled = "".join(_letter(letter) for letter in text).replace("'", "")
    return re.sub(r"[^a-z0-9.]+", "-", spelled.lower()).strip("-.") or "x"


def _letter(letter: str) -> str:
    if letter.isascii():
        return letter
    name = unicodedata.name(letter, "")
    if name.startswith("GREEK"):
        return name.rpartition(" ")[2]
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()


def _of_arm(measured: Measured) -> dict[str, Any]:
    arm = measured.arm
    return {
        "panel": arm.panel,
        "label": arm.label,
        "kind": arm.kind,
        "budget": arm.budget,
        "seeds": seeds_of(measured),
        "runs": [[folder.name for folder in folders] for folders in measured.folders],
        "training_seconds": _training_seconds(measured),
        "curve": over_seeds(measured.curves),
    }


def _training_seconds(measured: Measured) -> float | None:
    """Return what all runs of an arm took together, None if that was not recorded of each."""
    seconds: list[float] = []
    for curve, folders in zip(measured.curves, measured.folders, strict=True):
        value = curve.details.get("seconds")
        # Joining curves keeps one value where all are equal.
        values = value if isinstance(value, list) else [value] * len(folders)
        if any(not isinstance(one, int | float) for one in values):
            return None
        seconds += map(float, values)
    return round(math.fsum(seconds), 3)


def _write_curves(results: Results, folder: Path) -> dict[str, str]:
    """Write each curve in its file; those of an earlier call that are no more are removed.

    Returns:
        Names of the files, with what is in them.
    """
    written: dict[str, str] = {}
    for (panel, label), measured in results.arms.items():
        for seed, curve in zip(seeds_of(measured), measured.curves, strict=True):
            name = f"{slug(panel)}-{slug(label)}-s{seed}"
            place = name if f"{name}.json" not in written else f"{name}-{len(written)}"
            curve.save(folder / f"{place}.json")
            written[f"{place}.json"] = f"{panel}: {label}, seed {seed}"
    for path in folder.glob("*.json"):
        if path.name not in written:
            remove(path)
    return written


def _page(recipe: Recipe, results: Results, table: str, curves: Mapping[str, str]) -> str:
    listed = "".join(f"- [{about}](curves/{name})\n" for name, about in curves.items())
    return (
        f"# {recipe.title}\n\n"
        f"Scale `{results.scale}`: {recipe.budget[results.scale]}. Made by "
        f"`multirate reproduce {recipe.name} --scale {results.scale}`.\n\n"
        f"![{recipe.title}](figure.png)\n\n"
        f"{table}\n"
        "[Figure as PDF](figure.pdf), [numbers](numbers.json), [claims](claims.json).\n\n"
        f"Curves:\n\n{listed}"
    )
