"""One process at a time in a folder, and nothing left of one that was killed."""

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from multirate.errors import DataError
from multirate.locking import NAME, alone

HOLD = """
import sys
from multirate.locking import alone
with alone(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a folder until its standard input is closed."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_at_once_and_told_who_is_there(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        message = rf"{tmp_path} is in use by process {process.pid} on {platform.node()}; wait until it is done, or "
        started = time.monotonic()
        with pytest.raises(DataError, match=message), alone(tmp_path):
            pass
        assert time.monotonic() - started < 1.0
        assert process.poll() is None


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        assert (tmp_path / NAME).exists()
        with alone(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_whoever_waits_gets_it_when_the_other_is_done(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with holder(tmp_path) as process:
        assert process.stdin is not None
        timer = threading.Timer(0.5, process.stdin.close)
        timer.start()
        started = time.monotonic()
        with alone(tmp_path, wait=True):
            assert time.monotonic() - started > 0.4
        timer.join()
    said = capfd.readouterr().err
    assert said == f"waiting for process {process.pid} on {platform.node()}, which works in {tmp_path}\n"


def test_the_same_thread_may_hold_it_again_and_another_may_not(tmp_path: Path) -> None:
    refused = []

    def take() -> None:
        try:
            with alone(tmp_path):
                refused.append(False)
        except DataError:
            refused.append(True)

    def in_thread() -> None:
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()

    with alone(tmp_path):
        with alone(tmp_path / "." / "x" / ".."):
            in_thread()
        in_thread()
    in_thread()
    assert refused == [True, True, False]


def test_a_folder_made_for_the_lock_alone_is_removed_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone(tmp_path / "runs" / "a"):
        assert (tmp_path / "runs" / "a").is_dir()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with alone(tmp_path / "run"):
        (tmp_path / "run" / "file").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["file"]


def test_a_lock_whose_file_was_removed_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be opened before its holder removes it, and locked after."""
    opened, first = os.open, []

    def slow(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = opened(path, flags, mode)
        if not first and Path(path).name == NAME:
            first.append(descriptor)
            os.unlink(path)  # noqa: PTH108
        return descriptor

    monkeypatch.setattr(os, "open", slow)
    with alone(tmp_path):
        monkeypatch.undo()
        assert first
        assert (tmp_path / NAME).exists()


def test_a_folder_that_cannot_be_made_is_an_error_in_data(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = rf"cannot write {tmp_path}/file/run: Not a directory; choose another folder"
    with pytest.raises(DataError, match=message), alone(tmp_path / "file" / "run"):
        pass


def test_taking_a_folder_sweeps_what_a_killed_process_left(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = tmp_path / "deep" / f".model.json~{platform.node()}-{int(ended.stdout)}-140"
    left.parent.mkdir()
    left.touch()
    with alone(tmp_path):
        assert not left.exists()
