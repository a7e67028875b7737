"""A pretrained ``AutoencoderKL`` of diffusers, fine-tuned into one model of every KL weight from 1e-7 to 1.

Run it: python examples/diffusers_autoencoder.py --out runs/autoencoder-kl (CelebA, a quarter of an hour of one core).
Nothing to download, in half a minute: python examples/diffusers_autoencoder.py --data digits --epochs 1 --examples 200
A model of your own: add --pretrained FOLDER, and --data with a folder or zip file of images.
"""

# %% [markdown]
# # A pretrained KL autoencoder, made multi-rate
#
# A plain `AutoencoderKL` is trained at latent diffusion's KL weight of 1e-6, converted so that it computes there what
# it computed before, and fine-tuned into one model of every beta from 1e-7 to 1. One of them is folded out for
# diffusers.

# %%
import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from matplotlib.figure import Figure
from torch import Tensor, nn

import multirate as mr
from multirate.data import Source, as_source
from multirate.images import reconstructions
from multirate.integrations import diffusers as kl
from multirate.merging import merge
from multirate.metrics.features import feature_network
from multirate.metrics.options import MeasureOptions
from multirate.report.figures import image_grid, rate_distortion
from multirate.report.style import save
from multirate.training.optimizer import parameter_groups

BASE_BETA = 1e-6
BETA_RANGE = mr.BetaRange(1e-7, 1.0)
DEDICATED = (1e-6, 0.1)
SHOWN = (1e-7, 1e-5, 1e-2, 0.1, 0.3, 1.0)
OPTIONS = {"batch_size": 32, "seed": 0, "progress": False, "device": "cpu"}
FACES = "celeba/celeba_8k_89x109_jpeg.zip"


# %% [markdown]
# ## Data and the plain model
# Images in [-1, 1], as diffusers has them. Faces are cut to their centre and made small; any folder or zip file of
# images does.


# %%
def images(data: str, split: str, size: int, examples: int | None) -> Source:
    """Return the first images of a split, in [-1, 1]."""
    options = {} if data == "digits" else {"crop": 74, "size": size}
    source = mr.data.load(data, split, **options)
    count = len(source) if examples is None else min(examples, len(source))
    return as_source(source.batch(torch.arange(count)) * 2 - 1, name=Path(data).stem, split=split)


def plain_autoencoder(shape: tuple[int, ...]) -> AutoencoderKL:
    """Return a small AutoencoderKL with random weights: 4 latent channels of a quarter of the side, or half of it."""
    channels, side = shape[0], shape[-1]
    widths = (16, 32, 32) if side >= 32 else (16, 32)
    torch.manual_seed(0)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=side,
    )


# %% [markdown]
# ## Three trainings
# `adapt` gives the plain model rate and distortion, so that `mr.fit` trains it at one beta; `convert` makes it
# multi-rate.


# %%
def train(vae: AutoencoderKL, beta: float, data: Source, epochs: int) -> AutoencoderKL:
    """Train a plain model in place at one beta."""
    mr.fit(kl.adapt(vae), data, beta=beta, epochs=epochs, **OPTIONS)
    return vae


def fine_tune(vae: AutoencoderKL, data: Source, epochs: int) -> mr.MultiRate:
    """Make a trained model multi-rate; at BASE_BETA it starts as what it was."""
    model = kl.convert(vae, BETA_RANGE, preserve_at=BASE_BETA)
    mr.fit(model, data, epochs=epochs, **OPTIONS)
    return model


def copied(vae: AutoencoderKL) -> AutoencoderKL:
    """Return a copy of a model."""
    twin = AutoencoderKL.from_config(vae.config)
    twin.load_state_dict(vae.state_dict())
    return twin


# %% [markdown]
# ## Perceptual and adversarial losses
# `extra` takes data and reconstruction and gives one number an example, which is added to the objective as it is. The
# discriminator learns in the same loop, one of your own, and belongs to nobody's state dict but its own.


# %%
def perceptual(size: int = 64) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the squared distance of ImageNet features of images in [-1, 1], one number an example."""
    network = feature_network(MeasureOptions(feature_network="efficientnet_lite0", feature_size=size)).module
    network.requires_grad_(False).eval()

    def features(x: Tensor) -> Tensor:
        found: Tensor = network(F.interpolate((x + 1) * 127.5, (size, size), mode="bilinear").expand(-1, 3, -1, -1))
        return found

    return lambda x, reconstruction: (features(x) - features(reconstruction)).square().sum(1)


def discriminator(channels: int) -> nn.Module:
    """Return a small network that tells data from reconstructions, one logit an example."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 1),
    )


def sharpen(
    model: mr.MultiRate, data: Source, steps: int, features: Callable[[Tensor, Tensor], Tensor] | None
) -> list[float]:
    """Train a multi-rate model further, against a discriminator and on features too.

    Returns:
        The discriminator's loss at each step.
    """
    judge = discriminator(data.shape[0])

    def extra(x: Tensor, reconstruction: Tensor) -> Tensor:
        fooled = F.softplus(-judge(reconstruction)).squeeze(1)
        return 10.0 * fooled if features is None else 10.0 * fooled + features(x, reconstruction)

    model.base.extra = extra
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(parameter_groups(model, learning_rate=2e-4), betas=(0.5, 0.9))
    of_judge = torch.optim.Adam(judge.parameters(), lr=2e-4, betas=(0.5, 0.9))
    losses = []
    for _ in range(steps):
        x = data.batch(torch.randint(len(data), (32,), generator=generator))
        beta = model.beta_range.sample(len(x), generator=generator)
        terms = model.terms(x, beta=beta)
        mr.objectives.beta_vae(terms, beta).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        of_judge.zero_grad()  # it got gradients as the model's opponent
        made = terms.reconstruction.likelihood.mean.detach()
        loss = (F.softplus(-judge(x)) + F.softplus(judge(made))).mean()
        loss.backward()
        of_judge.step()
        losses.append(float(loss.detach()))
    model.base.extra = None  # curves measure rate and distortion alone
    return losses


