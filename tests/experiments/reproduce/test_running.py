"""The lines that tell how far a recipe is."""

import dataclasses
from pathlib import Path

import pytest
from tests.experiments.reproduce import tiny

from multirate.errors import UsageError
from multirate.experiments.reproduce.cluster import cluster_executor
from multirate.experiments.reproduce.planning import plan
from multirate.experiments.reproduce.recipe import Arm, Member
from multirate.experiments.reproduce.running import Board, duration
from multirate.experiments.reproduce.tasks import Outcome, Task

DURATIONS = [
    (0.4, "0 s"),
    (59.4, "59 s"),
    (59.7, "1 min"),
    (60, "1 min"),
    (90 * 60, "1 h 30 min"),
    (3600, "1 h 0 min"),
]


def tasks(*members: Member) -> list[Task]:
    arm = Arm(label="x", panel="p", seeds=(tuple((member,) for member in members),), kind="dedicated")
    return list(plan((arm,), Path("nowhere")).values())


def board(*members: Member, jobs: int = 1) -> tuple[Board, list[str]]:
    said: list[str] = []
    return Board(tasks(*members), said.append, jobs), said


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_times_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_time_left_follows_from_seconds_a_step() -> None:
    long = tiny.member("long", beta=3.0, epochs=20)
    shown, said = board(tiny.member("a", beta=1.0), tiny.member("b", beta=2.0), long)
    shown.begin("tiny")
    shown.note(Outcome(name="tiny-a-s0", seconds=3.0))
    shown.note(Outcome(name="tiny-b-s0", seconds=5.0))
    shown.note(Outcome(name="tiny-long-s0", seconds=30.0))
    assert said == [
        "tiny: 3 runs: 72 steps of training",
        "[1/3] tiny-a-s0: 6 steps, 3 s; about 33 s left",
        "[2/3] tiny-b-s0: 6 steps, 5 s; about 40 s left",
        "[3/3] tiny-long-s0: 60 steps, 30 s",
    ]


def test_runs_of_the_same_model_tell_most_about_the_time_left() -> None:
    big = dataclasses.replace(tiny.SPEC, hidden=(64,), beta=1.0)
    others = [dataclasses.replace(tiny.member(name, beta=1.0), spec=big) for name in ("c", "d", "e")]
    shown, said = board(tiny.member("a", beta=1.0), tiny.member("b", beta=2.0), *others)
    shown.note(Outcome(name="tiny-a-s0", seconds=6.0))
    shown.note(Outcome(name="tiny-c-s0", seconds=12.0))
    assert [line.rpartition("about ")[2] for line in said] == ["24 s left", "30 s left"]


def test_processes_share_the_time_left() -> None:
    shown, said = board(*(tiny.member(name, beta=1.0) for name in "abc"), jobs=2)
    shown.note(Outcome(name="tiny-a-s0", seconds=4.0))
    assert said[0].endswith("about 4 s left")


def test_failures_and_what_was_only_measured_say_nothing_of_time() -> None:
    shown, said = board(*(tiny.member(name, beta=1.0) for name in "abcd"))
    shown.note(Outcome(name="tiny-a-s0", seconds=4.0, failure="no data"))
    shown.note(Outcome(name="tiny-b-s0", seconds=4.0), training=False)
    shown.skip("tiny-c-s0", "not begun")
    shown.note(Outcome(name="tiny-d-s0", seconds=4.0, failure="the loss is nan", diverged=True))
    assert said == [
        "[1/4] tiny-a-s0: failed: no data",
        "[2/4] tiny-b-s0: 4 s",
        "[3/4] tiny-c-s0: not begun",
        "[4/4] tiny-d-s0: diverged: the loss is nan",
    ]


def test_without_slurm_or_with_an_unknown_option_there_is_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'multirate[slurm]'")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="finds no sbatch"):
        cluster_executor(tmp_path)
    with pytest.raises(UsageError, match=r"--slurm-options: .*gpus"):
        cluster_executor(tmp_path, cluster="local", options={"gpus": 3})
