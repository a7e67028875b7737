"""FSDP2 on two processes under torchrun on gloo; as a script, this file is one of the processes."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

import multirate as mr
from multirate.errors import UsageError
from multirate.seeding import generator, seeded
from multirate.terms import Terms, gaussian_kl
from multirate.training.config import TrainConfig
from multirate.training.devices import accelerator_for
from multirate.training.objective import ModelObjective, objective_for
from multirate.training.optimizer import optimizer_for

BATCH, LATENTS, STEPS = 8, 4, 6
CONFIG = TrainConfig(batch_size=BATCH, learning_rate=1e-2)


class NoiseInData(nn.Module):
    """A convolutional VAE whose posterior noise comes with the data: each example has its own, wherever it is."""

    def __init__(self):
        super().__init__()
        down = [nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(32, 16), nn.SiLU())
        self.mean, self.log_variance = nn.Linear(16, LATENTS), nn.Linear(16, LATENTS)
        up = [nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.SiLU()]
        self.decoder = nn.Sequential(nn.Linear(LATENTS, 32), nn.SiLU(), nn.Unflatten(1, (8, 2, 2)), *up)
        self.output = nn.Conv2d(8, 1, 3, padding=1)

    def terms(self, both):
        x, noise = both[:, LATENTS:].unflatten(1, (1, 8, 8)), both[:, :LATENTS]
        features = self.encoder(x)
        mean, log_variance = self.mean(features), self.log_variance(features)
        image = self.output(self.decoder(mean + (log_variance / 2).exp() * noise))
        return Terms(gaussian_kl(mean, log_variance).sum(1), (image - x).square().sum((1, 2, 3)))


def objective_of(model):
    return ModelObjective(model, objective_for(CONFIG, examples=64))


def as_a_whole(model, shard):
    return shard(objective_of(model))


def by_sides(model, shard):
    shard(model.base.encoder)
    shard(model.base.decoder)
    return as_a_whole(model, shard)


def by_layers(model, shard):
    for layer in list(model.base.modules()):
        if list(layer.parameters(recurse=False)):
            shard(layer)
    return as_a_whole(model, shard)


def response_apart(model, shard):
    shard(model.response)
    return by_sides(model, shard)


def terms_named(model, shard):
    shard(model)
    register_fsdp_forward_method(model, "terms")
    return objective_of(model)


def in_bf16(model, shard):
    """Cut as docs/scaling.md does: gates in float32, the rest in bf16, beta as it came."""
    half = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32}
    shard(model.response)
    for part in (model.base.encoder, model.base.decoder):
        shard(part, mp_policy=MixedPrecisionPolicy(**half))
    shard(model, mp_policy=MixedPrecisionPolicy(**half, cast_forward_inputs=False))
    register_fsdp_forward_method(model, "terms")
    objective = objective_of(model)
    return lambda x, beta: objective(x.bfloat16(), beta)


# How the model is cut, and how far the losses may be apart, relatively.
CASES = {cut.__name__: (cut, 1e-5) for cut in (as_a_whole, by_sides, by_layers, response_apart, terms_named)}
CASES["in_bf16"] = (in_bf16, 0.02)


def fresh():
    with seeded(0):
        return mr.convert(NoiseInData(), mr.BetaRange(0.01, 10.0))


def train(call, model, process=0, processes=1):
    """Return the losses of the joint batch, each process taking its share of it."""
    optimizer, losses = optimizer_for(model, CONFIG), []
    for step in range(STEPS):
        both = torch.randn(BATCH, LATENTS + 64, generator=generator(0, "data", step))
        beta = model.beta_range.sample(BATCH, generator=generator(0, "beta", step))
        objective, _, _ = call(both.chunk(processes)[process], beta.chunk(processes)[process])
        objective.mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 20.0)
        optimizer.step()
        optimizer.zero_grad()
        total = objective.detach().sum()
        if processes > 1:
            dist.all_reduce(total)
        losses.append(total.item() / BATCH)
    return losses


def trained_in_shards(case, mesh):
    model = fresh()
    call = CASES[case][0](model, partial(fully_shard, mesh=mesh))
    losses = train(call, model, dist.get_rank(), dist.get_world_size())
    weight = model.response.weight
    local = weight.to_local().numel() if isinstance(weight, DTensor) else weight.numel()
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    gathered = {name: value.tolist() for name, value in whole.items()}
    return {"losses": losses, "share": local / weight.numel(), "state": gathered}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """Every case's losses and gathered weights; a start that fails is tried once more."""
    out, said = tmp_path_factory.mktemp("shards") / "cases.json", ""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__, str(out)]
    for _ in range(2):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode == 0:
            return json.loads(out.read_text())
        said += done.stderr
    raise AssertionError(said)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_sharded_model_has_the_losses_of_a_whole_one(of_two, case):
    model = fresh()
    losses = train(objective_of(model), model)
    assert of_two[case]["losses"] == pytest.approx(losses, rel=CASES[case][1])
    assert of_two[case]["share"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case != "in_bf16"])
def test_gathered_weights_are_those_of_a_whole_model_and_fold(of_two, case):
    whole, gathered = fresh(), fresh()
    train(objective_of(whole), whole)
    gathered.load_state_dict({name: torch.tensor(value) for name, value in of_two[case]["state"].items()})
    plain, other = mr.fold(whole, 0.5).state_dict(), mr.fold(gathered, 0.5).state_dict()
    for name, value in plain.items():
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("library", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_fit_refuses_to_shard(monkeypatch, library):
    monkeypatch.setenv(f"ACCELERATE_USE_{library}", "true")
    with pytest.raises(UsageError, match="shards them"), accelerator_for(TrainConfig(device="cpu")):
        pass


if __name__ == "__main__":
    dist.init_process_group("gloo")
    found = {case: trained_in_shards(case, init_device_mesh("cpu", (2,))) for case in CASES}
    if dist.get_rank() == 0:
        Path(sys.argv[1]).write_text(json.dumps(found))
    dist.destroy_process_group()
