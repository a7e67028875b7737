"""The sections of docs/reproduction.md hold what results/reproduce holds; MULTIRATE_REGENERATE=1 writes them anew."""

import json
from pathlib import Path
from typing import Any

import pytest

from multirate.curve import Curve
from multirate.experiments.reproduce.recipe import Claim
from multirate.experiments.reproduce.writing import claims_markdown
from pages import holds

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reproduction.md"
KEPT = ROOT / "results" / "reproduce"
RECIPES = tuple(sorted(path.parent.name for path in KEPT.glob("*/numbers.json")))


def read(name: str, file: str) -> Any:
    return json.loads((KEPT / name / file).read_text(encoding="utf-8"))


def claims_of(name: str) -> list[Claim]:
    return [Claim(**claim) for claim in read(name, "claims.json")]


def section(name: str) -> str:
    numbers = read(name, "numbers.json")
    made = f"`{numbers['command']}`, at {numbers['commit'][:7]}"
    if numbers["runs"]:
        made += f"; runs: {numbers['runs']}, seeds: {', '.join(map(str, numbers['seeds']))}"
    budget = numbers["budget"][0].upper() + numbers["budget"][1:]
    lines = [
        f"## {name}: {numbers['title']}\n",
        f"{budget}. ({made})\n",
        f"![{numbers['title']}](../results/reproduce/{name}/figure.png)\n",
        claims_markdown(claims_of(name)),
    ]
    return "\n".join(lines) + "\n"


def sections() -> str:
    return "\n".join(map(section, RECIPES))


def test_the_page_holds_what_the_results_hold() -> None:
    holds(PAGE, "recipes", f"\n{sections()}\n")


@pytest.mark.parametrize("name", RECIPES)
def test_a_kept_recipe_has_its_curves_and_its_figure(name: str) -> None:
    numbers = read(name, "numbers.json")
    curves = [Curve.load(path) for path in sorted((KEPT / name / "curves").glob("*.json"))]
    assert len(curves) == sum(len(arm["seeds"]) for arm in numbers["arms"])
    assert numbers["scale"] == "cpu"
    assert (KEPT / name / "figure.png").stat().st_size > 10_000
