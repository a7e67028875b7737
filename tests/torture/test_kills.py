"""The harness of kills finds what a broken resumption does, and nothing in a sound one."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torture.comparing import differences, gaps, unfinished
from torture.kills import MOMENTS, SMALL, Killer, Subject

WORDS = ("--model", "mlp", "--hidden", "32", "--epochs", "2", "--log-every", "3", "--checkpoint-every", "5", "--resume")
SUBJECT = Subject("train", "small", ("train", *SMALL, *WORDS, "--out", "run"), steps=16)
# A command line that goes on with a weight that differs in its last bit.
FAULTY = """
import sys
import torch
from multirate.cli.main import main
from multirate.training.session import Session

restore = Session.restore

def one_bit_off(self):
    restore(self)
    weight = next(self.model.parameters()).data.view(-1)
    weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))

Session.restore = one_bit_off
sys.exit(main())
"""


NEXT = np.nextafter(np.float32(2), np.float32(3))


def folder(place: Path) -> Path:
    """A folder as a run leaves it."""
    (place / "checkpoints").mkdir(parents=True)
    save_file({"w": np.arange(3, dtype=np.float32)}, place / "model.safetensors")
    torch.save({"seconds": 1.0, "w": torch.arange(3.0)}, place / "checkpoints" / "step-1.pt")
    (place / "curve.json").write_text(json.dumps({"rate": 0.1, "details": {"seconds": 1.5, "epochs": 2}}))
    lines = [
        {"split": "train", "step": step, "loss": 0.1 * step, "seconds": 0.2, "cpu_seconds": 0.1} for step in (3, 6)
    ]
    (place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return place


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda place: (place / name).write_text((place / name).read_text().replace(old, new))


CHANGES: list[tuple[Callable[[Path], object], list[str]]] = [
    (edit("curve.json", "1.5", "9.5"), []),
    (edit("metrics.jsonl", '"seconds": 0.2', '"seconds": 0.3'), []),
    (lambda place: torch.save({"seconds": 9.0, "w": torch.arange(3.0)}, place / "checkpoints/step-1.pt"), []),
    (edit("curve.json", "0.1", "0.10000000000000002"), ["curve.json differs"]),
    (edit("metrics.jsonl", "0.6000000000000001", "0.6"), ["metrics.jsonl differs in line 2"]),
    (
        lambda place: (place / "metrics.jsonl").write_text((place / "metrics.jsonl").read_text() * 2),
        ["metrics.jsonl differs: 4 lines, not 2"],
    ),
    (
        lambda place: save_file({"w": np.array([0, 1, NEXT], np.float32)}, place / "model.safetensors"),
        ["model.safetensors differs"],
    ),
    (
        lambda place: torch.save(
            {"seconds": 1.0, "w": torch.tensor([0.0, -0.0, 2.0])}, place / "checkpoints/step-1.pt"
        ),
        ["checkpoints/step-1.pt differs"],
    ),
    (lambda place: (place / "curve.json").unlink(), ["curve.json is missing"]),
    (lambda place: (place / ".curve.json~a-1-2").touch(), [".curve.json~a-1-2 is left over"]),
    (lambda place: (place / "empty").mkdir(), ["empty is left over"]),
]


@pytest.mark.parametrize(("change", "found"), CHANGES)
def test_a_bit_that_differs_is_found_and_a_time_is_not(
    change: Callable[[Path], object], found: list[str], tmp_path: Path
) -> None:
    reference, other = folder(tmp_path / "a"), folder(tmp_path / "b")
    change(other)
    assert differences(reference, other) == found


@pytest.mark.parametrize(
    ("steps", "complaints"), [([3, 6, 7], 0), ([3, 7], 1), ([3, 3, 6, 7], 1), ([3, 6], 1), ([6, 3, 7], 1)]
)
def test_gaps_and_duplicates_are_found(steps: list[int], complaints: int, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"split": "train", "step": n}) + "\n" for n in steps))
    assert len(gaps(tmp_path / "metrics.jsonl", 3, 7)) == complaints


def test_half_written_files_and_locks_are_counted(tmp_path: Path) -> None:
    for name in (".lock", ".a~b-1-2", "c"):
        (tmp_path / name).touch()
    assert unfinished(tmp_path) == 2


@pytest.mark.torture
def test_a_run_that_goes_on_as_it_should_passes(tmp_path: Path) -> None:
    result = Killer(SUBJECT, tmp_path, 0, (sys.executable, "-m", "multirate")).run(3)
    assert result.failures == []
    assert dict(result.kills) == dict.fromkeys(MOMENTS, 1)
    assert result.runs >= 1


@pytest.mark.torture
def test_a_run_that_goes_on_one_bit_off_is_found(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    result = Killer(SUBJECT, tmp_path / "runs", 0, (sys.executable, str(tmp_path / "faulty.py"))).run(3)
    assert any("model/model.safetensors differs" in line for line in result.failures)
