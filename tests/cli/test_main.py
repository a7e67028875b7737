"""The entry point: help without torch, exit codes, one line for each error."""

import errno
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from multirate.cli import main as entry
from multirate.cli.main import main
from multirate.cli.names import COMMANDS
from multirate.cli.shared import Shared
from multirate.errors import DataError, TrainingError, UsageError

ERRORS = [
    (UsageError("beta must be positive; got -1"), 2, "beta must be positive; got -1"),
    (DataError("no file x"), 1, "no file x"),
    (TrainingError("the loss is nan\nat step 3"), 1, "the loss is nan at step 3"),
    (KeyboardInterrupt(), 130, "interrupted; run the same command again"),
    (KeyboardInterrupt("go on with --resume"), 130, "interrupted; go on with --resume"),
    (RuntimeError("shapes\ndiffer"), 1, "RuntimeError: shapes differ (--debug shows the traceback)"),
    (OSError(errno.ENOSPC, "No space left on device", "runs/a"), 1, "the disk is full: runs/a could not be written"),
    (PermissionError(errno.EACCES, "Permission denied", "runs/a"), 1, "runs/a: Permission denied"),
]
WRONG_USAGE = [
    ["train"],
    ["train", "--out", "unused", "--epochs", "many"],
    ["train", "--out", "unused", "--epoch", "3"],
    ["train", "--out", "unused", "--epochs", "0"],
    ["train", "--out", "unused", "--beta", "-1"],
    ["train", "--out", "unused", "--data", "mnits"],
    ["train", "--out", "unused", "--model", "resnett"],
    ["train", "--out", "unused", "--model", "resnet", "--hidden", "3"],
    ["train", "--out", "unused", "--data-options", "size"],
    ["sweep", "--out", "unused", "--betas", "0.1,zero"],
    ["choose", "unused"],
    ["choose", "unused", "--rate", "3", "--elbo"],
    ["compare", "unused", "unused"],
    ["data", "describe"],
    ["data", "describe", "mnits"],
    ["inspect", "resnett"],
    ["train", "--out", ""],
    ["train", "--out="],
    ["train", "--out", "unused", "--beta", "1", "--beta-low", "0.1"],
    ["train", "--out", "unused", "--beta", "1", "--beta-high", "3"],
    ["train", "--out", "unused", "--beta", "1", "--response", "paper"],
    ["train", "--out", "unused", "--kl-schedule", "linear"],
]
STOPPED = "stopped after step 3 of 9; go on with --resume (resume=True) in runs/a"
INTERRUPTED = [
    ("train", STOPPED, "stopped after step 3 of 9; go on with the same command and --resume"),
    ("sweep", STOPPED, "stopped after step 3 of 9; go on with the same command: finished betas are kept"),
    ("quickstart", STOPPED, "stopped after step 3 of 9; go on with the same command: what is finished is kept"),
    ("quickstart", "", "go on with the same command: what is finished is kept"),
]
SYNTAX = [
    ("compare", "usage: multirate compare [-h] RUN BASELINE [BASELINE ...] "),
    ("data", "usage: multirate data [-h] [{list,describe,fetch}] [NAME] "),
    ("evaluate", "Leave the figures out"),
    ("train", "binarize=none"),
]


def test_help_lists_every_command_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text and summary in text for name, summary in COMMANDS.items())
    assert "multirate train --data mnist" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: multirate {command}" in text
    assert "--json" in text


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; from multirate.cli.main import main; from multirate.cli.names import COMMANDS\n"
        "for command in COMMANDS: assert main([command, '--help']) == 0\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'scipy', 'matplotlib', 'sklearn', 'accelerate'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_no_command_shows_the_help_and_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_a_misspelt_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evalute"]) == 2
    assert capsys.readouterr().err == "multirate: error: no command 'evalute'; did you mean 'evaluate'?\n"


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("multirate ")


def test_python_m_runs_the_same_entry_point() -> None:
    done = subprocess.run([sys.executable, "-m", "multirate", "fly"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("multirate: error: no command 'fly'")


@pytest.mark.parametrize(("error", "code", "message"), ERRORS)
def test_each_error_is_one_line_and_its_exit_code(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: object) -> None:
        raise error

    command = SimpleNamespace(Options=Shared, run=fail)
    monkeypatch.setattr(entry.importlib, "import_module", lambda name: command)
    assert main(["data"]) == code
    text = capsys.readouterr().err
    assert text.startswith(f"multirate: error: {message}")
    assert text.count("\n") == 1
    if not isinstance(error, KeyboardInterrupt):
        assert main(["data", "--debug"]) == code
        assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "stop", "message"), INTERRUPTED)
def test_after_an_interruption_the_command_says_how_to_go_on(
    command: str, stop: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(options: object) -> None:
        raise KeyboardInterrupt(stop)

    module = entry.importlib.import_module(f"multirate.cli.{command}")
    monkeypatch.setattr(module, "run", interrupt)
    assert main([command, "--out", "unused"]) == 130
    assert capsys.readouterr().err == f"multirate: error: interrupted; {message}\n"


@pytest.mark.parametrize(("command", "text"), SYNTAX)
def test_help_shows_what_can_be_written(command: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert text in capsys.readouterr().out


@pytest.mark.parametrize("words", WRONG_USAGE, ids=" ".join)
def test_wrong_usage_exits_with_2_and_writes_nothing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["evaluate", "fold", "plot", "report"])
def test_a_folder_without_a_run_is_an_error_in_data(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ["--beta", "1", "--out", str(tmp_path / "out")] if command == "fold" else []
    assert main([command, str(tmp_path), *extra]) == 1
    assert "holds no run" in capsys.readouterr().err


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_plain_line_on_standard_error(capsys, monkeypatch):
    import warnings

    from multirate.cli import data

    monkeypatch.setattr(data, "run", lambda options: warnings.warn("values up\nto 255", stacklevel=1))
    assert main(["data"]) == 0
    assert capsys.readouterr().err == "multirate: warning: values up to 255\n"
