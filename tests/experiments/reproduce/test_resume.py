"""Killed at any moment and called again, a recipe comes to the same bits as one that was left alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.experiments.reproduce import tiny
from tests.experiments.reproduce.tiny import recipe_of

from multirate.experiments.reproduce.engine import run_recipe

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import sys, torch
torch.set_num_threads(1)
from tests.experiments.reproduce import tiny
from multirate.experiments.reproduce.engine import run_recipe
run_recipe(tiny.recipe_of(tiny.MULTI_RATE, tiny.WARM), "smoke", sys.argv[1])
"""
# Killed as soon as so many of these files are there: a run begun, a checkpoint in its middle, a run trained but not
# measured, the first link of a chain measured.
MOMENTS = (
    ("*/config.yaml", 1),
    ("tiny-mr-s1/checkpoints/*4*", 1),
    ("*/member.json", 3),
    ("tiny-warm-beta1-s0/config.yaml", 1),
)


def started(out: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(out)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )


def kill_when(out: Path, pattern: str, count: int) -> bool:
    """Start the recipe, kill it when so many files are there, and say whether it was still at work."""
    process = started(out)
    limit = time.monotonic() + 120
    while len(list((out / "runs").glob(pattern))) < count and process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.002)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return alive


def curves(out: Path) -> dict[str, Any]:
    results = run_recipe(recipe_of(tiny.MULTI_RATE, tiny.WARM), "smoke", out, say=lambda text: None)
    return {label: [curve.points for curve in one.curves] for (_, label), one in results.arms.items()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*holds no checkpoint")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_recipe_killed_again_and_again_comes_to_the_same_bits(tmp_path: Path) -> None:
    killed = [kill_when(tmp_path / "killed", pattern, count) for pattern, count in MOMENTS]
    assert all(killed)
    assert {path.name for path in (tmp_path / "killed" / "tiny").rglob("*")} <= {"smoke", ".lock"}
    assert curves(tmp_path / "killed") == curves(tmp_path / "whole")
