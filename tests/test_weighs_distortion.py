"""A range of lambda, which weighs the distortion: the same model as that of beta = 1 / lambda, called with lambda."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import multirate as mr
from multirate.errors import BetaError, DataError, UsageError
from multirate.models import mlp
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
        if isinstance(rows, list) and name != "beta_range":
            np.testing.assert_allclose(ours.details[name], rows, rtol=1e-9)


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
