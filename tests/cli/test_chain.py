"""From a trained run to its report, by the commands a user types."""

import csv
import dataclasses
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cli.conftest import SMALL

import multirate as mr
from multirate.cli.main import main
from multirate.cli.shared import Screen, Shared, counted, parse_betas, parse_grid
from multirate.errors import DataError, UsageError
from multirate.experiments import pictures

GRIDS = [
    ("20", 20),
    (" 3 ", 3),
    ("0.5", [0.5]),
    ("1,", [1.0]),
    ("1,0.1, 10", [0.1, 1.0, 10.0]),
    ("1e-2,1", [0.01, 1.0]),
]
NOT_BETAS = ["", ",", "-1,2", "0.1,inf", "nan", "a", "²"]


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_evaluate_writes_a_curve_over_the_whole_range(trained: Path) -> None:
    curve = mr.Curve.load(trained / "curve.json")
    assert len(curve) == 8
    assert curve.betas[[0, -1]].tolist() == [0.01, 10.0]
    assert (curve.data, curve.split, curve.examples) == ("digits", "test", 300)
    assert curve.details["epochs"] == 6
    rows = list(csv.DictReader((trained / "curve.csv").read_text().splitlines()))
    assert [float(row["rate"]) for row in rows] == curve.rates.tolist()


