"""`multirate reproduce`: what it refuses, what it shows beforehand, what it prints at the end."""

import json
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from tests.experiments.reproduce import tiny

from multirate.cli import reproduce as command
from multirate.cli.main import main
from multirate.errors import UsageError
from multirate.experiments.reproduce import recipes
from multirate.experiments.reproduce.recipe import SCALES

WRONG = [
    (["fig2"], "no recipe 'fig2'; did you mean"),
    (["everything"], "choose from fig1, "),
    ([], "name what to reproduce: fig1, "),
    (["fig5", "--jobs", "0"], "jobs must be at least 1; got 0"),
    (["fig5", "--slurm-partition", "gpu"], "go with --slurm"),
    (["fig5", "--slurm-options", "mem_gb=16"], "go with --slurm"),
    (["fig5", "--slurm", "--slurm-options", "mem"], "written name=value; got 'mem'"),
]


@pytest.fixture
def tiny_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tiny recipe the only one."""
    monkeypatch.setattr(recipes, "RECIPES", {"tiny": "tests.experiments.reproduce.tiny"})


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_wrong_usage_is_named_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_scale_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "fig5", "--scale", "huge"]) == 2
    assert "huge" in capsys.readouterr().err


def test_scales_and_recipes_of_the_help_are_those_there_are() -> None:
    assert get_args(get_type_hints(command.Options)["scale"]) == SCALES
    listed = command.Options.__doc__ or ""
    assert "multirate reproduce fig5" in listed
    assert recipes.recipe_names(("all",)) == tuple(recipes.RECIPES)
    assert recipes.recipe_names(("fig9", "fig1", "fig9")) == ("fig9", "fig1")
    with pytest.raises(UsageError, match="all is not one recipe"):
        recipes.load_recipe("all")


@pytest.mark.usefixtures("tiny_recipe")
def test_a_dry_run_shows_the_runs_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "tiny", "--dry-run", "--json", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    (shown,) = json.loads(printed.out)
    assert shown["steps_to_train"] == tiny.MEMBERS * tiny.STEPS
    assert shown["runs"][-4] == {
        "run": "tiny-warm-beta1-s1",
        "steps": tiny.STEPS,
        "starts_from": "tiny-beta0.1-s1",
        "state": "to do",
    }
    assert f"{tiny.MEMBERS} runs, 66 steps still to train" in printed.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_recipe")
def test_claims_are_printed_and_a_dry_run_then_has_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "all", "--json", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    (result,) = json.loads(printed.out)
    folder = tmp_path / "tiny" / "smoke"
    assert (result["recipe"], result["folder"]) == ("tiny", str(folder))
    assert result["claims"] == json.loads((folder / "claims.json").read_text())
    assert " yes  the rate falls | rises\n      paper: falls\n" in printed.err
    assert "1 of 2 claims hold at this budget" in printed.err
    assert main(["reproduce", "tiny", "--dry-run", "--out", str(tmp_path)]) == 0
    states = capsys.readouterr().out
    assert states.count(" done ") == tiny.MEMBERS - 1
    assert states.count(" diverged ") == 1
    assert "0 steps still to train" in states


@pytest.mark.usefixtures("tiny_recipe")
def test_a_failed_member_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tiny.Arm(label="x", panel="p", seeds=(((tiny.member("bad", beta=1.0, data=str(tmp_path / "no.npy")),),),))
    monkeypatch.setattr(tiny, "RECIPE", tiny.recipe_of(bad))
    assert main(["reproduce", "tiny", "--out", str(tmp_path / "out")]) == 1
    assert (
        "error: 1 run failed, and the same command goes on with it alone: tiny-bad-s0: no " in capsys.readouterr().err
    )


def test_after_an_interruption_the_same_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(options: object) -> None:
        raise KeyboardInterrupt("stopped after step 3 of 9; go on with --resume (resume=True) in runs/a")

    monkeypatch.setattr(command, "run", interrupt)
    assert main(["reproduce", "fig5"]) == 130
    assert "stopped after step 3 of 9; go on with the same command: what is finished is kept" in capsys.readouterr().err
