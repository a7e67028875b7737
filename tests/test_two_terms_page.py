"""The numbers of the page on two terms are those of its curves."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "two-terms.md"
MEASURED = ROOT / "docs" / "two-terms"
NAMES = {
    "A, squared error": "distortion",
    "B, distance of batches": "rate",
    "PSNR, dB": "psnr",
    "Frechet distance": "frechet_distance[efficientnet_lite0]",
}


def points(name: str) -> list[dict[str, float]]:
    return list(json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))["points"])


def test_the_table_holds_what_was_measured() -> None:
    one = {f"{point['beta']:.2g}": point for point in points("curve")}
    columns = [one["0.1"], one["0.37"], one["1.4"], one["10"], *points("dedicated")]
    columns.append(json.loads((MEASURED / "bicubic.json").read_text(encoding="utf-8")))
    text = PAGE.read_text(encoding="utf-8")
    for label, name in NAMES.items():
        row = re.search(rf"^\| {label} \|(.*)\|$", text, re.MULTILINE)
        assert row is not None, label
        for cell, column in zip(row[1].split("|"), columns, strict=True):
            if name in column:
                assert float(cell) == pytest.approx(column[name], abs=0.051 if "Frechet" in label else 0.0051)
            else:
                assert cell.strip() == "-"


def test_the_trade_off_is_monotone_and_the_gaps_are_those_of_the_page() -> None:
    for name, sign in (("distortion", 1), ("rate", -1), ("frechet_distance[efficientnet_lite0]", -1)):
        values = [sign * point[name] for point in points("curve")]
        assert values == sorted(values), name
    compared = (MEASURED / "comparison.txt").read_text(encoding="utf-8")
    assert re.findall(r"\+(\d\.\d)\d$", compared, re.MULTILINE) == ["1.9", "1.3"]
