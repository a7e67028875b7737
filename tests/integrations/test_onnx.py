"""ONNX files against the model itself, in ONNX Runtime."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from tests.integrations.exported import (
    TOLERANCE,
    assert_close,
    built,
    data,
    multirate,
    run,
    session,
    shapes,
    tensor,
    written,
)
from torch import nn

import multirate as mr
from multirate import models
from multirate.errors import BetaError, ConversionError, DataError, UsageError
from multirate.integrations.parts import parts_of
from multirate.models.decoding import END, PAD, START
from multirate.models.hierarchical.configurations import Configuration
from multirate.models.hierarchical.model import NVAE
from multirate.seeding import generator
from multirate.terms import gaussian_kl

for library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library, reason=f"{library} is not installed: pip install 'multirate[onnx]'")

import onnx  # noqa: E402  # after the skip

from multirate.integrations import onnx as exporter  # noqa: E402
from multirate.integrations.onnx import check_onnx, export_onnx  # noqa: E402

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "onnx_digits.py"
BETAS = (0.01, 0.02, 0.3, 1.0, 4.0, 10.0, 13.5)
OUTSIDE = (0.0, -1.0, 0.0099, 13.6, float("inf"), float("nan"))
FOLDED_AT = 0.7
LIMIT = 12
SENTENCES = torch.tensor([[5, 6, 9, END, PAD, PAD], [7, END, PAD, PAD, PAD, PAD], [4, 8, 1, 5, 10, END]])
IMAGE_MODELS = {
    "convnet": lambda: models.convnet(shape=(3, 32, 32), latents=3, likelihood="gaussian_learned"),
    "resnet": lambda: models.resnet(shape=(1, 28, 28), latents=4),
}


@pytest.fixture(scope="module")
def model():
    return multirate(built(lambda: models.mlp(shape=(1, 8, 8), latents=4, hidden=(24, 16))))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("multirate")
    export_onnx(model, place, example=data((1, 8, 8)))
    return place


@pytest.fixture(scope="module")
def folded(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("folded")
    export_onnx(model, place, example=data((1, 8, 8)), beta=FOLDED_AT)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("beta", BETAS)
def test_files_compute_what_the_model_does_at_every_beta_and_batch_size(model, folder, beta, count):
    x, z = data((1, 8, 8), count), torch.randn(count, 4, generator=generator(2, "z"))
    betas = torch.full((count,), beta)
    with model.at(beta):
        posterior, likelihood = model.base.encode(x), model.base.decode(z)
    encoded = run(folder / "encoder.onnx", x=x, beta=betas)
    assert_close(encoded["mean"], posterior.mean)
    assert_close(encoded["log_variance"], posterior.variance.log())
    assert_close(run(folder / "decoder.onnx", z=z, beta=betas)["mean"], likelihood.mean)
    assert_close(run(folder / "reconstruction.onnx", x=x, beta=betas)["mean"], model(x, beta=beta))


@pytest.mark.slow
def test_each_example_of_a_batch_has_its_own_beta(model, folder):
    x = data((1, 8, 8), 1).expand(len(BETAS), -1, -1, -1).contiguous()
    found = run(folder / "reconstruction.onnx", x=x, beta=tensor(*BETAS))["mean"]
    for row, beta in zip(found, BETAS, strict=True):
        assert_close(row, model(x[:1], beta=beta)[0])
    assert (found[0] - found[-1]).abs().max() > 1e-3


@pytest.mark.slow
def test_the_encoder_gives_the_rate_that_the_model_trains_with(model, folder):
    x, betas = data((1, 8, 8)), tensor(*BETAS[:5])
    terms = model.terms(x, beta=betas)
    found = run(folder / "encoder.onnx", x=x, beta=betas)
    assert_close(found["rate"], terms.rate)
    assert_close(found["latent_rate"], terms.latent_rate)


@pytest.mark.slow
@pytest.mark.parametrize("beta", OUTSIDE)
def test_a_row_at_a_beta_outside_the_range_is_nan_and_the_others_are_not(folder, beta):
    x = data((1, 8, 8), 3)
    for name in ("encoder", "reconstruction"):
        for output in run(folder / f"{name}.onnx", x=x, beta=tensor(0.5, beta, 2.0)).values():
            assert output[1].isnan().all()
            assert output[[0, 2]].isfinite().all()


@pytest.mark.slow
def test_a_folded_model_has_no_beta_and_agrees_with_the_others(model, folder, folded):
    x = data((1, 8, 8), 3)
    assert shapes(folded / "reconstruction.onnx") == {"x": ["batch", 1, 8, 8]}
    found = run(folded / "reconstruction.onnx", x=x)["mean"]
    assert_close(found, mr.fold(model, FOLDED_AT)(x))
    assert_close(found, run(folder / "reconstruction.onnx", x=x, beta=tensor(*[FOLDED_AT] * 3))["mean"])
    about = json.loads((folded / "onnx.json").read_text())
    assert about["beta"] == FOLDED_AT and "beta_range" not in about
    assert check_onnx(model, folded, example=x) <= TOLERANCE


@pytest.mark.slow
def test_the_description_says_what_goes_in_and_comes_out(folder):
    about = json.loads((folder / "onnx.json").read_text())
    assert about["beta_range"] == {"low": 0.01, "high": 10.0, "reach": 13.5, "weighs": "rate"}
    assert (about["model"], about["likelihood"], about["latents"], about["shape"]) == ("mlp", "bernoulli", 4, [1, 8, 8])
    assert about["largest_difference"] <= about["tolerance"] == TOLERANCE
    assert set(about["files"]) == {path.name for path in folder.glob("*.onnx")}
    for name, file in about["files"].items():
        assert shapes(folder / name) == file["inputs"]
        assert [output.name for output in session(folder / name).get_outputs()] == file["outputs"]


@pytest.mark.slow
def test_the_files_are_valid_and_say_nothing_of_this_machine(folder):
    for path in folder.glob("*.onnx"):
        onnx.checker.check_model(str(path), full_check=True)
        content = path.read_bytes()
        assert b".py" not in content and b"site-packages" not in content
    assert {path.suffix for path in folder.iterdir()} == {".onnx", ".json"}


@pytest.mark.slow
def test_a_changed_model_is_found_out(model, folder):
    other = multirate(built(lambda: models.mlp(shape=(1, 8, 8), latents=4, hidden=(24, 16))), seed=4)
    example = data((1, 8, 8))
    assert check_onnx(model, folder, example=example) <= TOLERANCE
    with pytest.raises(DataError, match=r"encoder.onnx gives another \w+ than PyTorch at beta .*off by"):
        check_onnx(other, folder, example=example)
    with pytest.raises(DataError, match="where 1e-30 is allowed"):
        check_onnx(model, folder, example=example, tolerance=1e-30)


def test_there_is_nothing_to_check_before_the_export(model, tmp_path):
    with pytest.raises(DataError, match=r"no file .*onnx.json; export the model there first"):
        check_onnx(model, tmp_path, example=data((1, 8, 8)))
    (tmp_path / "onnx.json").write_text('{"schema": "multirate.onnx/1"}')
    with pytest.raises(DataError, match=r"no file .*encoder.onnx; export the model again"):
        check_onnx(model, tmp_path, example=data((1, 8, 8)))
    (tmp_path / "encoder.onnx").write_bytes(b"no protocol buffer")
    with pytest.raises(DataError, match=r"ONNX Runtime cannot read .*encoder.onnx"):
        check_onnx(model, tmp_path, example=data((1, 8, 8)))


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_every_image_model_is_exported(name, tmp_path):
    model = multirate(built(IMAGE_MODELS[name]))
    x, betas = data(model.base.shape, 3), tensor(0.011, 0.5, 9.0)
    for part in ("encoder", "reconstruction"):
        written(model, part, tmp_path, x[:2])
    assert_close(run(tmp_path / "reconstruction.onnx", x=x, beta=betas)["mean"], model(x, beta=betas))
    assert_close(run(tmp_path / "encoder.onnx", x=x, beta=betas)["rate"], model.terms(x, beta=betas).rate)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    base = built(lambda: models.lstm(shape=(6,), vocabulary_size=11, latents=3, embedding=5, hidden=6))
    model, place = multirate(base), tmp_path_factory.mktemp("sentences")
    export_onnx(model, place, example=SENTENCES)
    return model, place


@pytest.mark.slow
@pytest.mark.parametrize("beta", BETAS)
def test_the_sentence_encoder_does_not_see_padding(sentences, beta):
    model, place = sentences
    assert shapes(place / "encoder.onnx") == {"x": ["batch", 6], "beta": [1]}
    found = run(place / "encoder.onnx", x=SENTENCES, beta=tensor(beta))
    with model.at(beta):
        assert_close(found["mean"], model.base.encode(SENTENCES).mean)
        assert_close(found["rate"], model.base.terms(SENTENCES).rate)


@pytest.mark.slow
@pytest.mark.parametrize("beta", BETAS)
def test_steps_of_the_sentence_decoder_are_its_logits(sentences, beta):
    model, place = sentences
    z, betas = torch.randn(3, 3, generator=generator(5, "z")), tensor(beta)
    with model.at(beta):
        expected = model.base.decode(z, SENTENCES)
    state, word = run(place / "decoder_start.onnx", z=z, beta=betas), torch.full((3,), START)
    for t in range(SENTENCES.shape[1]):
        step = run(place / "decoder_step.onnx", word=word, **state, beta=betas)
        going = (SENTENCES[:, :t] != END).all(1)
        assert_close(step["logits"][going], expected[going, t])
        state = {"hidden": step["next_hidden"], "cell": step["next_cell"], "latent_part": state["latent_part"]}
        word = SENTENCES[:, t]


@pytest.mark.slow
def test_sentences_at_a_beta_outside_the_range_are_nan(sentences):
    _, place = sentences
    assert run(place / "encoder.onnx", x=SENTENCES, beta=tensor(20.0))["mean"].isnan().all()


@pytest.mark.slow
def test_exporting_a_recurrent_model_leaves_it_usable(sentences):
    model, _ = sentences
    before = list(model.base.decoder.lstm.parameters())
    assert all(a is b for a, b in zip(model.base.decoder.lstm._flat_weights, before, strict=True))
    model.terms(SENTENCES, beta=0.5).rate.sum().backward()


@pytest.mark.slow
def test_training_goes_on_after_an_export_as_if_there_had_been_none(tmp_path):
    model = multirate(built(lambda: models.linear(shape=(4,), latents=2))).train()
    model.base.encoder.eval()  # a part that is frozen
    modes, keys = [m.training for m in model.modules()], list(model.state_dict())
    state, weights = torch.get_rng_state(), [p.clone() for p in model.parameters()]
    written(model, "decoder", tmp_path, data((4,)))
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.modules()] == modes and list(model.state_dict()) == keys
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), weights, strict=True))


@pytest.mark.slow
def test_a_float64_model_takes_and_gives_float64(tmp_path):
    model = multirate(built(lambda: models.linear(shape=(4,), latents=2)).double())
    path = written(model, "reconstruction", tmp_path, data((4,)))
    x, betas = data((4,)).double(), torch.tensor([0.01, 0.1, 1.0, 7.0, 13.5], dtype=torch.float64)
    found = run(path, x=x, beta=betas)["mean"]
    assert found.dtype == torch.float64
    # The exporter keeps Python's numbers, such as the range's mean of log beta, in float32.
    torch.testing.assert_close(found, model(x, beta=betas).detach(), rtol=1e-6, atol=1e-6)


class Classifier(nn.Module):
    """A model without encode and decode, of two outputs; inside, a value is called as one of them will be."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(5, 3), nn.ReLU())

    def forward(self, x):
        mean = self.decoder(self.encoder(x))
        return mean.mean(1), mean.square()


