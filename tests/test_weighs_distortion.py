"""A range of lambda, which weighs the distortion: the same model as that of beta = 1 / lambda, called with lambda."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import multirate as mr
from multirate.cli.main import main
from multirate.data import as_source
from multirate.errors import BetaError, DataError, UsageError
from multirate.experiments.linear import on_its_optimum
from multirate.experiments.monitoring import pictures
from multirate.experiments.pictures import draw_pictures
from multirate.experiments.run import open_run
from multirate.integrations import hub
from multirate.models import linear, mlp
from multirate.objectives import BetaTCVAE, beta_vae, weighted
from multirate.seeding import seeded
from multirate.training.objective import ModelObjective

LAMBDAS = [0.1, 0.5, 2.5]
OF_LAMBDA = mr.BetaRange(0.1, 2.5, weighs="distortion")
OF_BETA = mr.BetaRange(1 / 2.5, 1 / 0.1)


def make(beta_range: mr.BetaRange, **options: object) -> mr.MultiRate:
    with seeded(0):
        return mr.convert(
            mlp(shape=(6,), latents=3, hidden=(8,), likelihood="gaussian"), beta_range, **options
        ).double()


@pytest.fixture
def data() -> Tensor:
    return torch.randn(64, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("weight", [*LAMBDAS, 0.1 / 1.35])
def test_a_model_of_lambda_is_the_model_of_beta_called_with_lambda(data: Tensor, weight: float) -> None:
    of_lambda, of_beta = make(OF_LAMBDA), make(OF_BETA)
    of_beta.load_state_dict(of_lambda.state_dict())

    for ours, theirs in zip(of_lambda.gates(weight), of_beta.gates(1 / weight), strict=True):
        torch.testing.assert_close(ours.scale, theirs.scale)
    torch.testing.assert_close(of_lambda(data, beta=weight), of_beta(data, beta=1 / weight))
    for name, start in make(OF_BETA).response.state_dict().items():
        torch.testing.assert_close(make(OF_LAMBDA).response.state_dict()[name], start)


def test_training_minimises_rate_plus_lambda_times_distortion_over_lambda(data: Tensor) -> None:
    model, weight = make(OF_LAMBDA), OF_LAMBDA.sample(64, torch.Generator().manual_seed(0), dtype=torch.float64)
    with seeded(3):
        loss, rate, distortion = ModelObjective(model, beta_vae)(data, weight)
    torch.testing.assert_close(loss, (rate + weight * distortion) / weight)
    with seeded(3):
        own_loop = weighted(model.terms(data, beta=weight), weight, model.beta_range.weighs)
    torch.testing.assert_close(own_loop, loss)


def test_other_objectives_see_beta(data: Tensor) -> None:
    model, objective = make(OF_LAMBDA), BetaTCVAE(64)
    with seeded(3):
        loss = ModelObjective(model, objective)(data, torch.tensor(0.5, dtype=torch.float64))[0]
    with seeded(3):
        expected = objective(model.terms(data, beta=0.5), 2.0)
    torch.testing.assert_close(loss, expected)


def test_the_curve_has_beta_and_lambda_in_increasing_beta(data: Tensor, tmp_path: Path) -> None:
    model = make(OF_LAMBDA)
    curve = mr.evaluate(model, data, betas=[2.5, 0.1, 0.5], progress=False)

    np.testing.assert_allclose(curve.values("lambda"), [2.5, 0.5, 0.1])
    np.testing.assert_allclose(curve.betas, [0.4, 2.0, 10.0])
    assert mr.Curve.load(curve.save(tmp_path / "curve.json")) == curve
    assert curve.details["beta_range"] == pytest.approx([0.4, 10.0])
    assert curve.details["lambda_range"] == [0.1, 2.5]
    lines = str(mr.evaluate(model, data, betas=[0.1234], measures=(), progress=False)).splitlines()
    assert lines[-1].split()[-1] == "0.123"
    between = curve.at(1.0)
    assert (between["beta"], between["lambda"]) == (1.0, 1.0)
    grid = mr.evaluate(model, data, betas=4, progress=False)
    np.testing.assert_allclose(grid.values("lambda"), np.geomspace(0.1, 2.5, 4)[::-1])


def test_a_point_of_lambda_is_the_point_of_its_beta(data: Tensor) -> None:
    of_lambda, of_beta = make(OF_LAMBDA), make(OF_BETA)
    of_beta.load_state_dict(of_lambda.state_dict())
    measures = ("active_units", "log_likelihood", "isometric_importance", "decomposition")

    ours = mr.evaluate(of_lambda, data, betas=LAMBDAS, measures=measures, progress=False)
    theirs = mr.evaluate(of_beta, data, betas=[1 / weight for weight in LAMBDAS], measures=measures, progress=False)

    for left, right in zip(ours.points, theirs.points, strict=True):
        left.pop("lambda")
        assert left == pytest.approx(right, rel=1e-9)
    for name, rows in theirs.details.items():
        if isinstance(rows, list) and name not in ("beta_range", "warnings"):
            np.testing.assert_allclose(ours.details[name], rows, rtol=1e-9)
    assert ours.warnings == theirs.warnings


def test_a_file_whose_lambda_contradicts_its_beta_is_refused(data: Tensor) -> None:
    content = mr.evaluate(make(OF_LAMBDA), data, betas=LAMBDAS, progress=False).to_dict()
    content["points"][1]["lambda"] = 0.6
    with pytest.raises(DataError, match=r"point at beta 2.0: lambda is 0.6 but 1 / beta is 0.5"):
        mr.Curve.from_dict(content)


def test_what_weighs_is_kept_on_disk_and_files_of_beta_are_as_before(data: Tensor, tmp_path: Path) -> None:
    of_lambda = make(OF_LAMBDA)
    loaded = mr.load(of_lambda.save(tmp_path / "lambda"))

    assert isinstance(loaded, mr.MultiRate)
    assert loaded.beta_range == OF_LAMBDA
    torch.testing.assert_close(loaded(data, beta=0.3), of_lambda(data, beta=0.3))
    make(OF_BETA).save(tmp_path / "beta")
    described = json.loads((tmp_path / "beta" / "model.json").read_text())["multirate"]["beta_range"]
    assert set(described) == {"low", "high", "skew", "margin"}


def test_a_folded_model_is_that_of_its_lambda(data: Tensor) -> None:
    model = make(OF_LAMBDA)
    torch.testing.assert_close(mr.fold(model, 0.5)(data), model(data, beta=0.5))


def test_the_base_is_preserved_at_a_lambda(data: Tensor) -> None:
    with seeded(0):
        base = mlp(shape=(6,), latents=3, hidden=(8,), likelihood="gaussian").double()
    model = mr.convert(base, OF_LAMBDA, preserve_at=2.0)

    assert isinstance(model, nn.Module)
    torch.testing.assert_close(mr.fold(model, 2.0).decoder.state_dict(), base.decoder.state_dict())
    with pytest.raises(BetaError, match=r"lambda 9 is outside the range \[0.1, 2.5\] of lambda"):
        mr.convert(base, OF_LAMBDA, preserve_at=9.0)


def test_errors_of_a_model_speak_of_lambda(data: Tensor) -> None:
    model = make(OF_LAMBDA)
    with pytest.raises(BetaError, match=r"lambda 0.01 is outside the range \[0.1, 2.5\] of lambda"), model.at(0.01):
        pass
    with pytest.raises(BetaError, match="lambda is missing"):
        model(data)
    with pytest.raises(UsageError, match="a lambda is given twice"):
        mr.evaluate(model, data, betas=[0.5, 0.5], progress=False)


@pytest.mark.slow
def test_training_over_lambda_spends_more_nats_where_lambda_is_larger(data: Tensor) -> None:
    x = data[:, :2] @ torch.randn(2, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    model = make(OF_LAMBDA)
    mr.fit(model, x, epochs=300, batch_size=64, progress=False)
    curve = mr.evaluate(model, x, betas=5, progress=False)
    assert (np.diff(curve.rates) < 0).all()
    assert (np.diff(curve.distortions) > 0).all()


# An asymmetric range, outside which a reciprocal is refused, and a symmetric one, inside which it is silently wrong.
BOTH = [(0.1, 2.5), (0.1, 10.0)]


def twins(base: nn.Module, low: float, high: float) -> tuple[mr.MultiRate, mr.MultiRate]:
    """The same model twice: called with lambda, and with beta."""
    with seeded(0):
        of_lambda = mr.convert(base, mr.BetaRange(low, high, weighs="distortion")).eval()
        of_beta = mr.convert(base, mr.BetaRange(1 / high, 1 / low)).eval()
        for parameter in of_lambda.response.parameters():
            parameter.data.add_(0.3 * torch.randn(parameter.shape))
    of_beta.load_state_dict(of_lambda.state_dict())
    return of_lambda, of_beta


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high"), BOTH)
def test_pictures_while_training_are_those_of_beta(low: float, high: float) -> None:
    of_lambda, of_beta = twins(mlp(shape=(1, 8, 8), latents=3, hidden=(8,)), low, high)
    source = as_source(torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(1)).round())
    betas = of_beta.beta_range.grid(3).tolist()
    history = [{"epoch": 1, "step": 1, "beta": b, "rate": 1 / b, "distortion": b} for b in betas]
    ours, theirs = pictures(of_lambda, source, history), pictures(of_beta, source, history)
    assert set(ours) == {"curve", "reconstructions", "samples"}
    for name, picture in ours.items():
        assert np.abs(picture.astype(int) - theirs[name]).max() <= 1, name
    assert (ours["reconstructions"] != pictures(of_beta, source, history[::-1])["reconstructions"]).any()


@pytest.mark.parametrize(("low", "high"), BOTH)
def test_the_optimum_of_a_linear_model_is_set_beside_its_own_beta(low: float, high: float) -> None:
    of_lambda, of_beta = twins(linear(shape=(5,), latents=2), low, high)
    source = as_source(torch.randn(50, 5, generator=torch.Generator().manual_seed(1)))
    ours, theirs = on_its_optimum(of_lambda, source, 4), on_its_optimum(of_beta, source, 4)
    for one, other in ((ours.curve, theirs.curve), (ours.optimum, theirs.optimum)):
        for name in ("beta", "rate", "distortion"):
            np.testing.assert_allclose(one.values(name), other.values(name), rtol=1e-4)
    assert (np.diff(ours.optimum.rates) <= 1e-9).all()


@pytest.fixture(scope="module", params=BOTH, ids=["asymmetric", "symmetric"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model of lambda on digits, evaluated."""
    folder = tmp_path_factory.mktemp("lambda") / "run"
    with seeded(0):
        base = mlp(shape=(1, 8, 8), latents=4, hidden=(16,))
    model = mr.convert(base, mr.BetaRange(*request.param, weighs="distortion"))
    mr.fit(model, mr.data.load("digits", "train"), epochs=4, out=folder, progress=False)
    assert main(["evaluate", str(folder), "--betas", "4", "--no-figures"]) == 0
    return folder


