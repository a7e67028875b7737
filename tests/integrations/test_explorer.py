"""The explorer's folder: what it says of the curve, the latents and the pictures, against the model itself."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import multirate as mr
from explorer_cases import PACKAGE, digits_run, pack, release_of, text_run
from multirate.data import Source, load
from multirate.data.source import TensorSource
from multirate.errors import ConversionError, DataError, UsageError
from multirate.experiments.building import first_examples, load_data
from multirate.experiments.run import FinishedRun, evaluate_run
from multirate.experiments.sentences import open_writer, reconstruct, sample
from multirate.images import prior_samples, reconstructions
from multirate.integrations.explorer import build
from multirate.integrations.explorer.build import Explorer, explore_run, write_explorer
from multirate.integrations.explorer.runtime import copy_runtime
from multirate.report import write_report
from multirate.terms import Terms, gaussian_kl
from multirate.wrapper import MultiRate

for _library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(_library, reason="exports to ONNX: pip install 'multirate[onnx]'")

pytestmark = [
    pytest.mark.slow,
    # onnx and its exporter use what Python will drop.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(onnx|torch|google).*"),
]

COUNT = 5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A multi-rate run of images, evaluated; tests only read it."""
    return digits_run(tmp_path_factory.mktemp("explorer") / "run")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A multi-rate run of sentences, evaluated; tests only read it."""
    return text_run(tmp_path_factory.mktemp("explorer") / "text")


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small package in the place of onnxruntime-web, which only the page needs."""
    archive = pack(tmp_path / "web.tgz", PACKAGE)
    monkeypatch.setattr(build, "find_runtime", lambda given: given or archive)
    monkeypatch.setattr(build, "copy_runtime", partial(copy_runtime, release=release_of(archive)))


@pytest.fixture
def not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the export, for what has nothing to do with it."""

    def refuse(*_: object) -> None:
        raise ConversionError("it was not tried")

    monkeypatch.setattr(build, "live_parts", refuse)


@pytest.fixture(scope="module")
def made(run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    """The explorer of the run; tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        archive = pack(tmp_path_factory.mktemp("web") / "web.tgz", PACKAGE)
        patch.setattr(build, "find_runtime", lambda given: archive)
        patch.setattr(build, "copy_runtime", partial(copy_runtime, release=release_of(archive)))
        return explore_run(run, tmp_path_factory.mktemp("made") / "explorer", examples=COUNT)


def content_of(made: Explorer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.folder / "explorer.json").read_text(encoding="utf-8"))
    return found


def floats(path: Path, *shape: int) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), "<f4").reshape(shape)


def picture(made: Explorer) -> np.ndarray:
    """Return the sheet's values in [0, 1], [H, W] or [H, W, 3]."""
    with Image.open(made.folder / "sheet.png") as image:
        return np.asarray(image, dtype=np.float64) / 255


def small(shape: tuple[int, ...]) -> tuple[MultiRate, Source, mr.Curve]:
    """An untrained multi-rate model of data of any shape, the data, and a curve of the model."""
    torch.manual_seed(0)
    model = mr.convert(mr.models.mlp(shape=shape, hidden=(16,), latents=4), mr.BetaRange(0.1, 1.0))
    values = torch.rand(40, *shape, generator=torch.Generator().manual_seed(1)).round()
    source = TensorSource(values, name="noise", split="test")
    return model, source, mr.evaluate(model, source, betas=4, progress=False)


def test_the_slider_has_equal_steps_of_log_beta_over_the_whole_range(made: Explorer) -> None:
    steps = content_of(made)["steps"]
    betas = np.array(steps["beta"])
    assert (len(betas), betas[0], betas[-1]) == (241, 0.01, 10.0)
    assert np.log(betas[1:] / betas[:-1]) == pytest.approx(np.full(240, np.log(1000) / 240))
    assert np.array(steps["elbo"]) == pytest.approx(-np.array(steps["rate"]) - np.array(steps["distortion"]))


def test_the_curve_goes_through_what_was_measured(run: FinishedRun, made: Explorer) -> None:
    curve = mr.Curve.load(run.folder / "curve.json")
    assert mr.Curve.load(made.folder / "curve.json") == curve
    steps = content_of(made)["steps"]
    # Six betas over 240 steps: one every 48.
    for index, point in enumerate(curve.points):
        for name in ("beta", "rate", "distortion", "elbo"):
            assert steps[name][48 * index] == pytest.approx(point[name], rel=1e-9)
    best = content_of(made)["best"]
    assert steps["elbo"][best] == pytest.approx(max(curve.values("elbo")))


