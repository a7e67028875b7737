"""The example runs as it stands, and its curve is one."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_vae.py"


def test_a_users_own_vae_becomes_multi_rate(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("own_vae", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    curve = module.main(epochs=12)
    assert curve.rates[0] > 2 * curve.rates[-1]
    assert curve.distortions[0] < curve.distortions[-1]
    assert "agrees: True" in capsys.readouterr().out
