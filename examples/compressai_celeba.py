"""One learned image codec for a range of lambda: CompressAI's scale hyperprior, with real files of five codecs."""

# %% [markdown]
# # One learned image codec for a range of lambda
#
# CompressAI's scale hyperprior is trained once for every lambda from 0.0018 to 0.0483. Its curve comes from its
# entropy model; five codecs are folded out of it and write real files, which a second copy decodes; two codecs trained
# for one lambda stand beside it.
#
#     python examples/compressai_celeba.py --out docs/integrations/compressai  # faces of CelebA
#     python examples/compressai_celeba.py --data digits --examples 64 --epochs 1 --channels 8 --latents 12

# %%
import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from compressai.models import ScaleHyperprior
from torch import Tensor, nn

import multirate as mr
from multirate.data import Source, as_source
from multirate.integrations import compressai as codecs
from multirate.merging import merge
from multirate.report.figures import image_grid
from multirate.report.style import BASELINE_COLORS, MULTI_RATE_COLORS, new_figure, save, style

FACES = "celeba/celeba_8k_89x109_jpeg.zip"
SIDE = 64
DEDICATED = (0.004, 0.022)


# %% [markdown]
# ## Data
# The centre of each face, 64 by 64, in [0, 1]. Any folder or zip file of images does; digits are made large and
# coloured.


# %%
def images(data: str, split: str, examples: int | None) -> Source:
    """Return the first images of a split."""
    if data != "digits":
        return mr.data.load(data, split, crop=74, size=SIDE)
    source = mr.data.load(data, split)
    x = source.batch(torch.arange(min(examples or len(source), len(source))))
    return as_source(F.interpolate(x, size=SIDE).expand(-1, 3, -1, -1).contiguous(), name=data, split=split)


# %% [markdown]
# ## Training
# `convert` gates every convolution of the four transforms. The model is called with lambda, and minimises R + lambda
# D: CompressAI's own loss, in nats. The auxiliary loss of its entropy bottleneck comes along as the terms' extra loss.


# %%
def hyperprior(channels: int, latents: int) -> ScaleHyperprior:
    """Return a small scale hyperprior, with the same random weights each time."""
    torch.manual_seed(0)
    return ScaleHyperprior(channels, latents)


def train(model: nn.Module, data: Source, epochs: int, **options: Any) -> nn.Module:
    """Train a codec and set the quantiles of its entropy bottleneck."""
    mr.fit(model, data, epochs=epochs, batch_size=8, learning_rate=1e-3, seed=0, progress=False, **options)
    codecs.settle(model)
    return model


# %% [markdown]
# ## Real files
# The encoder's codecs are folded out of the model, the decoder's out of a copy that was saved and loaded. A file says
# in its first byte which codec it is of.


# %%
def coded(sender: codecs.Codecs, receiver: codecs.Codecs, x: Tensor, codec: int) -> dict[str, float]:
    """Compress images, decompress them elsewhere, and measure the files."""
    files = sender.compress(x, codec)
    decoded = receiver.decompress(files)
    assert torch.equal(decoded, sender.decompress(files)), "encoder and decoder disagree"
    error = float((x - decoded).square().mean())
    octets = sum(len(file) for file in files) / len(files)
    return {"bytes": octets, "bpp": 8 * octets / (SIDE * SIDE), "psnr": -10 * math.log10(error)}


