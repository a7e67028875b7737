"""Taking a run's model away from the command line."""

import importlib.util
import json

import pytest
import torch

import multirate as mr
from multirate.cli.export import example_of
from multirate.cli.main import main
from multirate.inference import base_of
from multirate.integrations import hub
from multirate.models.packing import pack

FOLDED_AT = 0.5
with_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None,
    reason="onnxruntime is not installed: pip install 'multirate[onnx]'",
)


def names(folder):
    return {path.name for path in folder.iterdir()}


def outputs(path, **inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: x.numpy() for name, x in inputs.items()})[0])


@pytest.mark.slow
@with_onnx
def test_a_run_is_exported_in_every_form_at_once(trained, tmp_path, capsys):
    forms = ["--onnx", "--torch-export", "--hub", "--license", "mit"]
    assert main(["export", str(trained), *forms, "--out", str(tmp_path / "out"), "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    parts = ["encoder", "decoder", "reconstruction"]
    assert result["onnx"]["files"] == [*(f"{part}.onnx" for part in parts), "onnx.json"]
    assert result["torch_export"]["files"] == [*(f"{part}.pt2" for part in parts), "torch_export.json"]
    assert names(tmp_path / "out") == {
        name for form in ("onnx", "torch_export", "hub") for name in result[form]["files"]
    }
    assert result["onnx"]["largest_difference"] <= 1e-5 and result["torch_export"]["largest_difference"] <= 1e-5
    assert "differ from PyTorch by" in printed.err
    model = mr.load(trained / "model")
    x, beta = torch.rand(3, *model.base.shape), torch.tensor([0.01, 0.6, 10.0])
    expected = model(x, beta=beta).detach()
    torch.testing.assert_close(outputs(tmp_path / "out" / "reconstruction.onnx", x=x, beta=beta), expected)
    (found,) = torch.export.load(tmp_path / "out" / "reconstruction.pt2").module()(x, beta)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(hub.from_pretrained(tmp_path / "out")(x, beta=beta), expected)
    assert "license: mit" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
@with_onnx
def test_with_a_beta_the_folded_model_is_exported(trained, tmp_path, capsys):
    assert main(["export", str(trained), "--onnx", "--beta", str(FOLDED_AT), "--no-check", "--out", str(tmp_path)]) == 0
    assert "not checked" in capsys.readouterr().out
    x = torch.rand(3, 1, 8, 8)
    expected = mr.fold(mr.load(trained / "model"), FOLDED_AT)(x).detach()
    torch.testing.assert_close(outputs(tmp_path / "reconstruction.onnx", x=x), expected)


@pytest.mark.slow
def test_what_the_hub_keeps_needs_no_other_library(trained, tmp_path, capsys):
    assert main(["export", str(trained), "--hub", "--beta", str(FOLDED_AT), "--out", str(tmp_path / "hub")]) == 0
    assert "from_pretrained reads it" in capsys.readouterr().out
    assert mr.Curve.load(tmp_path / "hub" / "curve.json") == mr.Curve.load(trained / "curve.json")
    assert not isinstance(hub.from_pretrained(tmp_path / "hub"), mr.MultiRate)


def test_a_run_is_pushed_to_a_repository(trained, capsys, monkeypatch):
    asked = {}

    def push(model, repository, **options):
        asked.update(model=model, repository=repository, **options)
        return "address of the commit"

    monkeypatch.setattr(hub, "push_to_hub", push)
    assert main(["export", str(trained), "--push", "me/mine", "--private", "--license", "mit", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["commit"] == "address of the commit"
    assert isinstance(asked.pop("model"), mr.MultiRate)
    assert asked == {"repository": "me/mine", "run": trained, "beta": None, "license": "mit", "private": True}


WRONG = [
    ([], "say what to write: --onnx, --torch-export or --hub, or where to upload: --push USER/NAME"),
    (["--onnx"], "say where to write: --out DIR"),
    (["--out", "OUT"], "say what to write: --onnx, --torch-export or --hub, or where to upload"),
    (["--push", "me/mine", "--out", "OUT"], "nothing would be written to OUT: add --onnx, --torch-export or --hub"),
    (["--onnx", "--out", "FULL"], "FULL is not an empty folder; choose another"),
    (["--hub", "--private", "--out", "OUT"], "--private is for a repository: add --push USER/NAME"),
    (["--onnx", "--license", "mit", "--out", "OUT"], "a licence (mit) is for the card: add --hub or --push"),
    (["--hub", "--beta", "20", "--out", "OUT"], "beta 20 is outside the range [0.01, 10]"),
    (["--push", "mine"], "'mine' is no folder and no repository, which is written USER/NAME"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(words) or "nothing" for words, _ in WRONG])
def test_wrong_usage_exits_with_2_and_one_line(words, message, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "mine.txt").write_text("kept")
    assert main(["export", str(trained), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert names(tmp_path) == {"FULL"} and names(tmp_path / "FULL") == {"mine.txt"}


def test_no_run_exits_with_1(tmp_path, capsys):
    assert main(["export", str(tmp_path / "none"), "--hub", "--out", str(tmp_path / "out")]) == 1
    assert "holds no run" in capsys.readouterr().err


def test_sentences_to_trace_with_are_sentences():
    model = mr.models.lstm(shape=(9,), vocabulary_size=30, latents=2, embedding=3, hidden=4)
    words = example_of(model)
    assert pack(words, 30).lengths.tolist() == [1, 3, 6, 9]


@pytest.mark.parametrize("name", ["linear", "mlp", "convnet", "resnet"])
def test_images_to_trace_with_have_the_models_shape(name):
    model = mr.convert(getattr(mr.models, name)(shape=(1, 28, 28), latents=2))
    assert example_of(model).shape == (4, *base_of(model).shape)
    assert torch.equal(example_of(model), example_of(model))
