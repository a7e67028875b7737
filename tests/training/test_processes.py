"""Runs of two processes under torchrun on gloo; as a script, this file is one of the processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import multirate as mr
from multirate.models import mlp
from multirate.seeding import seeded
from multirate.terms import Terms

OPTIONS = {"epochs": 2, "batch_size": 128, "log_every": 1, "progress": False, "device": "cpu"}
# What is trained, with which options, and how far the losses may be apart: relatively, over 20 steps.
CASES = {
    "plain": ({}, 1e-5),
    "multirate": ({"clip_norm": 20.0}, 1e-5),
    "multirate float64": ({}, 1e-12),
    "two draws": ({}, 1e-5),
}


class TwoDraws(nn.Module):
    """A VAE of two latent vectors, the second of which sees the first, and data of which a tenth is missing."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
        self.first, self.second = nn.Linear(16, 4), nn.Linear(20, 4)
        self.decoder = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 64))

    def terms(self, x):
        features = self.encoder(x * torch.bernoulli(torch.full_like(x, 0.9)))
        mean = self.first(features)
        a = mean + torch.randn_like(mean)
        other = self.second(torch.cat([features, a], 1))
        b = torch.distributions.Normal(other, 0.5).rsample()
        error = (self.decoder(torch.cat([a, b], 1)) - x.flatten(1)).square().sum(1)
        return Terms(0.5 * mean.square().sum(1) + 0.5 * other.square().sum(1), 0.5 * error)


def train(case):
    with seeded(0):
        model = TwoDraws() if case == "two draws" else mlp(shape=(1, 8, 8), latents=4, hidden=(32, 16))
    if case != "plain":
        model = mr.convert(model, mr.BetaRange(0.01, 10.0))
    if "float64" in case:
        model.double()
    return mr.fit(model, mr.data.load("digits"), **OPTIONS, **CASES[case][0])


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """Every case's history, trained in two processes; a start that fails is tried once more."""
    out, said = tmp_path_factory.mktemp("two") / "histories.json", ""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__, str(out)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode == 0:
            return json.loads(out.read_text())
        said += done.stderr
    raise AssertionError(said)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_losses_of_one_with_the_joint_batch(of_two, case):
    one, two = train(case).history, of_two[case]
    assert len(one) == len(two) == 20
    for name in ("loss", "rate", "distortion"):
        assert [line[name] for line in two] == pytest.approx([line[name] for line in one], rel=CASES[case][1])


if __name__ == "__main__":
    histories = {name: train(name).history for name in CASES}
    if os.environ["RANK"] == "0":
        Path(sys.argv[1]).write_text(json.dumps(histories))
