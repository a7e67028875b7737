"""Perception against distortion in super-resolution, over a range of lambda from one run."""

# %% [markdown]
# # Perception against distortion in super-resolution, in one run
#
# Faces of 16 by 16 pixels are enlarged to 64 by 64 by a small network. It minimises A + lambda B: A is the squared
# error of an image, B how far the statistics of a batch of enlarged images are from those of true ones. One network,
# gated by lambda, is trained for the whole range of lambda; two plain ones are trained for one lambda each. Measured
# are A, B and the Frechet distance of enlarged from true faces.
#
#     python examples/perception_distortion.py --data FACES.zip --out docs/two-terms  # CelebA, half an hour of one core
#     python examples/perception_distortion.py --data digits --epochs 1 --width 8     # seconds, nothing to download

# %%
import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import multirate as mr
from multirate.data import Source, as_source
from multirate.merging import merge
from multirate.metrics.features import feature_network
from multirate.metrics.frechet_distance import RealFeatures
from multirate.metrics.options import MeasureOptions
from multirate.report.figures import image_grid
from multirate.report.style import BASELINE_COLORS, MULTI_RATE_COLORS, new_figure, save, style
from multirate.seeding import seeded

SIDE, FACTOR = 64, 4
RANGE = mr.BetaRange(0.1, 10.0)
DEDICATED = (0.3, 3.0)
BATCH = 16
# B is about as large as A between interpolation and the best that was reached.
SCALE = 100.0


# %% [markdown]
# ## Data


# %%
def images(data: str, split: str) -> Source:
    """Return images in [0, 1], 64 by 64; any folder or zip file does, and digits are made large and coloured."""
    if data != "digits":
        return mr.data.load(data, split, crop=74, size=SIDE)
    source = mr.data.load(data, split)
    x = source.batch(torch.arange(min(32, len(source))))
    return as_source(F.interpolate(x, size=SIDE).expand(-1, 3, -1, -1).contiguous(), name=data, split=split)


def small(x: Tensor) -> Tensor:
    """Return images reduced four times, each pixel the mean of sixteen."""
    return F.avg_pool2d(x, FACTOR)


def large(low: Tensor) -> Tensor:
    """Enlarge by bicubic interpolation."""
    return F.interpolate(low, scale_factor=FACTOR, mode="bicubic", align_corners=False)


# %% [markdown]
# ## The network
# It adds detail to the bicubic enlargement, and has noise to make detail of.


