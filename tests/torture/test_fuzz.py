"""The fuzzing harness notices every kind of fault that it is made for, and none in what is right."""

import json
import os
import pickle
import signal
import tempfile
import time
import warnings
from pathlib import Path

import pytest
from torture.fuzz import fuzz, main
from torture.mutations import json_text
from torture.readers import Reader, readers

from multirate.errors import DataError
from multirate.files import read_json
from torture import oracle

SEED = b'{"a": 1}'


class Command:
    def __reduce__(self):
        return os.getcwd, ()


def right(path: Path) -> None:
    read_json(path)


def value_error(path: Path) -> None:
    raise ValueError("no")


def nameless(path: Path) -> None:
    raise DataError("something is wrong; mend it")


def endless(path: Path) -> None:
    while True:
        """Go on."""


def waiting(path: Path) -> None:
    time.sleep(60)


def greedy(path: Path) -> None:
    bytearray(3 << 30)


def large(path: Path) -> None:
    assert len(b"x" * (1200 << 20)) > 0


def accepting(path: Path) -> None:
    assert not path.read_bytes(), "it is not empty"


def refusing(path: Path) -> None:
    raise DataError(f"{path} is refused; take another")


def outside(path: Path) -> None:
    (path.parent.parent / "outside" / "made").write_text("made")


def beside_the_root(path: Path) -> None:
    made = Path(tempfile.gettempdir()) / f"multirate-fuzz-{os.getpid()}"
    made.touch()
    made.unlink()


def unpickling(path: Path) -> None:
    pickle.loads(pickle.dumps(Command()))


def running(path: Path) -> None:
    os.system("true")


def warning(path: Path) -> None:
    warnings.warn("something", stacklevel=2)


def dying(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leaving(path: Path) -> None:
    os._exit(0)


PLANTED = {
    "value_error": (value_error, "ValueError"),
    "nameless": (nameless, "message"),
    "endless": (endless, "hang"),
    "waiting": (waiting, "hang"),
    "greedy": (greedy, "MemoryError"),
    "large": (large, "memory"),
    "accepting": (accepting, "accepted"),
    "refusing": (refusing, "DataError"),
    "outside": (outside, "forbidden"),
    "beside_the_root": (beside_the_root, "forbidden"),
    "unpickling": (unpickling, "forbidden"),
    "running": (running, "forbidden"),
    "warning": (warning, "UserWarning"),
    "dying": (dying, "crash"),
    "leaving": (leaving, "crash"),
}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "SECONDS", 0.2)
    monkeypatch.setattr(oracle, "PATIENCE", 0.4)


@pytest.mark.torture
@pytest.mark.parametrize(("read", "outcome"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_fault_is_reported_and_its_input_kept(read, outcome, tmp_path, monkeypatch):
    monkeypatch.setattr("torture.fuzz._KINDS", ())
    if outcome == "memory":
        monkeypatch.setattr(oracle, "SECONDS", 5.0)
        monkeypatch.setattr(oracle, "PATIENCE", 60.0)
    seeds = [SEED] if outcome == "DataError" else [SEED, SEED]
    result = fuzz([Reader("planted", "a.json", seeds, read)], 2, 0, tmp_path / "kept")
    assert result["inputs"] == 2
    assert {fault["outcome"] for fault in result["faults"]} == {outcome}
    assert (tmp_path / "kept" / result["faults"][0]["kept"]).read_bytes() == SEED


def test_a_reader_that_is_right_has_no_fault_in_files_and_in_what_is_none(tmp_path):
    result = fuzz([Reader("right", "a.json", [SEED], right, json_text)], 60, 0, tmp_path)
    assert (result["inputs"], result["faults"]) == (60, [])
    assert result["outcomes"]["read"] > 1
    assert result["outcomes"]["DataError"] > 5


@pytest.mark.slow
def test_the_same_seed_damages_the_same(tmp_path):
    results = [fuzz([Reader("right", "a.json", [SEED], right, json_text)], 60, seed, tmp_path) for seed in (1, 1, 2)]
    for result in results:
        result["readers"]["right"] = result["readers"]["right"]["outcomes"]
    assert results[0]["readers"] == results[1]["readers"]
    assert results[0]["readers"] != results[2]["readers"]


@pytest.mark.torture
@pytest.mark.parametrize(
    "name", ["npz", "curve", "cifar10 tar", "run's config", "multi-rate model's description", "png"]
)
def test_readers_have_no_fault_in_a_small_run(name, tmp_path, monkeypatch):
    monkeypatch.setattr(oracle, "SECONDS", 5.0)
    monkeypatch.setattr(oracle, "PATIENCE", 60.0)
    chosen = [reader for reader in readers() if reader.name == name]
    result = fuzz(chosen, 150, 1, tmp_path)
    assert result["inputs"] >= 150
    assert result["faults"] == []


def test_the_command_writes_a_record(tmp_path, monkeypatch):
    monkeypatch.setattr("torture.shared.RESULTS", tmp_path)
    monkeypatch.setattr("torture.fuzz.readers", lambda: [Reader("right", "a.json", [SEED], right, json_text)])
    assert main(["--inputs", "20", "--failures", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "fuzz.json").read_text())
    assert written["result"]["inputs"] == 20
    assert written["settings"]["seed"] == 0
