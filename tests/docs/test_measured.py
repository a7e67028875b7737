"""Tables of the integrations' pages hold what is in the files beside them."""

import json
import re
from pathlib import Path

import pytest

PAGES = Path(__file__).resolve().parents[2] / "docs" / "integrations"


def test_the_files_of_the_codec_have_the_sizes_of_its_page() -> None:
    page = (PAGES / "compressai.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (0\.\d+) \| (\S+) \| (\S+) \| (\d+) \| (\S+) \|$", page, re.MULTILINE)
    measured = json.loads((PAGES / "compressai" / "files.json").read_text(encoding="utf-8"))
    assert len(rows) == len(measured) == 5
    for row, file in zip(rows, measured, strict=True):
        weight, estimated, bpp, size, psnr = map(float, row)
        assert weight == pytest.approx(file["lambda"], abs=5.1e-5)
        assert estimated == pytest.approx(file["estimated_bpp"], abs=5.1e-4)
        assert bpp == pytest.approx(file["bytes"] * 8 / 64**2, abs=5.1e-4)
        assert size == pytest.approx(file["bytes"], abs=0.51)
        assert psnr == pytest.approx(file["psnr"], abs=5.1e-3)


def test_one_run_is_ahead_of_the_dedicated_codecs_by_as_much_as_the_page_says() -> None:
    page = " ".join((PAGES / "compressai.md").read_text(encoding="utf-8").split())
    said = re.search(r"is (\S+)% lower at lambda 0\.022 and (\S+)% lower at 0\.004", page)
    assert said is not None
    text = (PAGES / "compressai" / "comparison.txt").read_text(encoding="utf-8").replace("\N{MINUS SIGN}", "-")
    rows = [list(map(float, line.split())) for line in text.splitlines() if re.fullmatch(r"[\s\d.-]+", line)]
    shares = [-100 * row[-1] / row[-2] for row in rows]
    assert [float(value) for value in said.groups()] == [round(share, 1) for share in shares]
