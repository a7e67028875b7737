"""docs/measures.md names every measure and every number."""

import re
from pathlib import Path

import pytest

from multirate.metrics.makers import MEASURES, PART_OF

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "measures.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## What a curve warns of")[0]
FIRST_CELLS = re.findall(r"^\| `(\w+)`", TABLE, flags=re.MULTILINE)


def test_every_measure_has_its_row_and_there_are_no_others() -> None:
    assert sorted(FIRST_CELLS) == sorted(MEASURES)


@pytest.mark.parametrize("number", PART_OF)
def test_every_number_is_named(number: str) -> None:
    assert f"`{number}" in PAGE
