"""Runs read back from their folder, also those that were trained from Python."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import multirate as mr
from multirate.data import load
from multirate.data.vocabulary import Vocabulary
from multirate.errors import DataError, UsageError
from multirate.experiments.building import FirstExamples
from multirate.experiments.pictures import draw, draw_pictures, report
from multirate.experiments.run import evaluate_run, open_run, recalibration_data, train
from multirate.experiments.spec import RunSpec
from multirate.models.gaussian import GaussianVAE
from multirate.objectives.names import POSTERIOR_OBJECTIVES


def test_the_first_examples_are_those_of_the_source() -> None:
    source = mr.data.load("digits", "train")
    first = FirstExamples(source, 10)
    assert len(first) == 10
    assert first.shape == source.shape
    assert torch.equal(first.batch(torch.tensor([9, 0])), source.batch(torch.tensor([9, 0])))
    assert len(FirstExamples(source, 10**6)) == len(source)


@pytest.mark.slow
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


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A run of a class that is not built in, trained from Python on digits and measured there."""

    class Own(GaussianVAE):
        pass

    torch.manual_seed(0)
    model = mr.models.mlp(shape=(1, 8, 8), latents=3, hidden=(16,))
    model.__class__ = Own
    gated = mr.convert(model, mr.BetaRange(0.1, 1.0))
    mr.fit(gated, mr.data.load("digits", "train"), out=tmp_path / "own", epochs=1, progress=False)
    mr.evaluate(gated, mr.data.load("digits", "test"), betas=3, progress=False).save(tmp_path / "own" / "curve.json")
    return tmp_path / "own"


@pytest.mark.slow
def test_a_run_of_an_own_class_is_drawn_and_reported_from_its_curve(own: Path) -> None:
    notes: list[str] = []
    run = open_run(own)
    assert {path.stem for path in draw(run, say=notes.append)} == {
        "rate_distortion",
        "against_beta",
        "measures",
        "latent_rates",
        "training",
    }
    assert report(run, say=notes.append).stat().st_size > 10_000
    assert all(note.startswith("note: no pictures: the model of") for note in notes)
    assert len(notes) == 2


def test_a_run_of_an_own_class_says_how_to_measure_it_in_python(own: Path) -> None:
    with pytest.raises(DataError, match=r"multirate\.load\('.*own/model', base=Own\(\.\.\.\)\); curve = multirate"):
        evaluate_run(open_run(own), progress=False)


def test_the_curve_records_how_the_model_was_trained(tmp_path: Path) -> None:
    spec = RunSpec(data="digits", model="mlp", hidden=(16,), latents=3, examples=200, beta=0.5)
    config = mr.TrainConfig(epochs=1, batch_size=64, learning_rate=2e-3, kl_schedule="linear", seed=4)
    train(spec, config, tmp_path, progress=False)
    details = evaluate_run(open_run(tmp_path), progress=False).details
    expected = {"epochs": 1, "training_batch_size": 64, "learning_rate": 2e-3, "kl_schedule": "linear"}
    expected |= {"training_seed": 4, "training_examples": 200, "latents": 3, "hidden": [16]}
    assert details | expected == details


def test_a_run_stopped_while_its_model_was_written_is_not_finished(tmp_path: Path) -> None:
    spec = RunSpec(data="digits", model="mlp", hidden=(16,), latents=3, beta=1.0)
    train(spec, mr.TrainConfig(epochs=1), tmp_path, progress=False)
    (tmp_path / "model" / "model.json").unlink()
    with pytest.raises(DataError, match="not finished"):
        open_run(tmp_path)
    train(spec, mr.TrainConfig(epochs=1), tmp_path, resume=True, progress=False)
    assert open_run(tmp_path).model is not None


def test_a_record_that_is_no_text_is_an_error_in_data(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"training: \xff\xfe")
    with pytest.raises(DataError, match=r"config\.yaml"):
        open_run(tmp_path)


