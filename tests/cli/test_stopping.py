"""SIGINT and SIGTERM end every long command with a line and a code; what it goes on to is what it would have been."""

import os
import re
import shutil
import signal
import threading
from pathlib import Path

import pytest
from tests.cli.stopping import LIMIT, group_is_gone, start, stopped, wait_for
from torture.comparing import differences, unfinished

from multirate.cli.main import main
from multirate.locking import alone

pytestmark = pytest.mark.slow

DATA = ("--data", "digits", "--batch-size", "64", "--latents", "4")
MODEL = (*DATA, "--model", "mlp", "--hidden", "64")
TRAIN = ("train", *MODEL, "--epochs", "40", "--checkpoint-every", "100000", "--resume", "--out", "run")
# Members so long that none is done before it is stopped.
SWEEP = ("sweep", *MODEL, "--epochs", "2000", "--checkpoint-every", "100000", "--betas", "0.1,1,10", "--out", "run")
SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
every_signal = pytest.mark.parametrize(("number", "code", "word"), SIGNALS, ids=["int", "term"])
# One way to be stopped goes with each signal: the four together cost twice as much and are no other code.
either = zip(SIGNALS, (True, False), strict=True)
each_signal_in_a_way = pytest.mark.parametrize(
    ("number", "code", "word", "first"), [(*about, first) for about, first in either], ids=["int", "term"]
)


@every_signal
def test_training_saves_its_step_says_so_and_goes_on_bit_for_bit(
    number: signal.Signals, code: int, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    cut.mkdir()
    whole.mkdir()
    ended = stopped(*TRAIN, cwd=cut, number=number, seen=(cut / "run" / "metrics.jsonl").exists)
    step = re.fullmatch(
        rf"multirate: error: {word}; stopped after step (\d+) of \d+; go on with the same command and --resume",
        ended.said,
    )
    assert step is not None, ended.said
    assert ended.code == code
    assert (cut / "run" / "checkpoints" / f"step-{int(step[1]):09d}.pt").exists()
    for folder in (cut, whole):
        monkeypatch.chdir(folder)
        assert main(list(TRAIN)) == 0
    found = differences(whole / "run", cut / "run")
    assert found == []


@each_signal_in_a_way
def test_members_in_processes_save_their_steps(
    number: signal.Signals, code: int, word: str, first: bool, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    members = [run / "beta-0.1", run / "beta-1"]
    ended = stopped(
        *(*SWEEP, "--jobs", "2"),
        cwd=tmp_path,
        number=number,
        group=first,  # as Ctrl-C in a terminal does; a cluster's SIGTERM comes to the parent alone
        seen=lambda: all((member / "metrics.jsonl").exists() for member in members),
    )
    assert ended.said == f"multirate: error: {word}; go on with the same command: finished betas are kept"
    assert ended.code == code
    for member in members:
        steps = sorted(path.name for path in (member / "checkpoints").iterdir())
        assert steps[0] == "step-000000000.pt"
        assert len(steps) == 2, steps
    assert not (run / "beta-10").exists()
    assert unfinished(run) == 0


def test_a_second_signal_ends_a_sweep_in_processes_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = stopped(
        *("sweep", "--jobs", "2", *DATA, "--data-options", "size=64", "--model", "resnet", "--betas", "0.1,1"),
        *("--batch-size", "1300", "--epochs", "50", "--out", "run"),
        cwd=tmp_path,
        number=signal.SIGINT,
        times=2,
        seen=lambda: all((run / member / "checkpoints").exists() for member in ("beta-0.1", "beta-1")),
    )
    assert ended.code == 130
    assert ended.said == "multirate: error: interrupted; go on with the same command: finished betas are kept"
    assert ended.seconds < 20.0


def test_processes_whose_parent_is_killed_save_and_end(tmp_path: Path) -> None:
    members = [tmp_path / "run" / name for name in ("beta-0.1", "beta-1")]
    process = start(*SWEEP, "--jobs", "2", cwd=tmp_path)
    try:
        wait_for(lambda: all((member / "metrics.jsonl").exists() for member in members), process)
        process.kill()
        process.communicate()
        assert group_is_gone(process.pid)
    finally:
        if not group_is_gone(process.pid, 1.0):
            os.killpg(process.pid, signal.SIGKILL)
    for member in members:
        assert len(list((member / "checkpoints").iterdir())) == 2


@every_signal
def test_an_evaluation_leaves_the_curve_that_was_there(
    number: signal.Signals, code: int, word: str, trained: Path, tmp_path: Path
) -> None:
    run, before = tmp_path / "run", tmp_path / "before"
    shutil.copytree(trained, run)
    shutil.copytree(trained, before)
    words = ("evaluate", "run", "--betas", "20", "--samples", "500")
    ended = stopped(*words, cwd=tmp_path, number=number, seen=(run / ".lock").exists)
    assert (ended.code, ended.said) == (code, f"multirate: error: {word}; run the same command again")
    # The signal may come before the lock is under control: its file is then left, which nobody holds.
    assert [line for line in differences(before, run) if line != ".lock is left over"] == []


@each_signal_in_a_way
def test_a_reproduction_keeps_what_is_done(
    number: signal.Signals, code: int, word: str, first: bool, tmp_path: Path
) -> None:
    done = (tmp_path / "run" / "runs").glob
    ended = stopped(
        *("reproduce", "fig4", "--jobs", "1" if first else "2", "--out", "run"),
        cwd=tmp_path,
        number=number,
        seen=lambda: list(done("*/member.json")),
    )
    line = rf"multirate: error: {word}; (stopped after step \d+ of \d+; )?go on with the same command: what is finished"
    assert re.match(line, ended.said), ended.said
    assert ended.code == code
    assert unfinished(tmp_path / "run") == 0
    assert not (tmp_path / "run" / "fig4" / "smoke" / "claims.json").exists()


def test_two_commands_on_one_folder_get_one_line_at_once_and_readers_none(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    writers = [
        ["train", *MODEL, "--resume", "--out", str(run)],
        ["evaluate", str(run)],
        ["sweep", *MODEL, "--betas", "1", "--out", str(run)],
    ]
    readers = [["choose", str(run), "--elbo"], ["report", str(run)], ["plot", str(run)], ["collapse", str(run)]]
    taken, released = threading.Event(), threading.Event()

    def hold() -> None:
        with alone(run):
            taken.set()
            released.wait(LIMIT)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        taken.wait()
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        for words in writers:
            assert main(words) == 1
            said = capsys.readouterr().err
            assert re.fullmatch(rf"multirate: error: {run} is in use by process {os.getpid()} on .*; wait .*\n", said)
        assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        for words in readers:
            assert main(words) == 0
    finally:
        released.set()
        thread.join()