def test_json_is_all_of_standard_output(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = as_json(capsys, "evaluate", str(trained), "--betas", "8", "--no-figures")
    assert printed == json.loads((trained / "curve.json").read_text())


def test_choose_by_rate_reaches_that_rate(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve = mr.Curve.load(trained / "curve.json")
    wanted = float(curve.rates[2:4].mean())
    chosen = as_json(capsys, "choose", str(trained), "--rate", str(wanted), "--fold", str(tmp_path / "plain"))
    assert chosen["expected"]["rate"] == pytest.approx(wanted, rel=1e-6)
    plain, gated = mr.load(tmp_path / "plain"), mr.load(trained / "model")
    x = mr.data.load("digits", "test").batch(torch.arange(5))
    assert type(plain) is type(gated.base)
    torch.testing.assert_close(plain(x), gated(x, beta=chosen["beta"]), rtol=1e-5, atol=1e-6)


def test_choose_by_elbo_takes_the_best_point(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = mr.Curve.load(trained / "curve.json").points
    best = max(points, key=lambda point: point["elbo"])
    assert as_json(capsys, "choose", str(trained), "--elbo")["beta"] == best["beta"]


def test_choose_says_what_can_be_reached(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", str(trained), "--rate", "1e6"]) == 2
    assert "not reachable" in capsys.readouterr().err


def test_fold_refuses_a_folder_in_use_and_a_beta_out_of_range(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    assert main(["fold", str(trained), "--beta", "1", "--out", str(tmp_path)]) == 2
    assert main(["fold", str(trained), "--beta", "100", "--out", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


def test_fold_of_a_plain_run_is_refused(baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fold", str(baselines / "beta-1"), "--beta", "1", "--out", str(tmp_path / "x")]) == 2
    assert "plain VAE" in capsys.readouterr().err


def test_sweep_makes_a_run_a_beta_and_one_curve(baselines: Path) -> None:
    curve = mr.Curve.load(baselines / "curve.json")
    assert curve.betas.tolist() == [0.05, 0.2, 1.0]
    single = mr.Curve.load(baselines / "beta-0.2" / "curve.json")
    assert single.points[0] == curve.points[1]
    assert not isinstance(mr.load(baselines / "beta-0.2" / "model"), mr.MultiRate)


@pytest.mark.slow
def test_compare_then_report_puts_the_baselines_on_the_page(
    trained: Path, baselines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = as_json(capsys, "compare", str(trained), str(baselines))
    assert [gap["beta"] for gap in compared["gaps"]] == [0.05, 0.2, 1.0]
    known = mr.Curve.load(baselines / "curve.json").points
    for gap, point in zip(compared["gaps"], known, strict=True):
        assert math.isclose(gap["gap"], gap["objective"] - (point["distortion"] + point["beta"] * point["rate"]))
    assert json.loads((trained / "comparison.json").read_text()) == compared
    assert [mr.Curve.load(path).betas.tolist() for path in (trained / "baselines").iterdir()] == [[0.05, 0.2, 1.0]]

    assert main(["plot", str(trained)]) == 0
    figures = {path.name for path in (trained / "figures").glob("*.png")}
    assert {
        "rate_distortion.png",
        "against_beta.png",
        "gaps.png",
        "reconstructions.png",
        "prior_samples.png",
    } <= figures

    assert main(["report", str(trained)]) == 0
    page = (trained / "report.html").read_text()
    assert "beta-VAE mlp" in page
    assert "<script src=" not in page


def test_single_runs_are_joined_into_one_baseline(
    trained: Path, baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = tmp_path / "curve.json"
    curve.write_bytes((trained / "curve.json").read_bytes())
    runs = [str(baselines / f"beta-{beta}") for beta in ("0.05", "1")]
    assert [gap["beta"] for gap in as_json(capsys, "compare", str(curve), *runs)["gaps"]] == [0.05, 1.0]
    assert [path.name for path in tmp_path.iterdir()] == ["curve.json"]


def test_a_plain_run_is_evaluated_at_its_own_beta(baselines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve = as_json(capsys, "evaluate", str(baselines / "beta-0.05"), "--no-figures")
    assert [point["beta"] for point in curve["points"]] == [0.05]


def test_a_plain_run_is_refused_at_another_beta(baselines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = baselines / "beta-0.05"
    assert main(["evaluate", str(run), "--betas", "0.1", "--no-figures"]) == 2
    assert "trained at beta 0.05" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--betas", "0.05", "--no-figures"]) == 0


@pytest.fixture
def compared(trained: Path, baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A copy of the evaluated run, compared with the sweep."""
    run = tmp_path / "run"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("figures", "baselines", "comparison.json"))
    assert main(["compare", str(run), str(baselines)]) == 0
    capsys.readouterr()
    return run


def test_compare_draws_the_figures_that_the_report_shows(compared: Path, baselines: Path) -> None:
    assert {"rate_distortion.png", "against_beta.png", "gaps.png"} <= {p.name for p in (compared / "figures").iterdir()}


@pytest.mark.slow
def test_comparison_json_holds_every_family(
    compared: Path, baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.json"
    dataclasses.replace(mr.Curve.load(baselines / "curve.json"), label="others").save(other)
    printed = as_json(capsys, "compare", str(compared), str(baselines), str(other))
    assert [entry["baseline"] for entry in printed] == ["beta-VAE mlp", "others"]
    assert json.loads((compared / "comparison.json").read_text()) == printed
    assert (compared / "figures" / "gaps_2.png").exists()


@pytest.mark.slow
def test_baselines_of_other_examples_are_left_out_with_a_note(
    compared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(compared), "--betas", "3", "--examples", "50"]) == 0
    printed = capsys.readouterr().out
    assert "50 examples" in printed
    assert printed.index("50 examples") < printed.index("note: baselines left out: beta-VAE mlp")
    assert "multirate compare" in printed.partition("baselines left out")[2].splitlines()[0]
    assert not list((compared / "figures").glob("gaps*.png"))
    assert main(["plot", str(compared)]) == 0
    assert main(["report", str(compared)]) == 0


def test_the_table_is_printed_before_anything_is_drawn(
    compared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise DataError("no room for figures")

    monkeypatch.setattr(pictures, "draw", fail)
    assert main(["evaluate", str(compared), "--betas", "3", "--examples", "1"]) == 1
    assert "digits test, 1 example, nats" in capsys.readouterr().out


@pytest.mark.slow
def test_the_report_draws_anew_what_is_older_than_the_curve(compared: Path) -> None:
    assert main(["report", str(compared)]) == 0
    drawn = {path: path.stat().st_mtime_ns for path in (compared / "figures").glob("*.png")}
    assert {"reconstructions", "prior_samples"} <= {path.stem for path in drawn}
    assert main(["report", str(compared)]) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in drawn.items())
    assert main(["evaluate", str(compared), "--betas", "8", "--no-figures"]) == 0
    assert main(["report", str(compared)]) == 0
    assert all(path.stat().st_mtime_ns > time for path, time in drawn.items())


def test_a_sweep_and_a_folded_model_are_told_from_runs(
    trained: Path, baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(baselines)]) == 1
    assert f"it is a sweep; name one of its runs, such as {baselines / 'beta-0.05'}" in capsys.readouterr().err
    assert main(["fold", str(trained), "--beta", "1", "--out", str(tmp_path / "plain")]) == 0
    assert main(["evaluate", str(tmp_path / "plain")]) == 1
    assert "it is a saved model" in capsys.readouterr().err


def test_a_run_without_a_curve_says_how_to_make_one(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["choose", str(tmp_path), "--elbo"]) == 1
    assert "multirate evaluate" in capsys.readouterr().err


def test_inspect_counts_the_gates_of_the_resnet(capsys: pytest.CaptureFixture[str]) -> None:
    shown = as_json(capsys, "inspect", "resnet", "--response", "paper")
    assert (shown["parameters"], shown["response_parameters"], len(shown["gated"])) == (1_881_217, 3_072, 13)
    assert all(layer["reason"] for layer in shown["skipped"])


def test_inspect_of_a_run_shows_what_was_gated(
    trained: Path, baselines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gated = [
        (layer["at"], layer["side"], layer["channels"]) for layer in as_json(capsys, "inspect", str(trained))["gated"]
    ]
    assert gated[:2] == [("encoder.1", "encoder", 32), ("decoder.0", "decoder", 32)]
    assert gated[2:] == [("mean", "latent", 4), ("log_variance", "latent", 4), ("decoder.0", "latent", 4)]
    assert "converted it would be" in as_json(capsys, "inspect", str(baselines / "beta-1"))["model"]


USELESS = [["--latents", "5"], ["--shape", "8"], ["--likelihood", "gaussian"], ["--model-options", "a=1"]]


@pytest.mark.parametrize("option", [*USELESS, ["--response", "paper"]], ids=" ".join)
def test_inspect_refuses_options_of_another_model_than_the_runs(
    option: list[str], trained: Path, baselines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(trained), *option]) == 2
    assert f"{option[0]} does nothing for {trained}" in capsys.readouterr().err
    assert main(["inspect", str(baselines / "beta-1"), *option]) == (0 if option[0] == "--response" else 2)


def test_numbers_of_a_table_are_never_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[f"measure {i}" for i in range(14)], [f"{1234.5678 + i:.4f}" for i in range(14)]]
    Screen(Shared()).table(rows)
    assert [word for word in capsys.readouterr().out.split() if "." in word] == rows[1]


def test_data_lists_and_describes(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "data")["digits"].startswith("1,797")
    digits = as_json(capsys, "data", "describe", "digits")
    assert digits["ready"] is True
    assert sum(digits["examples"].values()) == 1797
    assert as_json(capsys, "data", "fetch", "digits")["files"] == []


@pytest.mark.parametrize(("text", "expected"), GRIDS)
def test_a_grid_is_a_count_or_betas(text: str, expected: int | list[float]) -> None:
    assert parse_grid(text) == expected


@pytest.mark.parametrize("text", NOT_BETAS)
def test_what_is_no_beta_is_refused(text: str) -> None:
    for parse in (parse_betas, parse_grid):
        with pytest.raises(UsageError, match="beta"):
            parse(text)


def test_one_beta_must_not_look_like_a_count() -> None:
    with pytest.raises(UsageError, match=r"1 is a count; for the single beta 1 write 1\.0 or 1,"):
        parse_grid("1")


@pytest.mark.parametrize(("number", "text"), [(1, "1 beta"), (0, "0 betas"), (1200, "1,200 betas")])
def test_one_thing_is_singular(number: int, text: str) -> None:
    assert counted(number, "beta") == text


def test_an_empty_record_of_a_run_is_named_as_such(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("")
    for words in (["evaluate", str(tmp_path)], ["train", *SMALL, "--out", str(tmp_path), "--resume"]):
        assert main(words) == 1
        assert "config.yaml is empty or no record of a run" in capsys.readouterr().err


def test_choosing_says_nothing_before_the_fold_has_succeeded(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["choose", str(trained / "curve.json"), "--elbo", "--fold", str(tmp_path / "folded")]) == 1
    assert capsys.readouterr().out == ""
    assert main(["choose", str(trained), "--elbo"]) == 0
    assert re.search(r"active units \d+$", capsys.readouterr().out.strip())
