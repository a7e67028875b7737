import errno
import json
import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from multirate.errors import DataError
from multirate.files import append_line, read_json, remove, staged, sweep_stale, write_atomic, write_json


@pytest.mark.parametrize(
    ("content", "expected"), [("β ≤ 1\n", "β ≤ 1\n".encode()), (b"\x00\xff", b"\x00\xff"), ("", b"")]
)
def test_content_is_written_as_given(tmp_path: Path, content: str | bytes, expected: bytes) -> None:
    path = write_atomic(tmp_path / "file", content)

    assert path.read_bytes() == expected
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_missing_folders_are_made_and_the_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomic(path, "old, and longer")

    assert write_atomic(str(path), "new") == path
    assert path.read_text() == "new"


@pytest.mark.parametrize("step", ["fsync"])
def test_a_write_that_fails_leaves_the_old_file_whole_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = write_atomic(tmp_path / "file", "old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(DataError, match=f"cannot write {path}: No space left on device; free some space"):
        write_atomic(path, "new")

    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_atomic(tmp_path / "file", "old")
    replace = os.replace
    seen = []

    def look(source: str, target: Path) -> None:
        seen.append((Path(target).read_text(), Path(source).read_text(), Path(source).parent))
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    write_atomic(path, "new")

    assert seen == [("old", "new", tmp_path)]


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(DataError, match=r"cannot write .*inner: "):
        write_atomic(tmp_path / "file" / "inner", "x")
    with pytest.raises(DataError, match="cannot write"):
        write_atomic(tmp_path, "a folder is there")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("value", [{"beta": 0.01, "points": [1, 2.5, None, "β"]}, [], 0.1, 1e-300])
def test_json_comes_back_equal(tmp_path: Path, value: Any) -> None:
    assert read_json(write_json(tmp_path / "value.json", value)) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_and_the_old_file_stays(tmp_path: Path, value: float) -> None:
    path = write_json(tmp_path / "value.json", {"rate": 1.0})

    with pytest.raises(DataError, match=r"cannot write .*value\.json"):
        write_json(path, {"rate": value})

    assert json.loads(path.read_text()) == {"rate": 1.0}


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*missing\.json"):
        read_json(tmp_path / "missing.json")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1,}', b"\xff\xfe"])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = write_atomic(tmp_path / "value.json", content)

    with pytest.raises(DataError, match=r"cannot read .*value\.json as JSON"):
        read_json(path)


def test_a_folder_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_json(tmp_path)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "choose another folder"),
        (errno.EACCES, "choose another folder"),
        (errno.EIO, "check the folder"),
    ],
)
def test_the_remedy_fits_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DataError, match=f"{os.strerror(number)}; {remedy}"):
        write_atomic(tmp_path / "file", "new")


def test_a_missing_file_comes_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*a\.json; check the path"):
        read_json(tmp_path / "a.json")
    with pytest.raises(DataError, match=r"no file .*a\.json; make it$"):
        read_json(tmp_path / "a.json", "make it")


def content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_staged_files_replace_those_of_before_and_spare_others(tmp_path: Path) -> None:
    fill(tmp_path / "out", {"index": "1", "a": "1", "old/b": "1", "mine": "kept"})
    with staged(tmp_path / "out", last="index", old=("a", "old", "never")) as place:
        fill(place, {"index": "2", "new/c": "2"})
        assert content(tmp_path / "out") == {"index": "1", "a": "1", "old/b": "1", "mine": "kept"}
    assert content(tmp_path / "out") == {"index": "2", "new/c": "2", "mine": "kept"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_folder_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    fill(tmp_path / "out", {"index": "1", "a": "1"})
    with pytest.raises(error), staged(tmp_path / "out", last="index", old=("a",)) as place:
        fill(place, {"index": "2", "a": "2"})
        raise error
    assert content(tmp_path) == {"out/index": "1", "out/a": "1"}


def test_a_first_block_that_fails_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), staged(tmp_path / "out", last="index"):
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []


def test_the_last_file_is_never_beside_half_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "out", {"index": "1", "a": "1", "z": "1"})
    moved, replace = [], Path.replace

    def cut(self: Path, target: Path) -> Path:
        if len(moved) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        moved.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", cut)
    full = pytest.raises(DataError, match=r"cannot write .*out: .*; free some space")
    with full, staged(tmp_path / "out", last="index") as place:
        fill(place, {"index": "2", "a": "2", "z": "2"})
    assert moved == ["a"]
    assert content(tmp_path / "out") == {"a": "2", "z": "1"}


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"cannot write .*choose another folder"),
        staged(tmp_path / "file/out", last="x"),
    ):
        pass


def test_lines_are_added_each_whole(tmp_path: Path) -> None:
    append_line(tmp_path / "lines", "β")
    append_line(tmp_path / "lines", "two")
    assert (tmp_path / "lines").read_bytes() == "β\ntwo\n".encode()


def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_line(tmp_path / "lines", "one")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DataError, match=r"cannot write .*lines: No space left on device; free some space"):
        append_line(tmp_path / "lines", "two")
    assert (tmp_path / "lines").read_text() == "one\n"


def unfinished(process: int, machine: str = platform.node()) -> list[str]:
    return [f".model.json~{machine}-{process}-140", f".explorer~{machine}-{process}-140-ab_c1"]


def test_half_written_files_of_ended_processes_are_swept_and_nothing_else(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead, elsewhere, alive = (
        unfinished(int(ended.stdout)),
        unfinished(int(ended.stdout), "elsewhere"),
        unfinished(os.getpid()),
    )
    others = ["model.json", ".hidden", ".mine~", ".notes~1", f"copy~{platform.node()}-{int(ended.stdout)}-140"]
    for name in [*dead, *elsewhere, *alive, *others]:
        (tmp_path / "a" / name).parent.mkdir(exist_ok=True)
        if "explorer" in name:
            (tmp_path / "a" / name).mkdir()
            (tmp_path / "a" / name / "part").touch()
        else:
            (tmp_path / "a" / name).touch()
    sweep_stale(tmp_path)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {*elsewhere, *alive, *others}

    for name in [*elsewhere, *alive, *others]:
        old = time.time() - 90_000
        os.utime(tmp_path / "a" / name, (old, old))
    sweep_stale(tmp_path)
    assert {path.name for path in (tmp_path / "a").iterdir()} == set(others)


def test_what_is_being_written_would_be_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("multirate.files._runs", lambda process: False)
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        seen.append(self.exists())
        sweep_stale(tmp_path)
        seen.append(self.exists())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(DataError):
        write_atomic(tmp_path / "file", "x")
    with pytest.raises(DataError), staged(tmp_path / "out", last="index") as place:
        (place / "index").touch()
    assert seen == [True, False] * 2


def test_a_file_that_cannot_be_removed_is_one_clear_error(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"cannot write .*folder: .*; "):
        remove(tmp_path / "folder")
    remove(tmp_path / "absent")
    (tmp_path / "file").touch()
    remove(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
