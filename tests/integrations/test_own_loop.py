"""Loops of one's own: what they need is public, and nothing is hidden in fit."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch.optim.lr_scheduler import LambdaLR

import multirate as mr
from multirate.errors import UsageError
from multirate.seeding import generator, preserved_rng, seed_globally, seeded
from multirate.training.objective import draw_betas
from multirate.training.optimizer import optimizer_for, parameter_groups
from multirate.training.schedules import learning_rate_factor, warmup_steps

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_loop.py"
EPOCHS = 12


def example():
    spec = importlib.util.spec_from_file_location("own_loop", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small(response="default"):
    with seeded(0):
        vae = mr.models.mlp(shape=(1, 8, 8), latents=4, hidden=(16,))
    return mr.convert(vae, mr.BetaRange(0.01, 10.0), response=response)


@pytest.fixture(scope="module", autouse=True)
def forgotten():
    """Accelerate keeps its choice of device and precision for the life of a process; later tests choose their own."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def mean_objectives():
    """Mean objective over eight betas on test digits, for each way of training."""
    with preserved_rng():
        curves = example().main(epochs=EPOCHS)
        curves |= example().main(epochs=EPOCHS, accelerate=True)
    return {name: float(curve.values("objective").mean()) for name, curve in curves.items()}


@pytest.mark.slow
def test_a_loop_of_ones_own_with_the_draws_of_fit_has_its_weights_bit_for_bit():
    data, config = mr.data.load("digits"), mr.TrainConfig(epochs=3, batch_size=64, seed=4)
    fitted, model = small(), small()
    mr.fit(fitted, data, config=config, progress=False, device="cpu")
    per_epoch = len(data) // 64
    steps = 3 * per_epoch
    warmup = warmup_steps(config, steps)
    optimizer = torch.optim.Adam(parameter_groups(model), betas=(0.9, 0.99), fused=True)
    schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(min(step, steps), steps, warmup, config))
    for step in range(steps):
        epoch, position = divmod(step, per_epoch)
        order = torch.randperm(len(data), generator=generator(4, "order", epoch))
        x = data.batch(order[position * 64 : (position + 1) * 64])
        beta = draw_betas(model.beta_range, 4, step, 64, torch.float32)
        with preserved_rng():
            seed_globally(4, "noise", step, 0)
            terms = model.terms(x, beta=beta)
        mr.objectives.beta_vae(terms, beta).mean().backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    for name, value in model.state_dict().items():
        assert torch.equal(value, fitted.state_dict()[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("way", ["as mr.fit", "Accelerate, 1 x 64"])
def test_a_loop_with_the_optimizer_of_fit_reaches_its_objective(mean_objectives, way):
    assert mean_objectives[way] == pytest.approx(mean_objectives["mr.fit"], abs=0.4)


@pytest.mark.slow
def test_three_lines_alone_train_every_beta(mean_objectives):
    """Within a nat of fit, where an untrained model is more than 20 nats away."""
    untrained = mr.evaluate(example().multirate_model(), mr.data.load("digits", "test"), betas=8)
    assert mean_objectives["three lines"] == pytest.approx(mean_objectives["mr.fit"], abs=1.0)
    assert float(untrained.values("objective").mean()) > mean_objectives["mr.fit"] + 20


@pytest.mark.slow
def test_accelerate_goes_on_from_a_saved_state_as_if_it_had_not_stopped(tmp_path):
    module = example()
    with preserved_rng():
        whole = module.accelerate_loop(3)
        module.accelerate_loop(3, states=tmp_path, stop_after=2)
        torch.manual_seed(99)
        resumed = module.accelerate_loop(3, states=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-001", "epoch-002", "epoch-003"]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path, mean_objectives):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(EXAMPLE)]
    options = ["--accelerate", "--epochs", str(2 * EPOCHS), "--out", str(tmp_path)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    said = ""
    for _ in range(2):  # a start of torchrun may fail; it is tried once more
        done = subprocess.run(
            [*command, *options], env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        said += done.stderr
        if done.returncode == 0:
            break
    assert done.returncode == 0, said
    assert done.stdout.count("mean objective") == 1
    (found,) = json.loads((tmp_path / "measured.json").read_text()).values()
    assert found == pytest.approx(mean_objectives["mr.fit"], abs=0.6)


# Groups of parameters


@pytest.mark.parametrize("response", ["default", "paper", "film", "mlp"])
def test_groups_hold_each_parameter_once_and_gates_step_further(response):
    model = small(response)
    rates = {id(p): g["lr"] for g in parameter_groups(model, 1e-3) for p in g["params"]}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert set(rates) == set(names)
    for key, name in names.items():
        is_gate = name.startswith("response.") and name != "response.thresholds"
        assert rates[key] == pytest.approx(7.5e-3 if is_gate else 1e-3), name


def test_groups_are_those_of_fit():
    model, config = small(), mr.TrainConfig(learning_rate=3e-3, response_learning_rate=0.01, weight_decay=0.1)
    ours = parameter_groups(model, 3e-3, response_learning_rate=0.01, weight_decay=0.1)
    fits = optimizer_for(model, config).param_groups
    assert [(g["lr"], g["weight_decay"], list(map(id, g["params"]))) for g in ours] == [
        (g["lr"], g["weight_decay"], list(map(id, g["params"]))) for g in fits
    ]
    assert [group["weight_decay"] for group in ours] == [0.1, 0.0, 0.0]
    assert parameter_groups(model)[0]["lr"] == mr.TrainConfig().learning_rate


def test_a_plain_model_is_one_group_and_frozen_parameters_are_left_out():
    plain = mr.models.mlp(shape=(1, 4, 4), latents=2, hidden=(8,))
    plain.encoder.requires_grad_(False)
    (group,) = parameter_groups(plain, 1e-3)
    assert {id(p) for p in group["params"]} == {id(p) for p in plain.parameters() if p.requires_grad}
    with pytest.raises(UsageError, match="frozen"):
        parameter_groups(plain.requires_grad_(False))


def test_the_table_of_the_page_holds_what_was_measured():
    page = EXAMPLE.parents[1] / "docs" / "integrations" / "own-loop.md"
    rows = re.findall(r"^\| (?:[^|]+) \| (\d\d\.\d\d) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    measured = json.loads((page.parent / "own-loop" / "measured.json").read_text(encoding="utf-8"))
    assert [float(row) for row in rows] == [round(value, 2) for value in measured.values()]