# %% [markdown]
# ## All of it


# %%
def main(
    data: str = FACES,
    size: int = 32,
    epochs: int = 4,
    out: str | None = None,
    pretrained: str | None = None,
    examples: int | None = None,
    sharpening: int = 60,
) -> mr.Curve:
    """Pretrain, make multi-rate, measure, compare, fold, sharpen."""
    train_data, test = (images(data, split, size, examples) for split in ("train", "test"))
    if pretrained is None:
        vae = train(plain_autoencoder(train_data.shape), BASE_BETA, train_data, epochs)
    else:
        vae = AutoencoderKL.from_pretrained(pretrained)

    before = mr.evaluate(kl.adapt(vae), test, beta=BASE_BETA, label="before fine-tuning", progress=False)
    print(before)
    model = fine_tune(vae, train_data, epochs)
    curve = mr.evaluate(model, test, betas=15, label="multi-rate AutoencoderKL", progress=False)
    print(curve)

    tuned = {beta: train(copied(vae), beta, train_data, epochs) for beta in DEDICATED}
    dedicated = merge(
        [
            mr.evaluate(kl.adapt(tuned[beta]), test, beta=beta, label="dedicated AutoencoderKL", progress=False)
            for beta in DEDICATED
        ]
    )
    comparison = mr.compare(curve, dedicated)
    print(comparison)

    beta = curve.beta_for(rate=float(curve.rates[[0, -1]].mean()))
    plain = kl.fold(model, beta)
    plain.register_to_config(scaling_factor=kl.scaling_factor(plain, test, examples=200))
    x = test.batch(torch.arange(8))
    agree = torch.allclose(plain.encode(x).latent_dist.mean, _encoded(model, x, beta), atol=1e-4)
    print(f"folded at beta {beta:.3g}, scaling factor {plain.config.scaling_factor:.3f}; agrees: {agree}")
    if out is not None:
        write(Path(out), vae, model, plain, curve, dedicated, comparison, x)
    if sharpening:
        sharpened(model, train_data, test, sharpening, Path(out) if out else None)
    return curve


def sharpened(model: mr.MultiRate, train_data: Source, test: Source, steps: int, out: Path | None) -> None:
    """Train further with both extra losses, and say what became of features and of the curve."""
    distance = perceptual() if train_data.shape[0] == 3 else None
    x, betas = test.batch(torch.arange(min(64, len(test)))), SHOWN[::2]

    def distances() -> list[str]:
        if distance is None:
            return []
        rows = torch.from_numpy(reconstructions(model, x, betas))
        return [f"{float(distance(x, row).mean()):.1f}" for row in rows]

    before = distances()
    losses = sharpen(model, train_data, steps, distance)
    print(f"{steps} steps against a discriminator, whose loss went from {losses[0]:.2f} to {losses[-1]:.2f}")
    print(f"distance of features at beta {', '.join(f'{b:g}' for b in betas)}: {before} before, {distances()} after")
    if out is not None:
        save(strips(model, x[:8]), out / "sharpened.png")


def _encoded(model: mr.MultiRate, x: Tensor, beta: float) -> Tensor:
    with model.at(beta):
        mean: Tensor = model.base.vae.encode(x).latent_dist.mean
    return mean


def strips(model: mr.MultiRate, x: Tensor) -> Figure:
    """Draw images and their reconstructions, a row a beta."""
    rows, inputs = (torch.as_tensor(row) / 2 + 0.5 for row in (reconstructions(model, x, SHOWN), x))
    return image_grid(rows.numpy(), SHOWN, inputs=inputs.numpy())


def write(
    out: Path,
    vae: AutoencoderKL,
    model: mr.MultiRate,
    plain: AutoencoderKL,
    curve: mr.Curve,
    dedicated: mr.Curve,
    comparison: mr.Comparison,
    x: Tensor,
) -> None:
    """Write models, curves and figures."""
    vae.save_pretrained(out / "pretrained")
    plain.save_pretrained(out / "folded")
    model.save(out / "multirate")
    curve.save(out / "curve.json")
    dedicated.save(out / "dedicated.json")
    (out / "comparison.txt").write_text(f"{comparison}\n", encoding="utf-8")
    save(rate_distortion(curve, dedicated), out / "rate_distortion.png")
    save(strips(model, x), out / "reconstructions.png")


# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A KL autoencoder of diffusers, made multi-rate.")
    parser.add_argument("--data", default=FACES, help="digits, or a folder or zip file of images")
    parser.add_argument("--size", type=int, default=32, help="side of the images")
    parser.add_argument("--epochs", type=int, default=4, help="of each training")
    parser.add_argument("--examples", type=int, default=None, help="use so many images of each split")
    parser.add_argument("--pretrained", default=None, help="folder of an AutoencoderKL, in place of training one")
    parser.add_argument("--sharpening", type=int, default=60, help="steps with perceptual and adversarial losses")
    parser.add_argument("--out", default=None, help="folder for models, curves and figures")
    main(**vars(parser.parse_args()))
