"""The quickstart, on a budget too small to learn much."""

from pathlib import Path

import pytest

import multirate as mr
from multirate.experiments.quickstart import BETAS, quickstart


@pytest.mark.slow
def test_quickstart_leaves_everything_it_names_and_goes_on_when_called_again(tmp_path: Path) -> None:
    lines: list[str] = []
    done = quickstart(tmp_path / "out", epochs=2, say=lines.append)
    assert all(path.exists() for path in done.paths().values())
    assert len(done.curve) == 20
    assert [gap.beta for gap in done.comparison.gaps] == pytest.approx(list(BETAS))
    assert sum(line.startswith("beta ") for line in lines) == len(BETAS)
    assert mr.Curve.load(tmp_path / "out" / "curve.json") == done.curve
    again = quickstart(tmp_path / "out", epochs=2, say=lines.append)
    assert again.curve == done.curve
