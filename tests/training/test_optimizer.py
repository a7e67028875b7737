"""Which parameters a run trains, and with which step sizes."""

import math

import pytest
import torch
import yaml

import multirate as mr
from multirate.seeding import seeded
from multirate.training import TrainConfig, fit

FAST = {"epochs": 1, "batch_size": 32, "warmup_steps": 0, "decay_fraction": 0.0, "progress": False}
FACTOR = 7.5


def data():
    return (torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()


def make(response="default"):
    with seeded(0):
        base = mr.models.mlp(shape=(1, 4, 4), latents=3, hidden=(8,))
    return base if response is None else mr.convert(base, mr.BetaRange(0.01, 10.0), response=response)


@pytest.fixture
def seen(monkeypatch):
    """The optimizer of every step, after it."""
    optimizers = []
    step = torch.optim.Adam.step

    def watched(self, *arguments, **keywords):
        result = step(self, *arguments, **keywords)
        optimizers.append(self)
        return result

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    return optimizers


def learning_rates(optimizer, model):
    """Return the step size of each parameter by its name."""
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rates)
    return {name: rates.get(id(p)) for name, p in model.named_parameters()}


@pytest.mark.parametrize("response", ["default", "paper", "film", "mlp"])
def test_gates_step_further_than_the_base_and_thresholds_as_far(seen, response):
    model = make(response)
    fit(model, data(), learning_rate=1e-3, **FAST)
    rates = learning_rates(seen[0], model)
    fast = {name for name in rates if name.startswith("response.") and name != "response.thresholds"}
    assert {"response.weight", "response.bias"} <= fast
    assert {name: rates[name] for name in fast} == pytest.approx(dict.fromkeys(fast, FACTOR * 1e-3))
    slow = {name: rate for name, rate in rates.items() if name not in fast}
    assert slow == pytest.approx(dict.fromkeys(slow, 1e-3))
    assert ("response.thresholds" in slow) == ("response.curvature" in fast) == (response == "default")


def test_a_step_size_of_the_gates_may_be_given_and_thresholds_do_not_follow_it(seen):
    model = make()
    fit(model, data(), learning_rate=1e-3, response_learning_rate=0.02, **FAST)
    rates = learning_rates(seen[0], model)
    assert rates["response.weight"] == rates["response.bias"] == rates["response.curvature"] == pytest.approx(0.02)
    assert rates["response.thresholds"] == rates["base.mean.weight"] == pytest.approx(1e-3)


def test_the_step_size_of_the_gates_and_the_sampling_of_beta_are_recorded(tmp_path):
    fit(make(), data(), out=tmp_path, learning_rate=2e-3, **FAST)
    record = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert record["resolved"]["response_learning_rate"] == pytest.approx(FACTOR * 2e-3)
    assert record["model"]["beta_range"] == [0.01, 10.0]
    assert record["model"]["beta_sampling"] == pytest.approx({"skew": 12 / math.log(1350), "margin": 1.35})


@pytest.mark.parametrize("beta2", [0.9, 0.999, None])
def test_the_optimizer_is_adam_with_the_second_constant_of_the_config(seen, beta2):
    fit(make(None), data(), **FAST, **({} if beta2 is None else {"adam_beta2": beta2}))
    assert {group["betas"] for optimizer in seen for group in optimizer.param_groups} == {(0.9, beta2 or 0.99)}


def test_a_step_is_that_of_adam_in_double_precision(seen):
    model = make().double()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    slopes = {}
    for name, parameter in model.named_parameters():
        parameter.register_hook(lambda slope, name=name: slopes.setdefault(name, []).append(slope.clone()) and None)
    fit(model, data(), learning_rate=1e-3, adam_beta2=0.95, **FAST)
    rates = learning_rates(seen[-1], model)
    for name, parameter in model.named_parameters():
        value, first, second = start[name], 0.0, 0.0
        assert len(slopes[name]) == 2
        for step, slope in enumerate(slopes[name], start=1):
            first, second = 0.9 * first + 0.1 * slope, 0.95 * second + 0.05 * slope.square()
            ahead = (second / (1 - 0.95**step)).sqrt() + 1e-8
            value = value - rates[name] * first / (1 - 0.9**step) / ahead
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_every_group_follows_the_schedule_together(monkeypatch, decay):
    rates = []
    step = torch.optim.Adam.step

    def watched(self, *arguments, **keywords):
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    options = {**FAST, "epochs": 5, "warmup_steps": 2, "decay_fraction": 0.4, "decay": decay}
    fit(make(), data(), learning_rate=1e-3, **options)
    fall = {"linear": [0.75, 0.5, 0.25], "cosine": [0.853553, 0.5, 0.146447]}[decay]
    expected = [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, *fall]
    assert [slow / 1e-3 for slow, *_ in rates] == pytest.approx(expected, abs=1e-6)
    assert all(thresholds == slow for slow, thresholds, _ in rates)
    assert [fast / slow for slow, _, fast in rates] == pytest.approx([FACTOR] * 10)


def test_a_frozen_response_leaves_the_base_to_train():
    model = make()
    model.response.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, data(), config=TrainConfig(), **FAST)
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert same == {name for name in before if name.startswith("response.")}
