"""Runs read back from their folder, also those that were trained from Python."""

from pathlib import Path

import pytest
import torch

import multirate as mr
from multirate.errors import DataError, UsageError
from multirate.experiments.pictures import draw_pictures, report
from multirate.experiments.run import FirstExamples, evaluate_run, open_run
from multirate.experiments.spec import RunSpec


def test_the_first_examples_are_those_of_the_source() -> None:
    source = mr.data.load("digits", "train")
    first = FirstExamples(source, 10)
    assert len(first) == 10
    assert first.shape == source.shape
    assert torch.equal(first.batch(torch.tensor([9, 0])), source.batch(torch.tensor([9, 0])))
    assert len(FirstExamples(source, 10**6)) == len(source)


def test_a_run_trained_from_python_is_evaluated_like_any_other(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = mr.convert(mr.models.mlp(shape=(1, 8, 8), latents=3, hidden=(16,)), mr.BetaRange(0.1, 1.0))
    train, test = mr.data.load("digits", "train"), mr.data.load("digits", "test")
    mr.fit(model, train, out=tmp_path, epochs=1, progress=False)
    curve = evaluate_run(open_run(tmp_path), 3, progress=False)
    assert curve.points == mr.evaluate(model, test, betas=3, progress=False).points
    assert report(open_run(tmp_path)).stat().st_size > 10_000


def test_data_that_are_no_pictures_are_not_drawn(tmp_path: Path) -> None:
    torch.save(torch.rand(64, 5), tmp_path / "rows.pt")
    model = mr.models.mlp(shape=(5,), latents=2, hidden=(8,), likelihood="gaussian")
    record = {"run": {"data": str(tmp_path / "rows.pt"), "beta": 1.0}}
    mr.fit(model, mr.data.load(tmp_path / "rows.pt"), out=tmp_path / "run", epochs=1, progress=False, record=record)
    run = open_run(tmp_path / "run")
    evaluate_run(run, progress=False)
    assert draw_pictures(run) == []


@pytest.mark.parametrize("text", ["", "training: {}", "a: [", "- 1", "training: {epochs: 1}\nrun: {date: x}"])
def test_a_damaged_record_is_an_error_that_names_the_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(DataError, match=r"config\.yaml"):
        open_run(tmp_path)


def test_an_unfinished_run_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("training: {epochs: 1}\nrun: {data: digits}")
    with pytest.raises(DataError, match="--resume"):
        open_run(tmp_path)


def test_loader_options_are_read_as_yaml() -> None:
    spec = RunSpec(data_options=("binarize=false", "size=32", "key=images", "split-seed=3"))
    assert spec.loader_options() == {"binarize": False, "size": 32, "key": "images", "split_seed": 3}
    with pytest.raises(UsageError, match="name=value"):
        RunSpec(data_options=("size",))
