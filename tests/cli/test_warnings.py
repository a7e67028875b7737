"""What cannot be right is printed by every command that shows a curve; what cannot be asked is refused by each."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.conftest import SMALL

import multirate as mr
from multirate.cli.main import main
from multirate.curve import Curve
from multirate.invariants import checked

LOG = "multirate: warning: "


def copied(run: Path, to: Path) -> Path:
    to.mkdir()
    for name in ("config.yaml", "metrics.jsonl", "curve.json"):
        shutil.copy(run / name, to / name)
    shutil.copytree(run / "model", to / "model")
    return to


def swap_ends(run: Path) -> None:
    """Swap what was measured at the two ends, as a bug in the order of betas would."""
    content: Any = json.loads((run / "curve.json").read_text())
    points = content["points"]
    for key in ("rate", "distortion"):
        points[0][key], points[-1][key] = points[-1][key], points[0][key]
    for known in points:
        known["elbo"] = -known["rate"] - known["distortion"]
        known["objective"] = known["distortion"] + known["beta"] * known["rate"]
    content["details"].pop("warnings")
    (run / "curve.json").write_text(json.dumps(content))


@pytest.mark.slow
def test_training_data_are_named_in_output_file_and_report(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(trained, tmp_path / "run")
    assert main(["evaluate", str(run), "--betas", "3", "--split", "train", "--no-figures"]) == 0
    assert "measured on the data that the model was trained on, digits train" in capsys.readouterr().err
    curve = Curve.load(run / "curve.json")
    assert curve.split == "train"
    assert curve.details["training_data"] == "digits train"
    assert sum("trained on, digits train" in message for message in curve.warnings) == 1
    assert main(["report", str(run)]) == 0
    assert "trained on, digits train" in (run / "report.html").read_text()
    capsys.readouterr()
    assert main(["choose", str(run), "--elbo", "--json"]) == 0
    printed = capsys.readouterr()
    assert "trained on, digits train" in printed.err
    assert any("trained on, digits train" in message for message in json.loads(printed.out)["warnings"])


@pytest.mark.slow
def test_a_file_that_was_changed_is_found_out_by_whatever_reads_it(
    trained: Path, baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(trained, tmp_path / "run")
    swap_ends(run)
    assert main(["choose", str(run), "--elbo"]) == 0
    assert f"{LOG}multi-rate mlp: the rate rises as beta grows" in capsys.readouterr().err
    assert main(["compare", str(run), str(baselines)]) == 0
    printed = capsys.readouterr().out
    assert "note: multi-rate mlp: the rate rises as beta grows" in printed
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "Mind this: the rate rises as beta grows" in page
    assert page.index("Mind this:") < page.index("<svg")


def test_a_sweep_is_checked_as_one_curve(baselines: Path) -> None:
    merged = Curve.load(baselines / "curve.json")
    assert [len(row) for row in merged.details["standard_errors"]] == [2] * 3
    assert merged.details["warnings"] == []
    points = [dict(p) for p in merged.points]
    for key in ("rate", "distortion"):
        points[0][key], points[2][key] = points[2][key], points[0][key]
    swapped = [mr.curve.point(p["beta"], p["rate"], p["distortion"]) for p in points]
    details = {key: value for key, value in merged.details.items() if key != "warnings"}
    told = checked(Curve("a", merged.model, merged.data, merged.split, 300, tuple(swapped), details=details))
    assert len(told.warnings) == 3


def test_a_diverging_run_leaves_with_1_and_names_the_last_good_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", *SMALL, "--learning-rate", "1e30", "--warmup-steps", "0", "--out", str(out)]) == 1
    message = capsys.readouterr().err
    assert "not finite" in message or "the loss is" in message
    assert f"the last good checkpoint is {out / 'checkpoints' / 'step-000000000.pt'}" in message
    assert message.count("\nmultirate: error") + message.startswith("multirate: error") == 1


def test_data_that_are_not_finite_leave_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).random((40, 6)).astype(np.float32)
    x[33, 2] = np.nan
    np.savez(tmp_path / "mine.npz", train=x)
    words = ["train", "--data", str(tmp_path / "mine.npz"), "--model", "mlp", "--out", str(tmp_path / "run")]
    assert main(words) == 1
    assert "1 of 32 examples hold NaN, infinity or numbers too large for float32" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()


OUTSIDE = [
    ["evaluate", "RUN", "--betas", "0.001,1", "--no-figures"],
    ["evaluate", "RUN", "--betas", "1,100", "--no-figures"],
    ["fold", "RUN", "--beta", "100", "--out", "OUT"],
    ["fold", "RUN", "--beta", "0.001", "--out", "OUT"],
    ["export", "RUN", "--torch-export", "--beta", "100", "--out", "OUT"],
    ["choose", "RUN", "--rate", "1e6"],
    ["choose", "RUN", "--distortion", "1e6"],
]


@pytest.mark.parametrize("words", OUTSIDE, ids=[" ".join(words) for words in OUTSIDE])
def test_betas_outside_of_the_range_are_refused_and_nothing_is_written(
    words: list[str], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "curve.json").read_bytes()
    names = {"RUN": str(trained), "OUT": str(tmp_path / "out")}
    assert main([names.get(word, word) for word in words]) == 2
    assert ("outside the range" if "choose" not in words else "not reachable") in capsys.readouterr().err
    assert (trained / "curve.json").read_bytes() == before
    assert not (tmp_path / "out").exists()
