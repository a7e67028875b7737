"""Disks that are full and folders that cannot be written: one line, exit code 1, and what was there is still whole."""

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from torture.comparing import differences, unfinished

from multirate.cli.main import main
from multirate.training import checkpoint

MODEL = ("--data", "digits", "--model", "mlp", "--hidden", "64", "--latents", "4", "--batch-size", "64")
TRAIN = ("train", *MODEL, "--epochs", "3", "--validate", "--log-every", "5", "--resume", "--out", "run")
# What writes into the folder of the run that is there.
WRITERS = [
    ("evaluate", "run", "--betas", "4", "--no-figures"),
    ("report", "run"),
    ("plot", "run"),
    ("collapse", "run"),
    ("explore", "run", "--no-serve"),
    ("fold", "run", "--beta", "1", "--out", "run/folded"),
    ("export", "run", "--torch-export", "--out", "run/exported"),
    ("choose", "run", "--elbo", "--fold", "run/chosen"),
    ("sweep", *MODEL, "--epochs", "1", "--betas", "1", "--out", "run/sweep"),
    ("reproduce", "fig4", "--out", "run/reproduced"),
]
WRITER_IDS = [words[0] for words in WRITERS]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 4 MB of its own, the working folder of a test; skipped where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted here: {getattr(error, 'stderr', b'').decode().strip() or error}")
    with monkeypatch.context() as patch:
        patch.chdir(place)
        yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path, free: int = 0) -> Path:
    """Fill a disk but for so many bytes, with a file that is returned."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    os.truncate(ballast, max(0, ballast.stat().st_size - free))
    return ballast


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(list(TRAIN)) == 0
    return folder / "run"


def refused(words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(list(words)) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.match(rf"multirate: error: .*{reason}", said), said


def changed(before: Path, run: Path) -> list[str]:
    """Return what differs from before, but for folders without any file."""
    empty = {f"{path.relative_to(run)} is left over" for path in run.rglob("*") if path.is_dir()}
    return [line for line in differences(before, run) if line not in empty]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* holds no checkpoint; starting again")
@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 0.4, 0.6, 0.8, 0.95])
def test_a_disk_that_fills_up_in_training_leaves_a_run_that_goes_on_bit_for_bit(
    share: float, disk: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = sum(path.stat().st_size for path in whole.rglob("*"))
    ballast = fill(disk, round(share * size))
    refused(TRAIN, "cannot write run.*: No space left on device; free some space", capsys)
    assert unfinished(disk) == 0
    for path in disk.glob("run/checkpoints/*"):
        checkpoint.load(path)
    ballast.unlink()
    assert main(list(TRAIN)) == 0
    assert differences(whole, disk / "run") == []


@pytest.mark.slow
@pytest.mark.parametrize("words", WRITERS, ids=WRITER_IDS)
def test_a_full_disk_is_one_line_and_leaves_the_run_as_it_was(
    words: tuple[str, ...], disk: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, disk / "run")
    fill(disk)
    refused(words, "No space left on device; free some space", capsys)
    assert changed(trained, disk / "run") == []


@pytest.mark.slow
@pytest.mark.parametrize("words", [TRAIN, *WRITERS], ids=["train", *WRITER_IDS])
def test_a_folder_that_may_only_be_read_is_one_line_at_once(
    words: tuple[str, ...], disk: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    refused(words, "Read-only file system; choose another folder", capsys)
    assert changed(trained, disk / "run") == []


@pytest.mark.slow
@pytest.mark.parametrize("words", [TRAIN, *WRITERS], ids=["train", *WRITER_IDS])
def test_a_writer_that_fails_is_one_line_and_leaves_the_run_as_it_was(
    words: tuple[str, ...],
    tmp_path: Path,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.chdir(tmp_path)
    if words != TRAIN:
        shutil.copytree(trained, tmp_path / "run")
    monkeypatch.setattr(os, "fsync", fail)
    refused(words, "cannot write run.*: No space left on device; free some space", capsys)
    if words != TRAIN:
        assert changed(trained, tmp_path / "run") == []
