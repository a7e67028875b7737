"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# A busy machine is not a defect: no example has a time limit.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real data sets in their original files; tests that need it are skipped where it is missing."""
    candidates = [os.environ.get("MULTIRATE_DATA"), Path(__file__).resolve().parents[2] / "shared" / "data"]
    for candidate in candidates:
        if candidate and Path(candidate, "mnist").is_dir():
            return Path(candidate)
    pytest.skip("real data sets not found: set MULTIRATE_DATA to a folder that holds mnist/, omniglot/, ...")
