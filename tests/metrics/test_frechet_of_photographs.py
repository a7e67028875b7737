"""Distances in the features of EfficientNet-Lite0, on photographs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import multirate as mr
from multirate.metrics.features import feature_network
from multirate.metrics.frechet_distance import RealFeatures
from multirate.metrics.kernel_distance import kernel_distance
from multirate.metrics.options import MeasureOptions

pytest.importorskip("torchmetrics.image.fid")


def photographs(n: int) -> Tensor:
    """Pieces of 64x64 pixels of two photographs, in [0, 1], ``[n, 3, 64, 64]``."""
    from sklearn.datasets import load_sample_images

    whole = torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2) / 255
    pieces = whole.unfold(2, 64, 45).unfold(3, 64, 45).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 64, 64)
    return pieces[torch.randperm(len(pieces), generator=torch.Generator().manual_seed(0))[:n]]


@pytest.mark.slow
def test_efficientnet_lite0_ranks_damaged_photographs() -> None:
    from torch.nn.functional import avg_pool2d, interpolate

    pieces = photographs(160)
    original, other = pieces[:80], pieces[80:]
    noise = torch.randn(other.shape, generator=torch.Generator().manual_seed(1))
    blurred = interpolate(avg_pool2d(other, 2), scale_factor=2, mode="bilinear")
    kinds = (other, blurred, other + 0.1 * noise, other + 0.4 * noise)
    network = feature_network(MeasureOptions(feature_size=64))
    real = RealFeatures(network.features(original))
    features = [network.features(kind) for kind in kinds]

    frechet = [real.distance(features[kind]) for kind in (1, 3)]
    kernel = [kernel_distance(real.features, found) for found in features]

    assert frechet == sorted(frechet)
    assert kernel == sorted(kernel)
    assert abs(kernel[0]) < 0.1 * kernel[-1]


@pytest.mark.slow
def test_a_model_of_faces_is_measured_along_its_curve(data_dir: Path) -> None:
    archive = data_dir / "celeba" / "celeba_8k_89x109_jpeg.zip"
    if not archive.is_file():
        pytest.skip("no faces: celeba/celeba_8k_89x109_jpeg.zip is missing")
    source = mr.data.load(str(archive), split="test", crop=74, size=64)
    vae = mr.models.mlp(shape=source.shape, latents=4, hidden=(16,), likelihood="gaussian")

    with pytest.warns(UserWarning, match="of 20 images with 1,280 features"):
        curve = mr.evaluate(
            mr.convert(vae, mr.BetaRange(0.1, 10.0)),
            source,
            2,
            examples=30,
            measures=("frechet_distance",),
            measure_options=MeasureOptions(generated=20, feature_size=64),
        )

    settings = curve.details["measures"]["frechet_distance"]
    assert (settings["examples"], settings["generated"], settings["features"]) == (30, 20, 1280)
    # Noise of an untrained model is far from any face, whichever way it is made.
    for name in ("frechet_distance", "reconstruction_frechet_distance"):
        assert (curve.values(f"{name}[efficientnet_lite0]") > 100).all()
    assert (curve.values("kernel_distance[efficientnet_lite0]") > 0.1).all()
