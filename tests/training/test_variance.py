"""The variance of a sigma-VAE, measured at the end of its training and kept with the model."""

from typing import Any

import pytest
import torch
from torch import nn

import multirate as mr
from multirate.errors import UsageError
from multirate.models import mlp
from multirate.saving import read_description
from multirate.seeding import seeded
from multirate.terms import Reconstruction, Terms, gaussian
from multirate.training import TrainConfig, fit
from multirate.training.variance import optimal_variance

FAST: dict[str, Any] = {"batch_size": 32, "warmup_steps": 0, "progress": False, "objective": "sigma-vae", "epochs": 2}
REFUSED = [("beta", {"beta": 0.5}), ("kl_schedule", {"kl_schedule": "linear"}), ("decay", {"decay": "plateau"})]


class Constant(nn.Module):
    """Says 0.25 of every value."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.25))

    def terms(self, x: torch.Tensor) -> Terms:
        likelihood = gaussian(torch.zeros_like(x) + self.level)
        return Terms(x.new_zeros(len(x)), -likelihood.log_prob(x), reconstruction=Reconstruction(likelihood, x))


class Silent(Constant):
    """Gives rate and distortion alone."""

    def terms(self, x: torch.Tensor) -> Terms:
        terms = super().terms(x)
        return Terms(terms.rate, terms.distortion)


def data(n: int = 300) -> torch.Tensor:
    return torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.3


def make(likelihood: str = "gaussian") -> nn.Module:
    with seeded(0):
        return mlp(shape=(1, 4, 4), latents=3, hidden=(8,), likelihood=likelihood)


def test_it_is_the_mean_squared_error_over_all_data() -> None:
    x = data()
    found = optimal_variance(Constant(), mr.data.as_source(x), batch_size=64)
    assert found == pytest.approx(float((x.double() - 0.25).square().mean()), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("likelihood", "factor"), [("gaussian", 1.0), ("squared_error", 2.0)])
def test_training_comes_to_a_beta_and_keeps_it_with_the_model(likelihood: str, factor: float, tmp_path: Any) -> None:
    run = fit(make(likelihood), data(), out=tmp_path, **FAST)
    variance = optimal_variance(run.model, mr.data.as_source(data()))
    assert run.learnt == {"optimal_variance": pytest.approx(variance), "beta": pytest.approx(factor * variance)}
    assert read_description(tmp_path / "model")["extra"] == run.learnt
    assert fit(make(likelihood), data(), out=tmp_path, resume=True, **FAST).learnt == run.learnt


def test_other_objectives_learn_nothing_beside_the_weights(tmp_path: Any) -> None:
    assert fit(make(), data(), out=tmp_path, **FAST | {"objective": "beta-vae"}).learnt == {}
    assert read_description(tmp_path / "model")["extra"] == {}


@pytest.mark.slow
def test_a_model_of_noise_finds_the_noises_variance() -> None:
    run = fit(Constant(), data(2000), **FAST | {"epochs": 20, "learning_rate": 0.05})
    assert run.learnt["optimal_variance"] == pytest.approx(0.09, rel=0.05)


def test_a_multi_rate_model_is_refused() -> None:
    with pytest.raises(UsageError, match="sets the variance of a plain VAE itself, not that of a multi-rate model"):
        fit(mr.convert(make()), data(), **FAST)


def test_a_learnt_variance_is_refused() -> None:
    with pytest.raises(UsageError, match="not that of likelihood gaussian_learned; choose likelihood gaussian"):
        fit(make("gaussian_learned"), data(), **FAST)


def test_a_model_without_reconstruction_is_refused_before_anything_is_written(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match=r"which Silent\.terms\(x\) does not give; let it fill Terms\.reconstruction"):
        fit(Silent(), data(), out=tmp_path / "run", **FAST)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="gives no reconstruction"):
        optimal_variance(Silent(), mr.data.as_source(data()))


@pytest.mark.parametrize(("name", "option"), REFUSED)
def test_options_that_weigh_the_rate_are_refused(name: str, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{name} .* does not go with objective sigma-vae, which has no beta"):
        TrainConfig(objective="sigma-vae", **option)
