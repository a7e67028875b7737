"""torch.export of multi-rate and folded models, and the files that are written of their parts."""

import io
import json
import warnings
import zipfile

import pytest
import torch
from torch import nn

import multirate as mr
from multirate import models
from multirate.errors import BetaError, ConversionError, DataError, UsageError
from multirate.integrations import torch_export
from multirate.integrations.torch_export import export_torch
from multirate.models.decoding import END, PAD, START
from multirate.seeding import generator, seeded

RANGE = mr.BetaRange(0.01, 10.0)
FOLDED_AT = 0.7
BETAS = torch.tensor([0.01, 0.02, 0.3, 1.0, 4.0, 10.0, 13.5])
SENTENCES = torch.tensor([[5, 6, 9, END, PAD, PAD], [7, END, PAD, PAD, PAD, PAD], [4, 8, 1, 5, 10, END]])
MODELS = {
    "linear": lambda: models.linear(shape=(1, 8, 8), latents=6),
    "mlp": lambda: models.mlp(shape=(1, 8, 8), latents=4, hidden=(24, 16)),
    "convnet": lambda: models.convnet(shape=(3, 32, 32), latents=3, likelihood="gaussian_learned"),
    "resnet": lambda: models.resnet(shape=(1, 28, 28), latents=4),
}
# The exporter's own: in copying what it traced, and, strict, of the gates that a call sets and takes away again.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings(r"ignore:While compiling, we found certain side effects.*_active:UserWarning"),
]


def multirate(make, seed=3):
    """Convert, and move the gates from their start, so that they differ from beta to beta."""
    with seeded(0):
        model = mr.convert(make(), RANGE)
    with seeded(seed), torch.no_grad():
        for name, parameter in model.response.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.02 if name == "thresholds" else 0.1))
    return model.eval()


def data(shape, count=7):
    return torch.rand(count, *shape, generator=generator(1, "data"))


def reloaded(program):
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return torch.export.load(io.BytesIO(buffer.getvalue())).module()


# Strict export traces the bytecode of every model; the other way runs the code as it is, the same for all of them.
WAYS = [*((name, True) for name in MODELS), ("mlp", False)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "strict"), WAYS)
def test_a_multirate_model_is_one_program_of_any_batch_and_beta(name, strict):
    model = multirate(MODELS[name])
    batch = torch.export.Dim("batch")
    shapes = {"args": ({0: batch},), "beta": {0: batch}}
    program = torch.export.export(
        model, (data(model.base.shape, 3),), {"beta": BETAS[:3]}, dynamic_shapes=shapes, strict=strict
    )
    for run in (program.module(), reloaded(program)):
        for count in (2, 7):
            x, beta = data(model.base.shape, count), BETAS[-count:]
            torch.testing.assert_close(run(x, beta=beta), model(x, beta=beta), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "strict"), WAYS)