def test_rates_of_latents_sum_to_the_rate_where_it_was_measured(run: FinishedRun, made: Explorer) -> None:
    latents = content_of(made)["latents"]
    curve = mr.Curve.load(run.folder / "curve.json")
    rates = np.array(latents["rates"])
    assert rates.shape == (241, 6)
    assert latents["noun"] == "latent"
    assert rates[::48].sum(1) == pytest.approx(curve.rates, rel=1e-3)
    assert latents["measured"] == "Mean over 300 examples of digits test."


@pytest.mark.usefixtures("not_exported")
def test_rates_that_the_curve_lacks_are_measured_on_the_first_examples(run: FinishedRun, tmp_path: Path) -> None:
    known = mr.Curve.load(run.folder / "curve.json")
    bare = replace(known, details={k: v for k, v in known.details.items() if k != "latent_rates"})
    source = load_data(run.spec, "test")
    state = torch.random.get_rng_state()
    latents = content_of(write_explorer(run.model, source, bare, tmp_path / "out"))["latents"]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert latents["measured"] == "Mean over 128 examples of digits test."
    assert isinstance(run.model, MultiRate)
    for index, beta in ((0, 0.01), (240, 10.0)):
        with torch.no_grad(), run.model.at(beta):
            posterior = run.model.base.encode(source.batch(torch.arange(128)))
        truth = gaussian_kl(posterior.mean, posterior.variance.log()).mean(0)
        assert latents["rates"][index] == pytest.approx(truth.tolist(), rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("beta", [0.01, 0.37, 10.0])
def test_the_model_in_the_folder_computes_what_pytorch_does(run: FinishedRun, made: Explorer, beta: float) -> None:
    import onnxruntime

    content, model = content_of(made), run.model
    assert isinstance(model, MultiRate)
    assert (content["kind"], made.kind, made.notes) == ("live", "live", ())
    images = floats(made.folder / "images.bin", COUNT, *content["model"]["encoder"]["shape"])
    draws = floats(made.folder / "draws.bin", COUNT, *content["model"]["decoder"]["shape"])
    outputs = {}
    for part, name, values in (("encoder", "x", images), ("decoder", "z", draws)):
        session = onnxruntime.InferenceSession(made.folder / content["model"][part]["file"])
        wanted = ["mean", "rate"] if part == "encoder" else ["mean"]
        outputs[part] = session.run(wanted, {name: values, "beta": np.full(COUNT, beta, np.float32)})
    x = first_examples(load_data(run.spec, "test"), COUNT)
    assert torch.equal(torch.from_numpy(images.copy()), x)
    with torch.no_grad(), model.at(beta):
        posterior = model.base.encode(x)
        rate = gaussian_kl(posterior.mean, posterior.variance.log()).sum(-1)
    assert outputs["encoder"][0] == pytest.approx(posterior.mean.numpy(), abs=1e-5)
    assert outputs["encoder"][1] == pytest.approx(rate.numpy(), abs=1e-4)
    assert outputs["decoder"][0] == pytest.approx(prior_samples(model, [beta], COUNT)[0], abs=1e-5)


def test_the_sheet_holds_each_picture_at_each_of_its_betas(run: FinishedRun, made: Explorer) -> None:
    content = content_of(made)
    betas = content["sheet"]["betas"]
    sheet = picture(made)
    assert sheet.shape == (24 * 8, (COUNT + COUNT + 7) * 8)
    assert (len(betas), betas[0], betas[-1]) == (24, 0.01, 10.0)

    def cell(row: int, column: int) -> np.ndarray:
        return sheet[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]

    x = first_examples(load_data(run.spec, "test"), COUNT)
    again, draws = reconstructions(run.model, x, betas), prior_samples(run.model, betas, COUNT)
    for row in (0, 11, 23):
        for item in range(COUNT):
            assert cell(row, item) == pytest.approx(again[row, item, 0], abs=0.51 / 255)
            assert cell(row, COUNT + item) == pytest.approx(draws[row, item, 0], abs=0.51 / 255)
        assert np.array_equal(cell(row, 2 * COUNT), cell(row, 0))
        assert np.array_equal(cell(row, 2 * COUNT + 6), cell(row, 1))


def test_the_middle_of_the_way_is_the_mean_of_the_posterior_means(run: FinishedRun, made: Explorer) -> None:
    betas = content_of(made)["sheet"]["betas"]
    sheet = picture(made)
    assert isinstance(run.model, MultiRate)
    with torch.no_grad(), run.model.at(betas[3]):
        mean = run.model.base.encode(first_examples(load_data(run.spec, "test"), 2)).mean.mean(0, keepdim=True)
        truth = run.model.base.decode(mean).mean[0, 0]
    column = 2 * COUNT + 3
    assert sheet[24:32, 8 * column : 8 * column + 8] == pytest.approx(truth.numpy(), abs=0.51 / 255)


def test_a_hierarchical_model_has_a_sheet_and_rates_of_groups(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = mr.convert(mr.models.nvae(shape=(1, 28, 28)), mr.BetaRange(0.1, 1.0))
    values = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(1)).round()
    source = TensorSource(values, name="noise", split="test")
    made = write_explorer(
        model, source, mr.evaluate(model, source, betas=2, progress=False), tmp_path / "out", examples=2
    )
    content = content_of(made)
    assert (made.kind, content["latents"]["noun"], content["model"]) == ("sheet", "group", None)
    assert "the nearest of 24 β, made beforehand; the model cannot run in the page" in made.notes[0]
    assert list(made.notes) == content["notes"]
    assert not (made.folder / "ort").exists() and (made.folder / "sheet.png").exists()


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8)])
def test_pictures_may_be_gray_with_or_without_a_channel_or_coloured(tmp_path: Path, shape: tuple[int, ...]) -> None:
    made = write_explorer(*small(shape), tmp_path / "out", examples=3)
    assert content_of(made)["pictures"]["shape"] == [3 if shape[0] == 3 else 1, 8, 8]
    assert picture(made).shape == ((24 * 8, 13 * 8, 3) if shape[0] == 3 else (24 * 8, 13 * 8))
    assert made.kind == "live"


