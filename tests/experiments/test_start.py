"""Runs that start from the weights of a plain VAE: the same function at the start, and errors that say what differs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

import multirate as mr
from multirate.data import load
from multirate.errors import DataError, UsageError
from multirate.experiments.building import build_model
from multirate.experiments.run import evaluate_run, open_run, train
from multirate.experiments.spec import RunSpec
from multirate.experiments.start import needs_start, read_start, start_name
from multirate.fairness import differences
from multirate.inference import base_of
from multirate.models.gaussian import GaussianVAE
from multirate.seeding import seeded

NETWORK: dict[str, Any] = {"data": "digits", "hidden": (16,), "latents": 3, "examples": 256}
ONE = mr.TrainConfig(epochs=1, batch_size=64)
STILL = mr.TrainConfig(epochs=1, batch_size=64, learning_rate=1e-12)
X = load("digits", "test").batch(torch.arange(20))
# What differs from the source's network, and the words that say so.
OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"hidden": (17,)}, r"its hidden is \[16\] and this run's is \[17\]"),
    ({"latents": 4}, "its latents is 3 and this run's is 4"),
    ({"likelihood": "gaussian"}, "its likelihood is bernoulli and this run's is gaussian"),
    ({"model_options": ("decoder_activation=tanh",)}, "its decoder_activation is .* and this run's is tanh"),
    ({"model": "linear", "hidden": ()}, "holds a model mlp, this run is of model linear; choose --model mlp"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain run at beta 0.5."""
    folder = tmp_path_factory.mktemp("start") / "plain"
    train(RunSpec(**NETWORK, beta=0.5), ONE, folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def multirate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multi-rate run."""
    folder = tmp_path_factory.mktemp("start") / "multirate"
    train(RunSpec(**NETWORK), ONE, folder, progress=False)
    return folder


def tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def test_a_plain_model_starts_from_the_weights_of_another(source: Path) -> None:
    model = build_model(RunSpec(**NETWORK, beta=2.0, start=str(source)), load("digits"), seed=7)
    ours, theirs = tensors(model), tensors(mr.load(source / "model"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert model.training


@pytest.mark.parametrize("response", ["default", "paper", "film", "mlp"])
def test_a_multi_rate_model_starts_as_the_plain_one_at_its_own_beta(source: Path, response: str) -> None:
    model = build_model(RunSpec(**NETWORK, response=response, start=str(source)), load("digits"), seed=7).eval()
    assert isinstance(model, mr.MultiRate)
    plain = mr.load(source / "model")
    assert isinstance(plain, GaussianVAE)
    with seeded(0):
        ours = model.terms(X, beta=0.5)
    with seeded(0):
        theirs = plain.terms(X)
    torch.testing.assert_close(ours.rate, theirs.rate, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.distortion, theirs.distortion, rtol=1e-5, atol=1e-5)


def test_preserve_at_says_at_which_other_beta(source: Path) -> None:
    spec = RunSpec(**NETWORK, start=str(source), preserve_at=4.0)
    model = build_model(spec, load("digits"), seed=7).eval()
    assert isinstance(model, mr.MultiRate)
    plain = mr.load(source / "model")
    with torch.no_grad():
        torch.testing.assert_close(model(X, beta=4.0), plain(X), rtol=1e-5, atol=1e-5)


def test_the_model_of_a_run_and_a_folded_model_are_starts_too(source: Path, multirate: Path, tmp_path: Path) -> None:
    model = build_model(RunSpec(**NETWORK, start=str(source / "model")), load("digits"), seed=0)
    assert isinstance(model, mr.MultiRate)
    from multirate.cli.fold import write_folded

    write_folded(multirate, 2.0, tmp_path / "folded")
    again = build_model(RunSpec(**NETWORK, start=str(tmp_path / "folded")), load("digits"), seed=0).eval()
    assert isinstance(again, mr.MultiRate)
    gated = mr.load(multirate / "model")
    assert isinstance(gated, mr.MultiRate)
    with torch.no_grad():
        torch.testing.assert_close(again(X, beta=2.0), gated(X, beta=2.0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["vae.safetensors", "vae.pt", "checkpoint.ckpt"])
def test_a_file_of_weights_is_a_start(source: Path, tmp_path: Path, name: str) -> None:
    weights, path = mr.load(source / "model").state_dict(), tmp_path / name
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        torch.save({"epoch": 3, "state_dict": weights} if path.suffix == ".ckpt" else weights, path)
    spec = RunSpec(**NETWORK, start=str(path), preserve_at=0.5)
    model = build_model(spec, load("digits"), seed=7).eval()
    assert isinstance(model, mr.MultiRate)
    with torch.no_grad():
        torch.testing.assert_close(model(X, beta=0.5), mr.load(source / "model")(X), rtol=1e-5, atol=1e-5)


def without(weights: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in weights.items() if key != name}


# What is wrong with the weights, and the words that say so.
UNFIT: list[tuple[Callable[[dict[str, torch.Tensor]], Any], type[Exception], str]] = [
    (lambda w: without(w, next(iter(w))), UsageError, r"has no .*, which this \w+ needs; choose the --model"),
    (lambda w: w | {"more.weight": torch.zeros(2)}, UsageError, r"has more.weight, which this \w+ does not"),
    (lambda w: {k: v.new_zeros(5, 5) for k, v in w.items()}, UsageError, r" is \[5, 5\], and this \w+ needs \["),
    (lambda w: [torch.zeros(2)], UsageError, "holds no weights by name"),
    (lambda w: torch.nn.Linear(2, 2), DataError, "cannot read the weights of"),
]


@pytest.mark.parametrize(("change", "error", "message"), UNFIT, ids=["missing", "more", "shape", "list", "pickle"])
def test_weights_that_do_not_fit_are_an_error(
    source: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], Any], error: type[Exception], message: str
) -> None:
    path = tmp_path / "vae.pt"
    torch.save(change(mr.load(source / "model").state_dict()), path)
    with pytest.raises(error, match=message):
        build_model(RunSpec(**NETWORK, start=str(path), preserve_at=0.5), load("digits"), seed=0)


def test_a_file_of_weights_does_not_say_its_beta(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    safetensors.torch.save_file(mr.load(source / "model").state_dict(), path)
    with pytest.raises(UsageError, match="say it with --preserve-at"):
        build_model(RunSpec(**NETWORK, start=str(path)), load("digits"), seed=0)
    (tmp_path / "notes.txt").write_text("no weights")
    with pytest.raises(UsageError, match=r"notes\.txt is no file of weights"):
        build_model(RunSpec(**NETWORK, start=str(tmp_path / "notes.txt")), load("digits"), seed=0)


@pytest.mark.parametrize("beta", [2.0, None], ids=["plain", "multi-rate"])
def test_a_run_that_hardly_moves_measures_as_its_start(source: Path, tmp_path: Path, beta: float | None) -> None:
    train(RunSpec(**NETWORK, beta=beta, start=str(source)), STILL, tmp_path / "run", progress=False)
    betas = 20 if beta is not None else [0.5]
    ours = evaluate_run(open_run(tmp_path / "run"), betas, progress=False)
    theirs = evaluate_run(open_run(source), progress=False)
    assert ours.points[0]["rate"] == pytest.approx(theirs.points[0]["rate"], rel=1e-5)
    assert ours.points[0]["distortion"] == pytest.approx(theirs.points[0]["distortion"], rel=1e-5)
    assert ours.details["start"] == "plain"
    record = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert record["run"]["start"] == str(source)
    assert f"--from {source}" in record["command"]


def test_training_from_a_start_changes_the_weights_and_not_the_start(source: Path, tmp_path: Path) -> None:
    before = tensors(mr.load(source / "model"))
    done = train(RunSpec(**NETWORK, beta=0.5, start=str(source)), ONE, tmp_path / "run", progress=False)
    after = tensors(mr.load(source / "model"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not all(torch.equal(before[name], value) for name, value in tensors(done.model).items())
    first = json.loads((source / "metrics.jsonl").read_text().splitlines()[0])
    assert done.history[0]["loss"] < first["loss"]


def test_a_run_that_goes_on_does_not_read_its_start_again(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    spec = RunSpec(**NETWORK, beta=0.5, start=str(copy))
    whole = train(spec, ONE, tmp_path / "whole", progress=False)
    train(spec, ONE, tmp_path / "run", progress=False)
    shutil.rmtree(tmp_path / "run" / "model")
    for path in sorted((tmp_path / "run" / "checkpoints").iterdir())[1:]:
        path.unlink()
    shutil.rmtree(copy)
    again = train(spec, ONE, tmp_path / "run", resume=True, progress=False)
    ours, theirs = tensors(again.model), tensors(whole.model)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_that_was_stopped_before_its_first_checkpoint_reads_its_start(source: Path, tmp_path: Path) -> None:
    spec = RunSpec(**NETWORK, beta=0.5, start=str(source))
    train(spec, ONE, tmp_path / "run", progress=False)
    assert not needs_start(spec, tmp_path / "run", resume=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert needs_start(spec, tmp_path / "run", resume=True)


@pytest.mark.parametrize("option", [{"start": None}, {"start": "elsewhere"}])
def test_a_run_goes_on_from_its_own_start_only(source: Path, tmp_path: Path, option: dict[str, Any]) -> None:
    train(RunSpec(**NETWORK, beta=0.5, start=str(source)), ONE, tmp_path, progress=False)
    with pytest.raises(UsageError, match=f"started from {source}, not from"):
        train(RunSpec(**NETWORK, beta=0.5, **option), ONE, tmp_path, resume=True, progress=False)


@pytest.mark.parametrize(("option", "message"), OTHERS, ids=[next(iter(case)) for case, _ in OTHERS])
def test_another_network_is_refused_with_what_differs(source: Path, option: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_model(RunSpec(**NETWORK | option, beta=1.0, start=str(source)), load("digits"), seed=0)


def test_a_multi_rate_start_is_told_to_fold_first(multirate: Path) -> None:
    with pytest.raises(UsageError, match=r"holds a multi-rate model.* fold it first"):
        build_model(RunSpec(**NETWORK, start=str(multirate)), load("digits"), seed=0)


def test_a_beta_outside_the_range_asks_for_another(source: Path) -> None:
    with pytest.raises(UsageError, match=r"at beta 0\.5, which is not in the range of 1 to 10: .*--preserve-at"):
        build_model(RunSpec(**NETWORK, beta_low=1.0, start=str(source)), load("digits"), seed=0)
    with pytest.raises(UsageError, match=r"preserve_at is 20, which is not in the range"):
        build_model(RunSpec(**NETWORK, preserve_at=20.0, start=str(source)), load("digits"), seed=0)


def test_a_saved_model_without_a_beta_asks_for_one(source: Path, tmp_path: Path) -> None:
    mr.save(mr.load(source / "model"), tmp_path / "saved")
    with pytest.raises(UsageError, match="does not say at which beta it was trained; say it with --preserve-at"):
        build_model(RunSpec(**NETWORK, start=str(tmp_path / "saved")), load("digits"), seed=0)
    spec = RunSpec(**NETWORK, beta=1.0, start=str(tmp_path / "saved"))
    assert base_of(build_model(spec, load("digits"), seed=0)) is not None


def test_a_start_that_is_missing_damaged_or_of_an_own_class_is_an_error(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no folder .* to start from"):
        build_model(RunSpec(**NETWORK, beta=1.0, start=str(tmp_path / "none")), load("digits"), seed=0)
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    (copy / "model" / "model.safetensors").write_bytes(b"pickle")
    with pytest.raises(DataError, match="damaged"):
        build_model(RunSpec(**NETWORK, beta=1.0, start=str(copy)), load("digits"), seed=0)
    shutil.rmtree(copy / "model")
    with pytest.raises(DataError, match="not finished"):
        build_model(RunSpec(**NETWORK, beta=1.0, start=str(copy)), load("digits"), seed=0)
    mr.save(torch.nn.Linear(2, 2), tmp_path / "own")
    with pytest.raises(UsageError, match=r"holds a torch.nn.modules.linear.Linear, which is not built in"):
        build_model(RunSpec(**NETWORK, beta=1.0, start=str(tmp_path / "own")), load("digits"), seed=0)


def test_a_multi_rate_model_starts_from_a_sigma_vae_at_the_beta_that_it_came_to(tmp_path: Path) -> None:
    network = NETWORK | {"likelihood": "gaussian"}
    config = mr.TrainConfig(epochs=1, batch_size=64, objective="sigma-vae")
    done = train(RunSpec(**network), config, tmp_path / "sigma", progress=False)
    model = build_model(RunSpec(**network, start=str(tmp_path / "sigma")), load("digits"), seed=0).eval()
    assert isinstance(model, mr.MultiRate)
    with torch.no_grad():
        expected = mr.load(tmp_path / "sigma" / "model")(X)
        torch.testing.assert_close(model(X, beta=done.learnt["beta"]), expected, rtol=1e-5, atol=1e-5)
    assert open_run(tmp_path / "sigma").beta == done.learnt["beta"]


def test_a_comparison_says_that_one_of_two_runs_did_not_start_anew(source: Path, tmp_path: Path) -> None:
    train(RunSpec(**NETWORK, beta=0.5, start=str(source)), STILL, tmp_path / "run", progress=False)
    ours = evaluate_run(open_run(tmp_path / "run"), progress=False)
    theirs = evaluate_run(open_run(source), progress=False)
    notes = differences(ours, theirs)
    assert any(note.startswith("start differs: plain for") and "new weights for" in note for note in notes)


def test_a_text_with_other_words_is_refused(tmp_path: Path) -> None:
    for name, words in (("first", "abcdef"), ("second", "uvwxyz")):
        (tmp_path / f"{name}.txt").write_text("".join(f"{word} {other}\n" for word in words for other in words))
    common: dict[str, Any] = {"model": "lstm", "latents": 2, "model_options": ("embedding=3", "hidden=4"), "beta": 1.0}
    train(RunSpec(data=str(tmp_path / "first.txt"), **common), ONE, tmp_path / "run", progress=False)
    second = RunSpec(data=str(tmp_path / "second.txt"), start=str(tmp_path / "run"), **common)
    with pytest.raises(UsageError, match="knows other words than second; read the text with its vocabulary"):
        build_model(second, load(second.data), seed=0)


def test_preserve_at_goes_with_a_start_and_a_multi_rate_model() -> None:
    with pytest.raises(UsageError, match="preserve_at 1 goes with weights to start from; give --from RUN too"):
        RunSpec(preserve_at=1.0)
    with pytest.raises(UsageError, match=r"preserve_at 1.0 goes with a multi-rate model"):
        RunSpec(beta=1.0, start="run", preserve_at=1.0)


def test_a_start_is_named_without_the_folders_around_it() -> None:
    assert [start_name(path) for path in (None, "runs/mnist", "runs/mnist/model")] == [None, "mnist", "mnist"]


@pytest.mark.parametrize("beta", ["1", -1, 0, [1], True])
def test_a_model_that_was_trained_at_no_beta_is_refused(beta: object, tmp_path: Path) -> None:
    mr.save(mr.models.mlp(shape=(4,), latents=2, hidden=(3,)), tmp_path, {"beta": beta})
    with pytest.raises(DataError, match="which is no number above 0"):
        read_start(tmp_path)


def test_a_description_without_its_parts_is_refused(tmp_path: Path) -> None:
    mr.save(mr.models.mlp(shape=(4,), latents=2, hidden=(3,)), tmp_path)
    (tmp_path / "model.json").write_text('{"schema": "multirate.model/1", "multirate": null}')
    with pytest.raises(DataError, match="it has no 'class' of the right kind"):
        read_start(tmp_path)