@pytest.mark.slow
def test_of_another_model_forward_is_exported(tmp_path):
    model = multirate(built(Classifier))
    files = export_onnx(model, tmp_path, example=data((3,)))
    assert [path.name for path in files] == ["model.onnx", "onnx.json"]
    x, betas = data((3,), 3), tensor(0.02, 1.0, 5.0)
    for found, expected in zip(
        run(tmp_path / "model.onnx", x=x, beta=betas).values(), model(x, beta=betas), strict=True
    ):
        assert_close(found, expected)


@pytest.mark.slow
def test_files_that_differ_from_the_model_do_not_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "translations", lambda: {torch.ops.aten.relu.default: lambda x: x})
    with pytest.raises(DataError, match="than PyTorch"):
        export_onnx(multirate(built(Classifier)), tmp_path, example=data((3,)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_export_that_fails_leaves_the_earlier_one_whole(tmp_path, monkeypatch):
    model = multirate(built(Classifier))
    export_onnx(model, tmp_path / "out", example=data((3,)))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporter, "check_files", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_onnx(model, tmp_path / "out", example=data((3,)))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class Returns(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.encoder, self.decoder, self.output = nn.Linear(3, 3), nn.Linear(3, 3), output

    def forward(self, x):
        return self.output(x)


class Takes(nn.Module):
    def forward(self, x, y):
        return x + y


CANNOT = [
    (Returns(lambda x: (x, {"a": x})), "Returns.forward returns dict for 5 examples; to be exported it returns"),
    (Returns(lambda x: x.long()), r"returns torch.int64 \[5, 3\] for 5 examples"),
    (Returns(lambda x: x.sum()), r"returns torch.float32 \[\] for 5 examples"),
    (Takes(), "Takes cannot be called with one batch of data alone"),
]


@pytest.mark.parametrize(("module", "message"), CANNOT, ids=[message for _, message in CANNOT])
def test_a_model_of_which_nothing_can_be_exported_is_refused(module, message, tmp_path):
    with pytest.raises(ConversionError, match=message):
        export_onnx(module, tmp_path, example=data((3,)))
    assert list(tmp_path.iterdir()) == []


def test_a_hierarchical_model_gives_no_rate_that_is_not_its_own():
    sizes = Configuration(groups=(1, 1), halvings=1, channels=4, latents=2, cells=1, outer_cells=0, patch=2)
    parts = parts_of(built(lambda: NVAE((1, 28, 28), sizes)), data((1, 28, 28), 2))
    assert [part.name for part in parts] == ["encoder", "decoder", "reconstruction"]
    assert parts[0].outputs == ("mean", "log_variance")


class Wide(nn.Module):
    """Latents in the shape of an image."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1)

    def encode(self, x):
        mean, log_variance = self.encoder(x).chunk(2, 1)
        return torch.distributions.Normal(mean, (0.5 * log_variance).exp(), validate_args=False)

    def decode(self, z):
        return self.decoder(z)

    def terms(self, x):
        posterior = self.encode(x)
        rate = gaussian_kl(posterior.mean, posterior.variance.log()).flatten(1).sum(1)
        return mr.Terms(rate, rate)


@pytest.mark.slow
def test_latents_of_any_shape_and_a_decoder_that_returns_a_tensor_are_exported(tmp_path):
    model, x = built(Wide), data((1, 5, 5), 3)
    export_onnx(model, tmp_path, example=x)
    found = run(tmp_path / "encoder.onnx", x=x)
    assert_close(found["rate"], model.terms(x).rate)
    assert found["latent_rate"].shape == (3, 2, 5, 5)
    assert_close(run(tmp_path / "reconstruction.onnx", x=x)["mean"], model.decode(model.encode(x).mean))


WRONG = [
    ({"example": torch.zeros(0, 4)}, UsageError, r"example must be a batch of data, \[B, ...\]; got shape \[0, 4\]"),
    ({"example": torch.zeros(2, 4), "beta": 20.0}, BetaError, "beta 20 is outside the range"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
def test_wrong_use_is_refused(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        export_onnx(multirate(built(lambda: models.linear(shape=(4,), latents=2))), tmp_path, **options)


def test_a_plain_model_is_of_one_beta_already(tmp_path):
    with pytest.raises(UsageError, match=r"leave beta=0\.5 out"):
        export_onnx(models.linear(shape=(4,), latents=2), tmp_path, example=data((4,)), beta=0.5)


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library_is_named_with_its_extra(library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match=rf"needs {library}, which is not installed; .* 'multirate\[onnx\]'"):
        export_onnx(models.linear(shape=(4,), latents=2), tmp_path, example=data((4,)))


@pytest.mark.slow
def test_the_example_makes_the_curve_of_the_files(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    found = importlib.import_module(EXAMPLE.stem).main(epochs=2, betas=3, samples=40, out=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"curve.json", "rate_distortion.png", "numbers.json"}
    assert found["largest_difference"] <= TOLERANCE and found["objective_gap"] < 0.3
    assert len(mr.Curve.load(tmp_path / "curve.json")) == 3