@pytest.mark.usefixtures("not_exported")
def test_a_colour_keeps_its_channel(tmp_path: Path) -> None:
    model, source, curve = small((3, 8, 8))
    made = write_explorer(model, source, curve, tmp_path / "out", examples=2)
    top_left = picture(made)[:8, :8]
    truth = reconstructions(model, first_examples(source, 2), [0.1])[0, 0]
    assert top_left.transpose(2, 0, 1) == pytest.approx(truth, abs=0.51 / 255)


@pytest.mark.usefixtures("not_exported")
def test_values_beyond_0_and_1_have_shades_of_their_own_range(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = mr.convert(mr.models.mlp(shape=(1, 8, 8), likelihood="gaussian"), mr.BetaRange(0.1, 1.0))
    values = 6 * torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1)) - 2
    source = TensorSource(values, name="noise", split="test")
    made = write_explorer(model, source, mr.evaluate(model, source, betas=2, progress=False), tmp_path / "out")
    assert content_of(made)["pictures"]["range"] == pytest.approx([float(values.min()), float(values.max())])


def test_vectors_have_a_curve_and_latents_and_a_note(tmp_path: Path) -> None:
    made = write_explorer(*small((10,)), tmp_path / "out")
    assert made.kind == "curve"
    assert made.notes == ("There are no pictures: examples of shape [10] are no images.",)
    assert len(content_of(made)["latents"]["rates"][0]) == 4


def test_a_model_that_only_yields_terms_has_a_curve_and_a_note(tmp_path: Path) -> None:
    class Mine(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.ReLU())
            self.decoder = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())

        def terms(self, x: torch.Tensor) -> Terms:
            hidden = self.decoder(self.encoder(x))
            return Terms(hidden.square().sum(1), hidden.sum(1) + 1)

    model = mr.convert(Mine(), mr.BetaRange(0.1, 1.0))
    source = TensorSource(torch.rand(9, 1, 8, 8), name="noise", split="test")
    curve = mr.evaluate(model, source, betas=2, progress=False)
    made = write_explorer(model, source, curve, tmp_path / "out")
    assert (made.kind, content_of(made)["latents"]) == ("curve", None)
    assert made.notes == ("There are no pictures: Mine has no encode, decode and prior.",)


