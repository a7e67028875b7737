"""The numbers of the page on pretrained models are those of its curves."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "integrations" / "pretrained.md"
MEASURED = ROOT / "results" / "from-plain" / "mlp"
ROW = re.compile(r"^\| (fine-tuned|from scratch), (\d) epochs? \|(.*)\|$", re.MULTILINE)


def objectives(name: str) -> dict[str, float]:
    points = json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))["points"]
    return {f"{point['beta']:.3g}": point["distortion"] + point["beta"] * point["rate"] for point in points}


def test_the_table_holds_the_gaps_of_the_measured_curves() -> None:
    dedicated = objectives("dedicated")
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len(rows) == 8
    for kind, epochs, cells in rows:
        measured = objectives(f"{kind.removeprefix('from ')}-{epochs}")
        gaps = [measured[beta] - dedicated[beta] for beta in ("0.01", "0.1", "1", "10")]
        assert [float(cell) for cell in cells.split("|")] == pytest.approx(gaps, abs=0.0501)


def test_the_plain_model_uses_as_many_latents_as_the_page_says() -> None:
    (point,) = json.loads((MEASURED / "plain.json").read_text(encoding="utf-8"))["points"]
    assert f"({point['active_units']} of 32)" in PAGE.read_text(encoding="utf-8")
