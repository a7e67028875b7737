"""``multirate train``: options, YAML, what it leaves in the folder."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from tests.cli.conftest import SMALL

import multirate as mr
from multirate.cli.main import main
from multirate.cli.train import Options, expand

BAD_YAML = [
    ("epoch: 3", "unknown option 'epoch'"),
    ("- 3", "name: value"),
    ("epochs: {a: 1}", "not a mapping"),
    ("epochs: [", "cannot read"),
    (None, "cannot read"),
]


def config_of(folder: Path) -> dict[str, object]:
    loaded = yaml.safe_load((folder / "config.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_the_folder_holds_what_the_design_says(trained: Path) -> None:
    assert {"config.yaml", "metrics.jsonl", "checkpoints", "model"} <= {path.name for path in trained.iterdir()}
    assert isinstance(mr.load(trained / "model"), mr.MultiRate)


def test_yaml_gives_options_and_flags_override_them(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("model: mlp\nhidden: [24, 12]\nlatents: 3\nepochs: 9\nlearning-rate: 2e-3\nclip_norm: null\n")
    out = tmp_path / "run"
    assert main(["train", "--config", str(file), "--epochs", "1", "--out", str(out)]) == 0
    config = config_of(out)
    assert config["training"] | {"epochs": 1, "learning_rate": 2e-3, "clip_norm": None} == config["training"]
    assert config["run"] | {"hidden": [24, 12], "latents": 3} == config["run"]


def test_the_record_of_a_run_repeats_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["train", *SMALL, "--epochs", "1", "--beta", "0.5", "--seed", "3", "--out", str(first)]) == 0
    assert main(["train", "--config", str(first / "config.yaml"), "--out", str(second)]) == 0
    one, other = mr.load(first / "model").state_dict(), mr.load(second / "model").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    command = str(config_of(first)["command"])
    assert command == (
        "multirate train --latents 4 --hidden 32 --beta 0.5 --epochs 1 --batch-size 64 --seed 3 --out " + str(first)
    )


@pytest.mark.parametrize(("text", "message"), BAD_YAML)
def test_a_bad_yaml_file_is_refused(
    text: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "options.yaml"
    if text is not None:
        file.write_text(text)
    assert main(["train", "--config", str(file), "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_yaml_switches_are_written_as_flags(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("resume: true\njson: false\nbeta: 2\n")
    assert expand(["--config", str(file)]) == ["--resume", "--beta", "2", "--config", str(file)]


def test_a_baseline_and_a_multi_rate_model_start_from_the_same_weights() -> None:
    from multirate.data import load
    from multirate.experiments.building import build_model
    from multirate.experiments.spec import RunSpec

    data = load("digits")
    plain = build_model(RunSpec(beta=1.0), data, seed=4)
    gated = build_model(RunSpec(), data, seed=4)
    assert isinstance(gated, mr.MultiRate)
    start = gated.base.state_dict()
    assert start.keys() == plain.state_dict().keys()
    assert all(torch.equal(start[name], value) for name, value in plain.state_dict().items())


def test_examples_limits_the_training_data(tmp_path: Path) -> None:
    assert main(["train", *SMALL, "--epochs", "1", "--examples", "70", "--out", str(tmp_path / "run")]) == 0
    data = config_of(tmp_path / "run")["data"]
    assert isinstance(data, dict)
    assert data["examples"] == 70


def test_a_run_is_not_overwritten_and_resume_keeps_it(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "model" / "model.safetensors").read_bytes()
    assert main(["train", *SMALL, "--out", str(trained)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(["train", *SMALL, "--out", str(trained), "--resume"]) == 0
    assert (trained / "model" / "model.safetensors").read_bytes() == before
    assert main(["train", *SMALL, "--learning-rate", "0.1", "--out", str(trained), "--resume"]) == 1
    assert "learning_rate" in capsys.readouterr().err


def test_own_arrays_train_by_their_path(tmp_path: Path) -> None:
    import numpy as np

    file = tmp_path / "mine.npz"
    np.savez(file, x=(np.arange(200 * 36).reshape(200, 1, 6, 6) % 7 == 0))
    out = tmp_path / "run"
    words = [
        "train",
        "--data",
        str(file),
        "--data-options",
        "key=x",
        "--hidden",
        "8",
        "--latents",
        "2",
        "--epochs",
        "1",
    ]
    assert main([*words, "--out", str(out)]) == 0
    assert main(["evaluate", str(out), "--betas", "3", "--no-figures"]) == 0
    assert mr.Curve.load(out / "curve.json").betas.tolist() == pytest.approx([0.01, 0.1**0.5 * 1, 10.0], rel=1e-6)


def test_every_option_of_training_is_an_option_of_the_command() -> None:
    import dataclasses

    from multirate.cli.train import TrainingOptions

    assert [f.name for f in dataclasses.fields(TrainingOptions)] == [f.name for f in dataclasses.fields(mr.TrainConfig)]
    assert {f.name for f in dataclasses.fields(Options)} >= {"out", "config", "resume", "spec", "training", "shared"}


@pytest.mark.slow
def test_validate_measures_the_validation_split_and_leaves_the_weights_alone(tmp_path: Path) -> None:
    plain, validated = tmp_path / "plain", tmp_path / "validated"
    words = ["train", *SMALL, "--epochs", "2", "--beta", "0.5"]
    assert main([*words, "--out", str(plain)]) == 0
    assert main([*words, "--validate", "--out", str(validated)]) == 0
    lines = [json.loads(line) for line in (validated / "metrics.jsonl").read_text().splitlines()]
    found = [line for line in lines if line["split"] == "validation"]
    assert [line["epoch"] for line in found] == [1, 2]
    assert all(line["objective"] == pytest.approx(line["distortion"] + 0.5 * line["rate"]) for line in found)
    one, other = mr.load(plain / "model").state_dict(), mr.load(validated / "model").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_run_starts_from_another_by_flag_by_yaml_and_in_a_sweep(tmp_path: Path) -> None:
    plain, gated = tmp_path / "plain", tmp_path / "gated"
    small = [*SMALL, "--epochs", "1"]
    assert main(["train", *small, "--beta", "0.5", "--out", str(plain)]) == 0
    assert main(["train", *small, "--from", str(plain), "--preserve-at", "2", "--out", str(gated)]) == 0
    record = config_of(gated)
    assert record["run"] | {"start": str(plain), "preserve_at": 2.0} == record["run"]
    assert f"--from {plain} --preserve-at 2.0 " in str(record["command"])
    assert main(["train", "--config", str(gated / "config.yaml"), "--out", str(tmp_path / "again")]) == 0
    one, other = mr.load(gated / "model").state_dict(), mr.load(tmp_path / "again" / "model").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    file = tmp_path / "options.yaml"
    file.write_text(f"from: {plain}\n")
    assert expand(["--config", str(file)])[:2] == ["--from", str(plain)]
    assert main(["sweep", *small, "--from", str(plain), "--betas", "1", "--out", str(tmp_path / "sweep")]) == 0
    swept = config_of(tmp_path / "sweep" / "beta-1")
    assert swept["run"] | {"start": str(plain), "beta": 1.0} == swept["run"]


def test_a_start_of_another_network_is_refused_before_anything_is_written(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *SMALL, "--from", str(trained), "--out", str(tmp_path / "run")]) == 2
    assert "fold it first" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_sigma_vae_is_trained_measured_and_compared_at_its_own_beta(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sigma, gated = tmp_path / "sigma", tmp_path / "gated"
    small = [*SMALL, "--epochs", "2", "--likelihood", "gaussian"]
    assert main(["train", *small, "--objective", "sigma-vae", "--out", str(sigma)]) == 0
    assert "--beta 1.0 --epochs 2 --batch-size 64 --objective sigma-vae" in str(config_of(sigma)["command"])
    assert main(["train", "--config", str(sigma / "config.yaml"), "--out", str(tmp_path / "again")]) == 0
    extra = json.loads((sigma / "model" / "model.json").read_text())["extra"]
    assert main(["evaluate", str(sigma), "--split", "train", "--no-figures"]) == 0
    curve = mr.Curve.load(sigma / "curve.json")
    assert curve.label == "\N{GREEK SMALL LETTER SIGMA}-VAE mlp"
    assert curve.betas.tolist() == [extra["beta"]]
    assert curve.details | extra == curve.details | {"optimal_variance": extra["beta"], "beta": extra["beta"]}
    # The distortion of unit variance, from the variance that was kept, with other noise.
    expected = 0.5 * 64 * (extra["optimal_variance"] + 1.8378770664093453)
    assert curve.points[0]["distortion"] == pytest.approx(expected, rel=1e-3)
    assert main(["train", *small, "--out", str(gated)]) == 0
    assert main(["evaluate", str(gated), "--split", "train", "--betas", "4", "--no-figures"]) == 0
    capsys.readouterr()
    assert main(["compare", str(gated), str(sigma), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert f"{extra['beta']:.6f}"[:6] in json.dumps(found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--response", "paper"],
            "response paper goes with a multi-rate model, and objective sigma-vae trains a plain",
        ),
        (["--beta", "0.5"], "beta 0.5 does not go with objective sigma-vae, which has no beta"),
    ],
)
def test_a_sigma_vae_takes_no_beta_and_no_range(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *SMALL, "--objective", "sigma-vae", *words, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_channels_last_is_switched_off_by_flag_and_by_yaml(tmp_path: Path) -> None:
    usual, off, again = (tmp_path / name for name in ("usual", "off", "again"))
    assert main(["train", *SMALL, "--epochs", "1", "--out", str(usual)]) == 0
    assert main(["train", *SMALL, "--epochs", "1", "--no-channels-last", "--out", str(off)]) == 0
    assert main(["train", "--config", str(off / "config.yaml"), "--out", str(again)]) == 0
    assert [config_of(run)["training"]["channels_last"] for run in (usual, off, again)] == [True, False, False]
    assert "--no-channels-last" in str(config_of(off)["command"])
    assert "channels-last" not in str(config_of(usual)["command"])


def test_of_several_processes_the_first_alone_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert main(["train", *SMALL, "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == ""