def reloaded(model: mr.MultiRate, channels: int, latents: int) -> mr.MultiRate:
    """Return the model as another machine would have it."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        return mr.load(folder, base=codecs.ImageCodec(ScaleHyperprior(channels, latents)))


# %% [markdown]
# ## All of it


# %%
def main(
    data: str = FACES,
    epochs: int = 6,
    channels: int = 32,
    latents: int = 48,
    examples: int | None = None,
    coded_images: int = 200,
    out: str | None = None,
) -> mr.Curve:
    """Train one model for all lambdas, measure it, write files with five codecs, compare with two dedicated ones."""
    train_data, test = (images(data, split, examples) for split in ("train", "test"))
    x = test.batch(torch.arange(min(coded_images, len(test))))

    model = codecs.convert(hyperprior(channels, latents))
    train(model, train_data, epochs)
    options = {"measures": (), "progress": False, "batch_size": 100}
    curve = mr.evaluate(model, test, betas=12, label="one run, estimated", **options)
    curve = codecs.with_bits(curve, SIDE * SIDE)
    print(curve)

    lambdas = model.beta_range.grid(5).tolist()
    sender, receiver = (codecs.Codecs(m, lambdas) for m in (model, reloaded(model, channels, latents)))
    estimated = codecs.with_bits(mr.evaluate(model, x, betas=lambdas, **options), SIDE * SIDE)
    files = []
    for codec, weight in enumerate(lambdas):
        believed = estimated.at(1 / weight)
        row = {"lambda": weight, **coded(sender, receiver, x, codec), "estimated_bpp": believed["bpp"]}
        row["estimated_psnr"] = believed["psnr"]
        files.append(row)
        print("codec", codec, *(f"{name} {value:.4g}" for name, value in row.items()))

    alone = []
    for weight in DEDICATED:
        plain = train(codecs.ImageCodec(hyperprior(channels, latents)), train_data, epochs, beta=1 / weight)
        alone.append(mr.evaluate(plain, test, beta=1 / weight, label="dedicated", **options))
    dedicated = codecs.with_bits(merge(alone), SIDE * SIDE)
    print(dedicated)
    comparison = mr.compare(curve, dedicated)
    print(comparison)
    if out is not None:
        write(Path(out), curve, dedicated, files, comparison, sender, x)
    return curve


def write(
    out: Path,
    curve: mr.Curve,
    dedicated: mr.Curve,
    files: list[dict[str, float]],
    comparison: mr.Comparison,
    sender: codecs.Codecs,
    x: Tensor,
) -> None:
    """Write curves, the files' sizes and the figures."""
    out.mkdir(parents=True, exist_ok=True)
    curve.save(out / "curve.json")
    dedicated.save(out / "dedicated.json")
    (out / "files.json").write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")
    (out / "comparison.txt").write_text(f"{comparison}\n", encoding="utf-8")
    save(figure(curve, dedicated, files), out / "bits.png")
    rows = [sender.decompress(sender.compress(x[:8], codec)) for codec in range(len(files))]
    labels = [f"{row['bpp']:.2f} bpp, {row['psnr']:.1f} dB" for row in files]
    shown = np.stack([row.numpy() for row in (x[:8], *rows[::-1])])
    save(image_grid(shown, ["original", *labels[::-1]]), out / "decoded.png")


def figure(curve: mr.Curve, dedicated: mr.Curve, files: list[dict[str, float]]) -> Any:
    """Draw PSNR against bits per pixel."""
    with style():
        drawn = new_figure(6, 4)
        axes = drawn.subplots()
        blue, orange = MULTI_RATE_COLORS[0], BASELINE_COLORS[0]
        axes.plot(curve.values("bpp"), curve.values("psnr"), color=blue, label="one run, estimated, whole test split")
        believed, real = ([(f[f"{kind}bpp"], f[f"{kind}psnr"]) for f in files] for kind in ("estimated_", ""))
        axes.plot(*zip(*believed, strict=True), "x", color=blue, label="its five codecs, estimated, coded images")
        axes.plot(*zip(*real, strict=True), "o", mfc="none", color=blue, label="their files, same images")
        axes.plot(dedicated.values("bpp"), dedicated.values("psnr"), "s", color=orange, label="dedicated, estimated")
        axes.set(xlabel="bits per pixel", ylabel="PSNR, dB")
        axes.legend()
    return drawn


# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One learned image codec for a range of lambda.")
    parser.add_argument("--data", default=FACES, help="digits, or a folder or zip file of images")
    parser.add_argument("--epochs", type=int, default=6, help="of each training")
    parser.add_argument("--channels", type=int, default=32, help="N of the hyperprior")
    parser.add_argument("--latents", type=int, default=48, help="M of the hyperprior")
    parser.add_argument("--examples", type=int, default=None, help="of digits, use so many images of each split")
    parser.add_argument("--coded-images", type=int, default=200, help="of the test split, written as files")
    parser.add_argument("--out", default=None, help="folder for curves and figures")
    main(**vars(parser.parse_args()))