# %%
class Residual(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        return x + self.body(x)


class Enlarger(nn.Module):
    """Four times larger; it knows of no lambda."""

    def __init__(self, width: int = 32, noise: int = 4) -> None:
        super().__init__()
        self.noise = noise
        self.features = nn.Sequential(
            nn.Conv2d(3 + noise, width, 3, padding=1), nn.ReLU(), *(Residual(width) for _ in range(3))
        )
        self.grow = nn.Sequential(nn.Conv2d(width, 64, 3, padding=1), nn.PixelShuffle(2), nn.ReLU())
        self.pixels = nn.Sequential(nn.Conv2d(16, 12, 3, padding=1), nn.PixelShuffle(2))
        with torch.no_grad():
            self.pixels[0].weight.mul_(0.1)  # starts near the bicubic enlargement

    def forward(self, low: Tensor) -> Tensor:
        """Return ``[B, 3, 64, 64]`` of ``[B, 3, 16, 16]``; the noise is drawn anew in each call."""
        noise = torch.randn(len(low), self.noise, *low.shape[2:])
        return large(low) + self.pixels(self.grow(self.features(torch.cat([low, noise], 1))))


def enlarger(width: int) -> Enlarger:
    """Return a network with the same random weights each time."""
    with seeded(0, "enlarger"):
        return Enlarger(width)


# %% [markdown]
# ## Two losses
# B compares a batch of enlarged images with the true ones as sets: no enlarged image is asked to be its own original.
# Each channel of four layers of EfficientNet-Lite0 has a mean and a standard deviation over images and places; B is the
# mean squared difference of these, in standard deviations of the true images. It is one number of a whole batch.


# %%
class Losses:
    """A and B of a batch of true images; the feature network in here is not part of the model that is trained."""

    def __init__(self) -> None:
        measuring: Any = feature_network(MeasureOptions()).module
        self.network = measuring.network.eval().requires_grad_(False)
        self._seen: list[Tensor] = []
        blocks = [module for module in self.network.modules() if type(module).__name__ == "MBConvBlock"]
        for block in (blocks[i] for i in (0, 2, 4, 10)):
            block.register_forward_hook(lambda _, args, output: self._seen.append(output))

    def __call__(self, network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return squared errors, ``[B]``, and the distance of the two sets, ``[]``."""
        enlarged = network(small(x))
        return (enlarged - x).square().flatten(1).sum(1), SCALE * self.distance(enlarged, x)

    def distance(self, enlarged: Tensor, true: Tensor) -> Tensor:
        """Return B without its scale."""
        with torch.no_grad():
            known = self._moments(true)
        parts = [
            ((mean - m) / (s + 1e-3)).square().mean() + ((std - s) / (s + 1e-3)).square().mean()
            for (mean, std), (m, s) in zip(self._moments(enlarged), known, strict=True)
        ]
        return torch.stack(parts).sum()

    def _moments(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        self._seen.clear()
        self.network.extract_features((255 * x - 127) / 128)
        maps = [seen.transpose(0, 1).flatten(1) for seen in self._seen]
        self._seen.clear()
        return [(values.mean(1), values.std(1)) for values in maps]


# %% [markdown]
# ## Training
# `TwoTerms` puts the two losses in the place of distortion and rate; `couples_examples` says that a batch has one
# lambda. Gradients grow with lambda: clipping keeps batches of large lambda from setting the pace of all.


# %%
def train(model: nn.Module, data: Source, epochs: int, **options: Any) -> nn.Module:
    """Train a network, gated or plain."""
    settings = {"batch_size": BATCH, "learning_rate": 1e-3, "clip_norm": 100.0, "seed": 0, "progress": False}
    mr.fit(model, data, epochs=epochs, **settings, **options)
    return model.eval()


def call(model: nn.Module, low: Tensor, weight: float) -> Tensor:
    """Enlarge at lambda, which a plain network does not ask for."""
    enlarged: Tensor = model(low, beta=weight) if isinstance(model, mr.MultiRate) else model(low)
    return enlarged


# %% [markdown]
# ## Measuring
# `mr.evaluate` gives A and B. The Frechet distance is of the last features of the same network, of images made twice as
# large; so it is not independent of B, which looks at earlier layers. Every lambda sees the same images and noise.


# %%
class Distance:
    """Frechet distance of enlarged test images from the true ones."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.network = feature_network(MeasureOptions())
        self.real = RealFeatures(self.network.features(x, 0.0, 1.0))

    @torch.no_grad()
    def __call__(self, model: nn.Module, weight: float) -> dict[str, float]:
        """Return the distance, and the PSNR of the mean squared error, at lambda."""
        with seeded(0, "measure"):
            enlarged = torch.cat([call(model, small(x), weight) for x in self.x.split(100)]).clamp(0, 1)
        psnr = -10 * math.log10(float((enlarged - self.x).square().mean()))
        distance = self.real.distance(self.network.features(enlarged, 0.0, 1.0))
        return {"psnr": psnr, "frechet_distance[efficientnet_lite0]": distance}


def measured(curve: mr.Curve, model: nn.Module, distance: Distance) -> mr.Curve:
    """Return a curve with the distance added to each point."""
    points = tuple(point | distance(model, point["beta"]) for point in curve.points)
    return dataclasses.replace(curve, points=points)


# %% [markdown]
# ## All of it


# %%
def main(data: str, epochs: int = 8, width: int = 32, out: str | None = None, weights: int = 8) -> mr.Curve:
    """Train one network for all lambdas and two for one each, measure, draw."""
    train_data, test = images(data, "train"), images(data, "test")
    distance, losses = Distance(test.batch(torch.arange(len(test)))), Losses()
    options: dict[str, Any] = {"batch_size": BATCH, "measures": (), "progress": False}

    both = mr.objectives.TwoTerms(enlarger(width), losses, couples_examples=True)
    model = mr.convert(both, RANGE, encoder=["module.features", "module.grow"], decoder=())
    print(model.plan)
    train(model, train_data, epochs)
    curve = mr.evaluate(model, test, betas=weights, label="one run", **options)
    curve = measured(curve, model, distance)
    print(curve, flush=True)

    alone = []
    for weight in DEDICATED:
        plain = mr.objectives.TwoTerms(enlarger(width), losses, couples_examples=True)
        train(plain, train_data, epochs, beta=weight)
        alone.append(measured(mr.evaluate(plain, test, beta=weight, label="dedicated", **options), plain, distance))
    dedicated = merge(alone)
    comparison = mr.compare(curve, dedicated)
    print(dedicated, comparison, sep="\n")
    bicubic = distance(Bicubic(), 0.0)
    print(f"bicubic: {bicubic}")
    if out is not None:
        write(Path(out), curve, dedicated, comparison, bicubic, model, distance.x[:8])
    return curve


class Bicubic(nn.Module):
    """Nothing but interpolation."""

    def forward(self, low: Tensor) -> Tensor:
        """Enlarge."""
        return large(low)


def write(
    out: Path,
    curve: mr.Curve,
    dedicated: mr.Curve,
    comparison: mr.Comparison,
    bicubic: dict[str, float],
    model: nn.Module,
    x: Tensor,
) -> None:
    """Write numbers and figures."""
    out.mkdir(parents=True, exist_ok=True)
    curve.save(out / "curve.json")
    dedicated.save(out / "dedicated.json")
    (out / "comparison.txt").write_text(f"{comparison}\n", encoding="utf-8")
    (out / "bicubic.json").write_text(json.dumps(bicubic, indent=1) + "\n", encoding="utf-8")
    save(trade_off(curve, dedicated), out / "perception.png")
    shown = [float(curve.betas[i]) for i in (0, len(curve) // 2, -1)]
    with torch.no_grad(), seeded(0, "measure"):
        strips = [large(small(x)), *(call(model, small(x), weight) for weight in shown), x]
    labels = ["16 by 16 pixels, bicubic", *(f"lambda {weight:.3g}" for weight in shown), "true"]
    save(image_grid(np.stack([strip.numpy() for strip in strips]), labels), out / "faces.png")


def trade_off(curve: mr.Curve, dedicated: mr.Curve) -> Any:
    """Draw B, and the Frechet distance, against the squared error."""
    names = {"rate": "B, distance of batches", "frechet_distance[efficientnet_lite0]": "Frechet distance"}
    with style():
        drawn = new_figure(9, 3.6)
        for axes, (name, label) in zip(drawn.subplots(1, 2), names.items(), strict=True):
            for line, mark, color, about in (
                (curve, "o-", MULTI_RATE_COLORS[0], "one run"),
                (dedicated, "s", BASELINE_COLORS[0], "dedicated, one run each"),
            ):
                axes.plot(line.distortions, line.values(name), mark, color=color, label=about)
                for point in line.points:
                    place = (point["distortion"], point[name])
                    axes.annotate(f"{point['beta']:.2g}", place, (4, 4), textcoords="offset points", fontsize=7)
            axes.set(xlabel="A, squared error of an image", ylabel=label)
        axes.legend()
    return drawn


# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Perception against distortion in super-resolution, in one run.")
    parser.add_argument("--data", required=True, help="digits, or a folder or zip file of images")
    parser.add_argument("--epochs", type=int, default=8, help="of each training")
    parser.add_argument("--width", type=int, default=32, help="channels of the network")
    parser.add_argument("--out", default=None, help="folder for numbers and figures")
    main(**vars(parser.parse_args()))