def test_text_is_written_as_the_library_writes_it(text: FinishedRun, tmp_path: Path) -> None:
    made = explore_run(text, tmp_path / "out", examples=3)
    found = content_of(made)["sentences"]
    assert (made.kind, len(found["betas"]), len(found["way"][0])) == ("sentences", 24, 7)
    for row in (0, 23):
        writer = open_writer(text, found["betas"][row])
        again = reconstruct(writer, load_data(text.spec, "test"), 3)
        assert found["inputs"] == [pair.sentence for pair in again]
        assert found["reconstructions"][row] == [pair.written.text for pair in again]
        assert found["rates"][row] == pytest.approx([pair.rate for pair in again], abs=1e-3)
        assert found["samples"][row] == [written.text for written in sample(writer, 3)]
        assert [found["way"][row][end] for end in (0, 6)] == found["reconstructions"][row][:2]
    assert not (made.folder / "ort").exists()


def test_the_page_asks_only_for_files_of_its_own_folder(made: Explorer) -> None:
    names = {path.name for path in made.folder.rglob("*")}
    page = (made.folder / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?! type=\"module\" src=\"main.js\"></script>)|<style| style=| on[a-z]+=", page) == []
    for address in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert address in names
    scripts = list(made.folder.glob("*.js"))
    assert scripts
    for path in [*scripts, made.folder / "style.css"]:
        code = path.read_text(encoding="utf-8")
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)|eval\(|innerHTML|@import|url\(", code), path.name
        for address in re.findall(r'(?:\bfrom |new URL\()"([^"]+)"', code):
            assert address.startswith("./") and address.rpartition("/")[2] in names, address
        for address in re.findall(r'(?:floats|fetched)\("([^"]+)"', code):
            assert address in names, address
    assert not [path for path in made.folder.rglob("*") if path.is_symlink()]


def test_the_page_is_labelled_for_who_cannot_see_it(made: Explorer) -> None:
    page = (made.folder / "index.html").read_text(encoding="utf-8")
    assert '<html lang="en">' in page and 'aria-live="polite"' in page
    inputs = set(re.findall(r'<input [^>]*id="([^"]+)"', page))
    assert inputs == {"beta", "sorted"}
    assert '<label for="beta">' in page
    for svg in re.findall(r"<svg [^>]*>", page):
        assert 'role="img"' in svg and "aria-label=" in svg
    for section in re.findall(r"<section [^>]*>", page):
        assert "aria-label" in section


def test_a_run_trained_at_one_beta_is_refused(tmp_path: Path) -> None:
    plain = digits_run(tmp_path / "plain", beta=1.0)
    with pytest.raises(UsageError, match=r"plain VAE of beta 1: an explorer moves along beta; name a multi-rate run"):
        explore_run(plain)
    model, source, curve = small((1, 8, 8))
    with pytest.raises(UsageError, match="a plain GaussianVAE has one; train a multi-rate one"):
        write_explorer(mr.fold(model, 0.5), source, curve, tmp_path / "out")


def test_curves_that_leave_nothing_to_explore_are_refused(tmp_path: Path) -> None:
    model, source, curve = small((1, 8, 8))
    with pytest.raises(UsageError, match="has one point; evaluate more betas"):
        write_explorer(model, source, replace(curve, points=curve.points[:1], details={}), tmp_path / "out")
    other = tuple(mr.curve.point(beta, 1.0, 1.0) for beta in (2.0, 3.0))
    with pytest.raises(UsageError, match=r"the curve goes from beta 2 to 3, the model over \[0.1, 1\]"):
        write_explorer(model, source, replace(curve, points=other, details={}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_narrower_curve_narrows_the_slider(tmp_path: Path) -> None:
    model, source, curve = small((10,))
    points = curve.points[1:3]
    made = write_explorer(model, source, replace(curve, points=points, details={}), tmp_path / "out")
    betas = content_of(made)["steps"]["beta"]
    assert (betas[0], betas[-1]) == (points[0]["beta"], points[-1]["beta"])


@pytest.mark.parametrize("count", [0, 1, 65])
def test_how_many_examples_fit_on_a_page(tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError, match=f"examples must be from 2 to 64, as many as fit on a page; got {count}"):
        write_explorer(*small((1, 8, 8)), tmp_path / "out", examples=count)


def test_one_example_is_too_few_to_go_from_one_to_another(tmp_path: Path) -> None:
    model, source, curve = small((1, 8, 8))
    alone = TensorSource(source.batch(torch.arange(1)), name="lonely", split="test")
    with pytest.raises(UsageError, match="lonely test has 1 example, and the page needs 2"):
        write_explorer(model, alone, curve, tmp_path / "out")


def test_a_model_of_other_numbers_than_the_pages_has_a_sheet(tmp_path: Path) -> None:
    model, source, curve = small((1, 8, 8))
    made = write_explorer(model.double(), source, curve, tmp_path / "out", examples=2)
    assert made.kind == "sheet" and "its numbers are not float32" in made.notes[0]


def test_a_folder_with_other_files_is_never_served_nor_changed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"out holds something else, which would be served too; name a new folder"):
        write_explorer(*small((1, 8, 8)), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["diary.txt"]


def test_a_runtime_that_is_missing_leaves_no_folder_that_would_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(given: object) -> Path:
        raise DataError("no runtime; give one with --runtime")

    parts = small((1, 8, 8))
    with monkeypatch.context() as patch:
        patch.setattr(build, "find_runtime", missing)
        for _ in range(2):
            with pytest.raises(DataError, match="--runtime"):
                write_explorer(*parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    made = write_explorer(*parts, tmp_path / "out")
    before = (made.folder / "explorer.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(build, "find_runtime", missing)
        with pytest.raises(DataError, match="--runtime"):
            write_explorer(*parts, tmp_path / "out", examples=3)
    assert (made.folder / "explorer.json").read_bytes() == before
    assert (made.folder / "encoder.onnx").exists()


def test_a_model_that_is_called_with_lambda_is_refused(tmp_path: Path) -> None:
    _, source, curve = small((10,))
    over = mr.convert(mr.models.mlp(shape=(10,), hidden=(16,), latents=4), mr.BetaRange(1.0, 10.0, weighs="distortion"))
    with pytest.raises(UsageError, match="called with lambda"):
        write_explorer(over, source, curve, tmp_path / "out")


def test_an_earlier_explorer_is_replaced_with_nothing_left_of_it(tmp_path: Path) -> None:
    write_explorer(*small((1, 8, 8)), tmp_path / "out")
    assert (tmp_path / "out" / "encoder.onnx").exists()
    made = write_explorer(*small((10,)), tmp_path / "out")
    assert made.kind == "curve"
    assert {path.suffix for path in made.folder.rglob("*")} <= {".html", ".css", ".js", ".json", ".svg"}


@pytest.mark.usefixtures("not_exported")
def test_dedicated_models_of_the_run_stand_beside_its_curve(run: FinishedRun, tmp_path: Path) -> None:
    source = load_data(run.spec, "test")
    curve = mr.Curve.load(run.folder / "curve.json")
    dedicated = replace(curve, label="beta-VAE mlp", points=curve.points[:2], details={})
    made = write_explorer(run.model, source, curve, tmp_path / "out", baselines=(dedicated,))
    assert content_of(made)["baselines"] == [{"label": "beta-VAE mlp", "points": list(curve.points[:2])}]


@pytest.mark.usefixtures("not_exported")
def test_the_report_links_to_an_explorer_in_the_runs_folder(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run", betas=3)
    page = write_report(run.folder)
    assert "explorer" not in page.read_text(encoding="utf-8").lower()
    explore_run(run, tmp_path / "elsewhere")
    assert "explorer" not in page.read_text(encoding="utf-8").lower()
    explore_run(run)
    written = page.read_text(encoding="utf-8")
    assert '<a href="explorer/index.html">the explorer</a>' in written
    assert f"multirate explore {run.folder}" in written
    assert (run.folder / "explorer" / "index.html").exists()


@pytest.mark.usefixtures("not_exported")
def test_own_models_are_explored_from_python(tmp_path: Path) -> None:
    data = load("digits", "test")
    model = mr.convert(mr.models.mlp(shape=(1, 8, 8)), mr.BetaRange(0.1, 1.0))
    write: Callable[..., Explorer] = write_explorer
    made = write(
        model, data, mr.evaluate(model, data, betas=3, progress=False), tmp_path / "out", command="python mine.py"
    )
    assert content_of(made)["made"] == "Made by python mine.py."
    assert made.bytes == sum(path.stat().st_size for path in made.folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("not_exported")
def test_a_curve_on_other_data_shows_those(run: FinishedRun, tmp_path: Path) -> None:
    other = evaluate_run(run, 3, split="validation", progress=False)
    made = write_explorer(run.model, load_data(run.spec, "validation"), other, tmp_path / "out", examples=2)
    truth = first_examples(load_data(run.spec, "validation"), 2).numpy()
    assert np.array_equal(floats(made.folder / "images.bin", 2, 1, 8, 8), truth)