@pytest.mark.slow
def test_the_model_that_is_chosen_and_folded_has_the_rate_that_was_asked_for(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = mr.Curve.load(run / "curve.json")
    rate = float(curve.rates[1:3].mean())
    assert main(["choose", str(run), "--rate", str(rate), "--fold", str(tmp_path / "plain"), "--json"]) == 0
    beta = json.loads(capsys.readouterr().out)["beta"]
    plain = mr.load(tmp_path / "plain")
    test = mr.data.load("digits", "test")
    assert mr.evaluate(plain, test, beta=beta, progress=False).rates[0] == pytest.approx(rate, rel=0.2)
    gated = mr.evaluate(open_run(run).model, test, betas=[1 / beta], progress=False)
    assert mr.evaluate(plain, test, beta=beta, progress=False).rates[0] == pytest.approx(gated.rates[0], rel=1e-4)
    kept = json.loads((tmp_path / "plain" / "model.json").read_text(encoding="utf-8"))
    assert kept["extra"]["folded_at_beta"] == pytest.approx(beta)


@pytest.mark.slow
def test_a_model_folded_at_lambda_is_recorded_at_its_beta(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fold", str(run), "--beta", "2", "--out", str(tmp_path / "plain"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["beta"] == pytest.approx(0.5)
    kept = json.loads((tmp_path / "plain" / "model.json").read_text(encoding="utf-8"))
    assert kept["extra"]["folded_at_beta"] == pytest.approx(0.5)


@pytest.mark.slow
def test_pictures_of_a_run_are_drawn_at_the_betas_of_its_curve(run: Path, tmp_path: Path) -> None:
    assert len(draw_pictures(open_run(run))) == 2


@pytest.mark.slow
def test_the_card_on_the_hub_says_how_to_call_it(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    folder = hub.save_pretrained(mr.load(run / "model"), tmp_path / "mine", run=run)
    assert "weight = model.beta_range.weight_of(beta)" in (folder / "README.md").read_text(encoding="utf-8")
    folded = hub.save_pretrained(mr.load(run / "model"), tmp_path / "folded", run=run, beta=2.0)
    assert json.loads((folded / "model.json").read_text(encoding="utf-8"))["extra"]["beta"] == pytest.approx(0.5)
