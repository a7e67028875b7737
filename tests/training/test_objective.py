"""The betas that a step sees, the objectives by name, Adamax, plateau and weight decay."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import multirate as mr
from multirate.beta import BetaRange
from multirate.errors import UsageError
from multirate.models import lstm, mlp
from multirate.objectives import beta_vae
from multirate.seeding import seeded
from multirate.training import TrainConfig, fit
from multirate.training.objective import BLOCK, draw_step_betas, objective_for, one_beta_a_step
from multirate.training.schedules import halvings
from multirate.training.session import Session

RANGE = BetaRange(0.01, 10.0)
FAST = {"batch_size": 32, "warmup_steps": 0, "progress": False}
COUPLING = ["beta-tcvae", "dip-vae-i", "dip-vae-ii", "info-vae"]


def data(n=128):
    return (torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()


def make(multirate=True):
    with seeded(0):
        base = mlp(shape=(1, 4, 4), latents=3, hidden=(8,))
    return mr.convert(base, RANGE) if multirate else base


def positions(betas):
    """Invert the distribution of a range: uniform numbers if the betas are drawn from it."""
    width = math.log(RANGE.reach) - math.log(RANGE.low)
    return ((betas.double().log() - math.log(RANGE.low)) / width).pow(1 / RANGE.exponent).numpy()


@pytest.mark.slow
def test_one_beta_a_step_has_the_distribution_of_the_range():
    betas = torch.cat([draw_step_betas(RANGE, 3, step, 1, torch.float64) for step in range(4000)])
    assert stats.kstest(positions(betas), "uniform").pvalue > 0.01


@pytest.mark.slow
def test_the_mean_over_steps_of_one_beta_each_is_the_mean_over_examples_of_one_beta_each():
    def gradient(beta):
        return beta / (1 + beta)

    steps = torch.cat([draw_step_betas(RANGE, 0, step, 1, torch.float64) for step in range(16_000)])
    unit = np.linspace(0, 1, 200_001)[:-1] + 2.5e-6
    width = math.log(RANGE.reach) - math.log(RANGE.low)
    exact = gradient(np.exp(math.log(RANGE.low) + unit**RANGE.exponent * width)).mean()
    assert float(gradient(steps).mean()) == pytest.approx(exact, abs=5e-4)


def test_the_betas_of_a_block_cover_the_range_one_in_each_part():
    betas = torch.cat([draw_step_betas(RANGE, 0, step, 1, torch.float64) for step in range(3 * BLOCK)])
    for block in positions(betas).reshape(3, BLOCK):
        assert sorted((block * BLOCK).astype(int)) == list(range(BLOCK))


def test_processes_share_a_block():
    both = torch.stack([draw_step_betas(RANGE, 0, step, 2, torch.float64) for step in range(BLOCK)])
    assert sorted((positions(both.flatten()) * 2 * BLOCK).astype(int)) == list(range(2 * BLOCK))


@pytest.mark.parametrize("name", COUPLING)
def test_objectives_that_couple_examples_see_one_beta_a_step(name):
    objective = objective_for(TrainConfig(objective=name), 100)
    assert one_beta_a_step(make(), objective)
    assert not one_beta_a_step(make(), beta_vae)


def test_a_recurrent_layer_asks_for_one_beta_a_step():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.LSTM(2, 3)
            self.decoder = nn.Linear(3, 2)

    assert one_beta_a_step(mr.convert(Recurrent(), RANGE, response="film"), beta_vae)


def test_gated_recurrent_layers_are_not_compiled():
    with seeded(0):
        model = mr.convert(lstm((4,), 2, 8, 3, 3), RANGE)
    with pytest.raises(UsageError, match=r"compile does not go with .* \(encoder.lstm\)"):
        fit(model, torch.tensor([[4, 5, 3]] * 32), compile=True, **FAST)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [*((n, {}) for n in COUPLING), ("free-bits", {"free_bits": 0.1})])
@pytest.mark.parametrize("multirate", [True, False])
def test_every_objective_trains(name, options, multirate):
    model = make(multirate)
    run = fit(model, data(), epochs=12, learning_rate=5e-3, objective=name, log_every=4, **options, **FAST)
    assert run.history[-1]["loss"] < run.history[0]["loss"]


def test_the_minibatch_estimate_knows_the_size_of_the_data():
    assert objective_for(TrainConfig(objective="beta-tcvae", tc_estimator="weighted"), 77).dataset_size == 77


@pytest.mark.parametrize("options", [{"objective": "free-bits"}, {"free_bits": 0.5}], ids=str)
def test_free_bits_go_with_their_objective_only(options):
    with pytest.raises(UsageError, match="free_bits"):
        TrainConfig(**options)


def test_adamax_steps_as_defined():
    model = make(False)
    first = {name: value.detach().clone() for name, value in model.named_parameters()}
    slopes = []
    step = torch.optim.Adamax.step

    def watched(self, *arguments, **keywords):
        slopes.append({n: p.grad.clone() for n, p in model.named_parameters()})
        return step(self, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adamax, "step", watched)
        fit(model, data(64), epochs=1, optimizer="adamax", learning_rate=1e-3, decay_fraction=0.0, **FAST)
    for name, value in model.named_parameters():
        expected, mean, largest = first[name], 0.0, torch.zeros_like(value)
        for t, grad in enumerate((s[name] for s in slopes), 1):
            mean = 0.9 * mean + 0.1 * grad
            largest = torch.maximum(0.99 * largest, grad.abs() + 1e-8)
            expected = expected - 1e-3 / (1 - 0.9**t) * mean / largest
        torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=1e-7)


def test_weight_decay_leaves_gates_and_thresholds_alone():
    seen = []
    step = torch.optim.Adam.step

    def watched(self, *arguments, **keywords):
        seen.append({id(p): g["weight_decay"] for g in self.param_groups for p in g["params"]})
        return step(self, *arguments, **keywords)

    model = make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", watched)
        fit(model, data(), epochs=1, weight_decay=0.1, **FAST)
    decay = {name: seen[0][id(p)] for name, p in model.named_parameters()}
    assert {value for name, value in decay.items() if name.startswith("response.")} == {0.0}
    assert {value for name, value in decay.items() if name.startswith("base.")} == {0.1}


LINES = [  # epoch, objectives at two betas; the mean of epoch 3 is no better than that of epoch 2
    *({"epoch": 1, "objective": v} for v in (4.0, 6.0)),
    *({"epoch": 2, "objective": v} for v in (5.0, 3.0)),
    *({"epoch": 3, "objective": v} for v in (2.0, 6.0)),
    *({"epoch": 4, "objective": v} for v in (3.0, 4.0)),
    *({"epoch": 5, "objective": v} for v in (3.0, 4.5)),
]


def test_the_step_size_is_halved_after_each_epoch_that_is_not_the_best():
    assert [halvings([line for line in LINES if line["epoch"] <= e]) for e in range(6)] == [0, 0, 0, 1, 1, 2]


def test_plateau_needs_validation_data():
    with pytest.raises(UsageError, match="--validate"):
        fit(make(), data(), epochs=1, decay="plateau", **FAST)


@pytest.mark.slow
def test_plateau_halves_the_optimizers_step_and_resumes_to_the_same_weights(tmp_path):
    options = {"epochs": 5, "decay": "plateau", "learning_rate": 0.3, "val": data(40), **FAST}
    rates = []
    step = torch.optim.Adam.step

    def watched(self, *arguments, **keywords):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **keywords)

    whole = make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", watched)
        run = fit(whole, data(), out=tmp_path / "whole", **options)
    done = [halvings([v for v in run.validation if v["epoch"] <= epoch]) for epoch in range(5)]
    assert done[-1] > 0
    assert rates == pytest.approx([0.3 * 0.5**h for h in done for _ in range(4)])

    class StopError(Exception):
        pass

    def failing(self, *arguments, **keywords):
        rates.append(0.0)
        if len(rates) == 20 + 14:
            raise StopError
        return step(self, *arguments, **keywords)

    part = make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", failing)
        with pytest.raises(StopError):
            fit(part, data(), out=tmp_path / "part", **options)
    again = make()
    fit(again, data(), out=tmp_path / "part", resume=True, **options)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True))


def largest_singular_values(model):
    return sum(
        float(torch.linalg.matrix_norm(layer.weight.detach(), ord=2))
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
    )


@pytest.mark.slow
def test_spectral_regularization_lowers_the_largest_singular_values():
    free, held = make(False), make(False)
    fit(free, data(), epochs=10, **FAST)
    fit(held, data(), epochs=10, spectral_regularization=3.0, **FAST)
    assert largest_singular_values(held) < 0.9 * largest_singular_values(free)


def test_the_loss_counts_the_spectral_penalty():
    model = make(False)
    start = largest_singular_values(model)
    options = {**FAST, "epochs": 1, "batch_size": 128, "learning_rate": 1e-30}
    without = fit(make(False), data(), **options).history[0]["loss"]
    with_it = fit(model, data(), spectral_regularization=2.0, **options).history[0]["loss"]
    assert with_it - without == pytest.approx(2 * start, rel=0.02)


def test_spectral_regularization_resumes_to_the_same_weights(tmp_path):
    options = {"epochs": 4, "spectral_regularization": 0.5, "out": tmp_path / "run", **FAST}
    whole = make()
    fit(whole, data(), **{**options, "out": None})
    step = torch.optim.Adam.step
    count = []

    def failing(self, *arguments, **keywords):
        count.append(0)
        if len(count) == 11:
            raise KeyboardInterrupt
        return step(self, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", failing)
        with pytest.raises(KeyboardInterrupt):
            fit(make(), data(), **options)
    again = make()
    fit(again, data(), resume=True, **options)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True))


class Mute(nn.Module):
    """A VAE that says nothing of its posterior."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(16, 2), nn.Linear(2, 16)

    def terms(self, x):
        code = self.encoder(x.flatten(1))
        return mr.Terms(code.square().sum(1), (self.decoder(code) - x.flatten(1)).square().sum(1))


@pytest.mark.parametrize("name", COUPLING)
def test_a_model_without_posterior_is_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(UsageError, match=f"objective {name} needs the posterior .* Mute.terms"):
        fit(Mute(), data(), objective=name, out=tmp_path / "run", **FAST)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_cut_between_checkpoint_and_validation_measures_that_epoch_when_it_goes_on(tmp_path):
    options = {"epochs": 4, "decay": "plateau", "learning_rate": 0.3, "val": data(40), "checkpoint_every": 2, **FAST}
    whole = make()
    run = fit(whole, data(), out=tmp_path / "whole", **options)

    def cut(self):
        if self.epoch == 2:
            raise KeyboardInterrupt
        return validate(self)

    validate = Session.validate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "validate", cut)
        with pytest.raises(KeyboardInterrupt):
            fit(make(), data(), out=tmp_path / "part", **options)
    again = make()
    resumed = fit(again, data(), out=tmp_path / "part", resume=True, **options)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True))
    assert [(v["epoch"], v["beta"], v["objective"]) for v in resumed.validation] == [
        (v["epoch"], v["beta"], v["objective"]) for v in run.validation
    ]
