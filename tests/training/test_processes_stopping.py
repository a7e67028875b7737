"""A signal to one of two processes stops both at the same step; as a script, this file is one of the processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torture.comparing import differences

import multirate as mr
from multirate.data.source import TensorSource
from multirate.errors import Terminated
from multirate.models import mlp
from multirate.seeding import seeded

OPTIONS = {"epochs": 2, "batch_size": 128, "log_every": 4, "progress": False, "device": "cpu"}
SIGNALLED, STOPPED = 6, 8


class Signalling(TensorSource):
    """Data that stop the second process, and not the first, while the sixth batch is read."""

    calls = 0

    def batch(self, indices):
        self.calls += 1
        if self.calls == SIGNALLED + 1 and os.environ["RANK"] == "1":  # one was read to look at the model's terms
            signal.raise_signal(signal.SIGTERM)
        return super().batch(indices)


def train(out, data, **options):
    with seeded(0):
        model = mr.convert(mlp(shape=(1, 8, 8), latents=4, hidden=(32, 16)), mr.BetaRange(0.01, 10.0))
    return mr.fit(model, data, out=out, **OPTIONS, **options)


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_bit_for_bit(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    for _ in range(2):  # a start that fails is tried once more
        done = subprocess.run(
            [*command, str(tmp_path)], env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"stopped after step {STOPPED} of 20; go on with --resume") == 2
    assert differences(tmp_path / "whole", tmp_path / "cut") == []


if __name__ == "__main__":
    place = Path(sys.argv[1])
    digits = mr.data.load("digits")
    tensor = digits.batch(torch.arange(len(digits)))
    train(place / "whole", TensorSource(tensor))
    try:
        train(place / "cut", Signalling(tensor))
    except Terminated as stop:
        print(stop, flush=True)
    train(place / "cut", TensorSource(tensor), resume=True)
