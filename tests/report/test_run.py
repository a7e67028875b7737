"""What a report reads of a run's folder, damaged in every file."""

import os
from pathlib import Path

import pytest

from multirate.curve import Curve, point
from multirate.errors import DataError
from multirate.report.run import read_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    points = tuple(point(beta, 5 / (1 + beta), 20 + beta) for beta in (0.1, 1.0, 10.0))
    Curve("mine", "mlp", "digits", "test", 10, points).save(tmp_path / "curve.json")
    (tmp_path / "config.yaml").write_text("run: {data: digits}\ntraining: {epochs: 1}\n")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    return tmp_path


def test_lines_of_the_history_that_are_no_json_are_passed_over(folder: Path) -> None:
    damage = b'{"step": 1}\n\xff\xfe\n' + b"[" * 5000 + b'\n{"step": NaN}\n3\n{"step": 2}\n{"st'
    (folder / "metrics.jsonl").write_bytes(damage)
    assert read_run(folder).history == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("name", ["curve.json", "config.yaml", "metrics.jsonl", "sentences.json", "comparison.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_one_clear_error(folder: Path, name: str, make) -> None:
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    with pytest.raises(DataError, match=name):
        read_run(folder)


@pytest.mark.parametrize("content", [b"a: !!int ''\n", b"a: 1\na: 2\n", b"[" * 2000, b"\xff"])
def test_a_config_that_is_no_yaml_is_one_clear_error(folder: Path, content: bytes) -> None:
    (folder / "config.yaml").write_bytes(content)
    with pytest.raises(DataError, match=r"config\.yaml as YAML"):
        read_run(folder)


def test_a_curve_whose_latents_are_no_numbers_is_named(folder: Path) -> None:
    points = tuple(point(beta, 5 / (1 + beta), 20 + beta) for beta in (0.1, 1.0))
    details = {"latent_rates": [["a"], ["b"]], "beta_range": [0.1, 1.0]}
    Curve("mine", "mlp", "digits", "test", 10, points, details=details).save(folder / "curve.json")
    with pytest.raises(DataError, match=r"curve\.json: latent_rates"):
        read_run(folder)
