"""Signals, full disks and other processes: a run stops where its state is whole, and goes on bit for bit."""

import errno
import os
import signal
import threading
from pathlib import Path

import pytest
from torture.comparing import differences

import multirate as mr
from multirate import files
from multirate.data.source import TensorSource
from multirate.errors import DataError, Terminated
from multirate.locking import NAME, alone
from multirate.models import mlp
from multirate.seeding import seeded
from multirate.training import fit

OPTIONS = {"epochs": 3, "batch_size": 32, "log_every": 2, "progress": False}
STEPS = 9


class Signalling(TensorSource):
    """Data that raise signals when the n-th batch is asked for."""

    def __init__(self, data, at, *numbers):
        super().__init__(data)
        self.at, self.numbers, self.calls = at, numbers, 0

    def batch(self, indices):
        self.calls += 1
        if self.calls == self.at:
            for number in self.numbers:
                signal.raise_signal(number)
        return super().batch(indices)


def data(n=100):
    import torch

    return (torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()


def make():
    with seeded(0):
        return mr.convert(mlp(shape=(1, 4, 4), latents=3, hidden=(8,)), mr.BetaRange(0.01, 10.0))


def train(out, source=None, val=None, **more):
    options = {**OPTIONS, **more}
    return fit(make(), data() if source is None else source, val=data(50) if val is None else val, out=out, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(folder)
    return folder


def goes_on_as(whole, cut):
    """Let a run go on, and compare every file of its folder but the checkpoint before last, which is of its stop."""
    train(cut, resume=True)
    return [line for line in differences(whole, cut) if "checkpoints" not in line]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
@pytest.mark.parametrize("at", [1, 5, STEPS])
def test_a_signal_lets_the_step_end_and_the_run_goes_on_bit_for_bit(tmp_path, whole, number, kind, at):
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {at} of {STEPS}; go on with --resume") as caught:
        train(tmp_path, Signalling(data(), at, number))
    assert type(caught.value) is kind
    assert (tmp_path / "checkpoints" / f"step-{at:09d}.pt").exists()
    assert not (tmp_path / NAME).exists()
    assert goes_on_as(whole, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 2, 6])
def test_a_second_signal_in_a_validation_leaves_no_gap(tmp_path, whole, at):
    """Validation reads two batches, each for four betas; what was measured before the second signal is dropped."""
    validation = Signalling(data(50), at, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, val=validation)
    assert goes_on_as(whole, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("at", range(0, 24, 3))
def test_a_second_signal_while_lines_are_written_leaves_no_gap_and_no_duplicate(tmp_path, whole, monkeypatch, at):
    append, calls = files.append_line, []

    def interrupted(path, line):
        calls.append(line)
        if len(calls) == at // 2 + 1 and at % 2 == 0:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        append(path, line)
        if len(calls) == at // 2 + 1 and at % 2:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("multirate.training.folder.append_line", interrupted)
    with pytest.raises(Terminated):
        train(tmp_path)
    monkeypatch.undo()
    assert goes_on_as(whole, tmp_path) == []


def full(count):
    """Return an fsync for a disk that is full after so many files."""
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) > count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fsync, calls


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* holds no checkpoint; starting again")
def test_a_disk_that_is_full_at_any_write_leaves_a_run_that_goes_on_bit_for_bit(tmp_path, whole, monkeypatch):
    counting, calls = full(10**6)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", counting)
        train(tmp_path / "counted")
    assert len(calls) > 20
    for count in range(len(calls)):
        folder = tmp_path / str(count)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full(count)[0])
            with pytest.raises(DataError, match=rf"^cannot write {folder}.*: No space left on device; free some space"):
                train(folder)
        assert not [path for path in folder.rglob("*") if "~" in path.name]
        assert goes_on_as(whole, folder) == []


def test_a_folder_in_use_is_refused_before_anything_is_touched(tmp_path):
    failed = []

    def second():
        try:
            train(tmp_path, resume=True)
        except DataError as error:
            failed.append(str(error))

    with alone(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert len(failed) == 1
    assert f"{tmp_path} is in use by process {os.getpid()} on " in failed[0]


def test_the_folder_is_held_from_the_first_step_to_the_last(tmp_path):
    held = []

    class Looking(TensorSource):
        def batch(self, indices):
            held.append((tmp_path / NAME).exists())
            return super().batch(indices)

    train(tmp_path, Looking(data()))
    assert len(held) >= STEPS
    assert all(held[-STEPS:])
    assert not (tmp_path / NAME).exists()


@pytest.mark.slow
def test_what_a_killed_run_left_half_written_is_swept_by_the_next(tmp_path, whole, monkeypatch):
    train(tmp_path)
    ended = 2**22 + 1  # above every process id
    for name in ("checkpoints/.step-000000009.pt", "model/.model.safetensors", ".metrics.jsonl"):
        Path(f"{tmp_path / name}~{os.uname().nodename}-{ended}-140").touch()
    assert goes_on_as(whole, tmp_path) == []
