"""Runs made once by the commands themselves, on tiny budgets."""

from pathlib import Path

import pytest

from multirate.cli.main import main

SMALL = [
    "--data",
    "digits",
    "--model",
    "mlp",
    "--hidden",
    "32",
    "--latents",
    "4",
    "--epochs",
    "6",
    "--batch-size",
    "64",
]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multi-rate run, evaluated at eight betas; tests only read it, or add files that no other test reads."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", *SMALL, "--out", str(folder)]) == 0
    assert main(["evaluate", str(folder), "--betas", "8", "--no-figures"]) == 0
    return folder


@pytest.fixture(scope="session")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of dedicated beta-VAEs with the same budget."""
    folder = tmp_path_factory.mktemp("cli") / "baselines"
    assert main(["sweep", *SMALL, "--betas", "0.05,0.2,1", "--out", str(folder)]) == 0
    return folder