def test_bernoulli_is_refused_for_data_beyond_0_and_1_before_anything_is_written(tmp_path: Path) -> None:
    torch.save(torch.rand(64, 5) * 9, tmp_path / "rows.pt")
    spec = RunSpec(data=str(tmp_path / "rows.pt"), hidden=(8,), likelihood="bernoulli")
    with pytest.raises(UsageError, match=r"--data-options scale=.*--likelihood gaussian"):
        train(spec, mr.TrainConfig(epochs=1), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_discretised_logistics_are_refused_for_data_beyond_0_and_1_before_anything_is_written(tmp_path: Path) -> None:
    torch.save(torch.rand(64, 3, 32, 32) * 2, tmp_path / "images.pt")
    spec = RunSpec(data=str(tmp_path / "images.pt"), model="nvae", likelihood="discretized_logistic")
    with pytest.raises(UsageError, match=r"images has values from \S+ to \S+, but .* divided by 255, in \[0, 1\]"):
        train(spec, mr.TrainConfig(epochs=1), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("objective", POSTERIOR_OBJECTIVES)
def test_objectives_that_need_one_latent_vector_are_refused_for_groups_before_anything_is_written(
    objective: Any, tmp_path: Path
) -> None:
    torch.save(torch.rand(16, 1, 28, 28).round(), tmp_path / "images.pt")
    spec = RunSpec(data=str(tmp_path / "images.pt"), model="nvae")
    with pytest.raises(UsageError, match=f"objective {objective} needs the posterior of one Gaussian latent vector"):
        train(spec, mr.TrainConfig(epochs=1, objective=objective), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def text_spec(path: Path, words: str) -> RunSpec:
    path.write_text("".join(f"{word} {other}\n" for word in words for other in words))
    return RunSpec(data=str(path), model="lstm", latents=2, model_options=("embedding=3", "hidden=4"))


def test_a_run_keeps_its_own_vocabulary_not_that_of_a_command_that_was_refused(tmp_path: Path) -> None:
    first, second = text_spec(tmp_path / "first.txt", "abcdef"), text_spec(tmp_path / "second.txt", "uvwxyz")
    with pytest.raises(UsageError, match="plateau"):
        train(first, mr.TrainConfig(epochs=1, decay="plateau"), tmp_path / "run", progress=False)
    train(second, mr.TrainConfig(epochs=1), tmp_path / "run", progress=False)
    assert Vocabulary.load(tmp_path / "run" / "vocabulary.json") == load(tmp_path / "second.txt").vocabulary
    assert evaluate_run(open_run(tmp_path / "run"), 2, progress=False).data == "second"
    with pytest.raises(UsageError, match="already holds a run"):
        train(first, mr.TrainConfig(epochs=1), tmp_path / "run", progress=False)
    assert Vocabulary.load(tmp_path / "run" / "vocabulary.json") == load(tmp_path / "second.txt").vocabulary


@pytest.mark.parametrize("name", ["a: b", "12 #3", "'ü'"])
def test_another_text_is_measured_whatever_the_name_of_the_runs_folder(name: str, tmp_path: Path) -> None:
    first, second = text_spec(tmp_path / "first.txt", "abcdef"), text_spec(tmp_path / "second.txt", "efghij")
    train(first, mr.TrainConfig(epochs=1), tmp_path / name, progress=False)
    curve = evaluate_run(open_run(tmp_path / name, data=second.data), 2, progress=False)
    assert (curve.data, curve.details["epochs"]) == ("second", 1)


def test_a_run_of_images_measured_on_text_is_told_of_the_model_alone(tmp_path: Path) -> None:
    train(RunSpec(hidden=(8,), latents=2, examples=64), mr.TrainConfig(epochs=1), tmp_path / "run", progress=False)
    text = text_spec(tmp_path / "words.txt", "abcdef").data
    with pytest.raises(UsageError, match=r"choose a text model, such as lstm$"):
        evaluate_run(open_run(tmp_path / "run", data=text), 2, progress=False)


def test_recalibrating_without_a_batchnorm_is_refused(tmp_path: Path) -> None:
    train(RunSpec(hidden=(8,), latents=2, examples=64), mr.TrainConfig(epochs=1), tmp_path, progress=False)
    with pytest.raises(UsageError, match="no BatchNorm"):
        evaluate_run(open_run(tmp_path), 2, recalibrate=True, progress=False)
    assert not (tmp_path / "curve.json").exists()


@pytest.mark.slow
def test_statistics_come_from_the_data_that_the_run_was_trained_on(tmp_path: Path) -> None:
    for name, n in (("own", 16), ("other", 20)):
        torch.save(torch.rand(n, 1, 28, 28).round(), tmp_path / f"{name}.pt")
    spec = RunSpec(data=str(tmp_path / "own.pt"), model="nvae", latents=2, examples=8)
    train(spec, mr.TrainConfig(epochs=1), tmp_path / "run", progress=False)
    run = open_run(tmp_path / "run", data=str(tmp_path / "other.pt"))
    found = recalibration_data(run)
    assert (found.name, found.split, len(found)) == ("own", "train", 8)
    assert run.spec.data == str(tmp_path / "other.pt")


@pytest.mark.parametrize("option", [{"beta_low": 0.1}, {"beta_high": 3.0}, {"response": "paper"}])
def test_options_that_a_plain_model_has_no_use_for_are_refused(option: dict[str, Any]) -> None:
    RunSpec(**option)
    with pytest.raises(UsageError, match=next(iter(option))):
        RunSpec(beta=1.0, **option)


def test_loader_options_are_read_as_yaml() -> None:
    spec = RunSpec(data_options=("binarize=none", "size=32", "key=images", "split-seed=3"))
    assert spec.loader_options() == {"binarize": "none", "size": 32, "key": "images", "split_seed": 3}
    with pytest.raises(UsageError, match="name=value"):
        RunSpec(data_options=("size",))


WRONG_RUNS = {
    "text as a number": ({"start": "a", "preserve_at": "0.5"}, "preserve_at is '0.5'"),
    "a number as text": ({"data": 3}, "data is 3"),
    "a truth value as a count": ({"latents": True}, "latents is True"),
    "widths of text": ({"model": "mlp", "hidden": ["a"]}, "hidden is 'a'"),
    "another likelihood": ({"likelihood": "cauchy"}, "likelihood is 'cauchy'"),
    "no number": ({"beta": float("nan")}, "beta must be positive and finite"),
    "an unknown option": ({"betas": 3}, "'betas' is no option of a run"),
}


@pytest.mark.parametrize(("options", "message"), WRONG_RUNS.values(), ids=WRONG_RUNS.keys())
def test_a_record_with_values_of_other_types_is_one_clear_error(tmp_path, options, message):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"run": options, "training": {}}))
    with pytest.raises(DataError, match=message):
        open_run(tmp_path)