def test_a_folded_model_is_a_plain_program(name, strict):
    model = multirate(MODELS[name])
    plain = mr.fold(model, FOLDED_AT)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(plain, (data(plain.shape, 3),), dynamic_shapes=shapes, strict=strict)
    assert set(program.state_dict) == set(plain.state_dict())
    for run in (program.module(), reloaded(program)):
        for count in (2, 7):
            x = data(plain.shape, count)
            torch.testing.assert_close(run(x), plain(x), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(run(x), model(x, beta=FOLDED_AT), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model, place = multirate(MODELS["mlp"]), tmp_path_factory.mktemp("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the exporter's own are silenced where they are made
        export_torch(model, place, example=data((1, 8, 8), 3))
    return model, place


def run(path, *inputs):
    return torch.export.load(path).module()(*inputs)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 7])
def test_files_compute_what_the_model_does(exported, count):
    model, place = exported
    x, z, beta = data((1, 8, 8), count), torch.randn(count, 4, generator=generator(2, "z")), BETAS[:count]
    with model.at(beta):
        posterior, likelihood = model.base.encode(x), model.base.decode(z)
    terms = model.terms(x, beta=beta)
    mean, log_variance, rate, latent_rate = run(place / "encoder.pt2", x, beta)
    expected = (posterior.mean, posterior.variance.log(), terms.rate, terms.latent_rate)
    torch.testing.assert_close((mean, log_variance, rate, latent_rate), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(run(place / "decoder.pt2", z, beta)[0], likelihood.mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(run(place / "reconstruction.pt2", x, beta)[0], model(x, beta=beta), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_rows_outside_the_range_are_nan(exported):
    _, place = exported
    (mean,) = run(place / "reconstruction.pt2", data((1, 8, 8), 3), torch.tensor([0.5, 20.0, 2.0]))
    assert mean[1].isnan().all() and mean[[0, 2]].isfinite().all()


@pytest.mark.slow
def test_files_hold_no_data_no_path_and_no_pickle(exported):
    _, place = exported
    for path in place.glob("*.pt2"):
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        assert not [name for name, part in parts.items() if b"data.pkl" in part or name.endswith(".pkl")]
        assert not [name for name, part in parts.items() if b".py" in part]
        assert torch.export.load(path).example_inputs is None


@pytest.mark.slow
def test_the_description_says_what_goes_in_and_comes_out(exported):
    _, place = exported
    about = json.loads((place / "torch_export.json").read_text())
    assert about["files"]["encoder.pt2"] == {
        "inputs": {"x": ["batch", 1, 8, 8], "beta": ["batch"]},
        "outputs": ["mean", "log_variance", "rate", "latent_rate"],
    }
    assert set(about["files"]) == {path.name for path in place.glob("*.pt2")}
    assert about["largest_difference"] <= about["tolerance"] == 1e-5
    assert about["beta_range"]["reach"] == 13.5


@pytest.mark.slow
def test_a_folded_export_has_no_beta(tmp_path):
    model = multirate(MODELS["linear"])
    export_torch(model, tmp_path, example=data((1, 8, 8), 3), beta=FOLDED_AT)
    x = data((1, 8, 8))
    (found,) = run(tmp_path / "reconstruction.pt2", x)
    torch.testing.assert_close(found, model(x, beta=FOLDED_AT), rtol=1e-5, atol=1e-5)
    assert json.loads((tmp_path / "torch_export.json").read_text())["beta"] == FOLDED_AT


@pytest.mark.slow
def test_a_sentence_model_is_exported_with_one_beta_a_call(tmp_path):
    model = multirate(lambda: models.lstm(shape=(6,), vocabulary_size=11, latents=3, embedding=5, hidden=6))
    export_torch(model, tmp_path, example=SENTENCES)
    for beta in (0.02, 4.0):
        with model.at(beta):
            expected, z = model.base.encode(SENTENCES).mean, torch.ones(3, 3)
            logits, _ = model.base.step(torch.full((3,), START), model.base.initial_state(z))
        one = torch.tensor([beta])
        torch.testing.assert_close(run(tmp_path / "encoder.pt2", SENTENCES, one)[0], expected)
        state = run(tmp_path / "decoder_start.pt2", z, one)
        found = run(tmp_path / "decoder_step.pt2", torch.full((3,), START), *state, one)[0]
        torch.testing.assert_close(found, logits)


@pytest.mark.slow
def test_training_goes_on_after_an_export_as_if_there_had_been_none(tmp_path):
    model = multirate(MODELS["linear"]).train()
    model.base.encoder.eval()  # a part that is frozen
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    export_torch(model, tmp_path, example=data((1, 8, 8), 3), check=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.modules()] == modes
    assert "largest_difference" not in json.loads((tmp_path / "torch_export.json").read_text())


class Branch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.slow
def test_a_model_that_looks_at_its_data_is_refused_in_one_line(tmp_path):
    with pytest.raises(ConversionError, match=r"forward of Branch cannot be exported: ") as found:
        export_torch(Branch(), tmp_path, example=data((3,)))
    assert "\n" not in str(found.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_files_that_differ_from_the_model_do_not_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_export, "_run", lambda part, path: lambda inputs: [inputs["x"].numpy() + 1])
    with pytest.raises(DataError, match=r"model.pt2 gives another output than PyTorch: off by"):
        export_torch(nn.ReLU(), tmp_path, example=data((3,)))
    assert list(tmp_path.iterdir()) == []


def test_wrong_use_is_refused(tmp_path):
    with pytest.raises(BetaError, match="beta 20 is outside the range"):
        export_torch(multirate(MODELS["linear"]), tmp_path, example=data((1, 8, 8)), beta=20.0)
    with pytest.raises(UsageError, match="leave beta=1 out"):
        export_torch(MODELS["linear"](), tmp_path, example=data((1, 8, 8)), beta=1.0)
