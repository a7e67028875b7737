"""A pythae BetaVAE with one's own encoder and decoder, trained once for every beta, and back in pythae.

Run it: python examples/pythae_digits.py --out runs/pythae (scikit-learn's digits, nothing to download, a minute).
On MNIST, a quarter of an hour: python examples/pythae_digits.py --data mnist --epochs 8 --out runs/pythae
"""

# %% [markdown]
# # A pythae model at every beta
#
# Encoder and decoder are written as pythae wants them. The multi-rate model is trained by `mr.fit`; at a few betas,
# models that pythae's own trainer made, in as many epochs, stand beside it.

# %%
import argparse
import logging
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import AutoModel, BetaVAE, BetaVAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.samplers import NormalSampler
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

import multirate as mr
from multirate.integrations import pythae as integration
from multirate.merging import merge
from multirate.report.figures import image_grid, rate_distortion
from multirate.report.style import save
from multirate.seeding import seeded

BETA_RANGE = mr.BetaRange(0.01, 10.0)
BATCH_SIZE = 128


# %% [markdown]
# ## Encoder and decoder


# %%
class Encoder(BaseEncoder):
    """Two hidden layers, and a head each for mean and log-variance."""

    def __init__(self, pixels: int, latents: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())
        self.fc_mu = nn.Linear(256, latents)
        self.fc_var = nn.Linear(256, latents)

    def forward(self, x: Tensor) -> ModelOutput:
        """Return mean and log-variance of the posterior, ``[B, Z]``."""
        hidden = self.layers(x)
        return ModelOutput(embedding=self.fc_mu(hidden), log_covariance=self.fc_var(hidden))


class Decoder(BaseDecoder):
    """The way back, to probabilities of pixels."""

    def __init__(self, shape: tuple[int, ...], latents: int) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.Sequential(nn.Linear(latents, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU())
        self.pixels = nn.Linear(512, math.prod(shape))

    def forward(self, z: Tensor) -> ModelOutput:
        """Return probabilities, ``[B, *shape]``."""
        return ModelOutput(reconstruction=self.pixels(self.layers(z)).sigmoid().reshape(-1, *self.shape))


def new_model(shape: tuple[int, ...], latents: int, beta: float = 1.0) -> BetaVAE:
    """Return an untrained model, always the same one."""
    config = BetaVAEConfig(input_dim=shape, latent_dim=latents, reconstruction_loss="bce", beta=beta)
    with seeded(0, "weights"):
        return BetaVAE(config, encoder=Encoder(math.prod(shape), latents), decoder=Decoder(shape, latents))


# %% [markdown]
# ## Models of one beta, to compare with
# By pythae's trainer: Adam at 1e-3, which falls to 0 along a line, epoch by epoch; everything else is its default. Or
# by `mr.fit`, whose optimizer is that of the multi-rate model.


# %%
def by_pythae(shape: tuple[int, ...], latents: int, beta: float, data: Tensor, epochs: int) -> BetaVAE:
    """Train a model as pythae does."""
    model = new_model(shape, latents, beta)
    with tempfile.TemporaryDirectory() as folder, seeded(0, "pythae"):
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            learning_rate=1e-3,
            per_device_train_batch_size=BATCH_SIZE,
            scheduler_cls="LinearLR",
            scheduler_params={"start_factor": 1.0, "end_factor": 0.0, "total_iters": epochs},
            no_cuda=True,
        )
        logging.disable(logging.INFO)  # pythae says every setting, and every module of it has a logger of its own
        try:
            BaseTrainer(model, BaseDataset(data, torch.zeros(len(data))), training_config=config).train()
        finally:
            logging.disable(logging.NOTSET)
    return model.eval()


def by_multirate(shape: tuple[int, ...], latents: int, beta: float, data: Tensor, epochs: int) -> BetaVAE:
    """Train a model by multirate's loop."""
    model = new_model(shape, latents, beta)
    mr.fit(integration.adapt(model), data, beta=beta, epochs=epochs, batch_size=BATCH_SIZE, seed=0, progress=False)
    return model.eval()


TRAINERS = {"pythae": by_pythae, "multirate": by_multirate}


# %% [markdown]
# ## All of it


# %%
def main(
    data: str = "digits",
    epochs: int = 30,
    betas: int = 15,
    dedicated: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
    trainer: str = "pythae",
    latents: int = 32,
    rate: float | None = None,
    out: str | None = None,
) -> mr.Curve:
    """Train, measure, compare, and give the model of one rate back to pythae."""
    train, test = mr.data.load(data, "train"), mr.data.load(data, "test")

    multi = integration.convert(new_model(train.shape, latents), BETA_RANGE)
    print(multi.plan)
    mr.fit(multi, train, epochs=epochs, batch_size=BATCH_SIZE, seed=0, progress=False)
    curve = mr.evaluate(multi, test, betas=betas, progress=False)
    print(curve)

    everything = train.batch(torch.arange(len(train)))
    single = []
    for beta in dedicated:
        plain = integration.adapt(TRAINERS[trainer](train.shape, latents, beta, everything, epochs))
        single.append(mr.evaluate(plain, test, beta=beta, label=f"BetaVAE, {trainer}'s trainer", progress=False))
    family = merge(single)
    print(mr.compare(curve, family))

    beta = curve.beta_for(rate=float(curve.rates[[0, -1]].mean()) if rate is None else rate)
    folded = integration.fold(multi, beta)
    x = test.batch(torch.arange(10))
    with tempfile.TemporaryDirectory() as place, torch.no_grad(), seeded(0, "pythae's methods"):
        folded.save(place)
        again = AutoModel.load_from_folder(place)
        agree = torch.allclose(again.predict(x).recon_x, multi(x, beta=beta), atol=1e-5)
        drawn = NormalSampler(model=again).sample(num_samples=10, batch_size=10)
        between = again.interpolate(x[:1], x[1:2], granularity=10)[0]
        pictures = torch.stack([again.reconstruct(x), between, drawn.cpu()])
    print(f"beta {beta:.3f}: pythae's reloaded {type(again).__name__} agrees: {agree}")

    if out is not None:
        curve.save(Path(out) / "curve.json")
        family.save(Path(out) / f"dedicated-{trainer}.json")
        save(rate_distortion(curve, family), Path(out) / "rate_distortion.png")
        shown = torch.stack([multi(x, beta=one).detach() for one in (0.01, 0.1, 1.0, 10.0)])
        save(image_grid(shown.numpy(), (0.01, 0.1, 1.0, 10.0), inputs=x.numpy()), Path(out) / "reconstructions.png")
        title = f"pythae's reconstruct, interpolate and NormalSampler at beta {beta:.2g}"
        save(image_grid(pictures.numpy(), [beta] * 3, title=title), Path(out) / "methods.png")
    return curve


# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A pythae model at every beta")
    parser.add_argument("--data", default="digits", help="a data set of multirate, a folder of images, an array")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--betas", type=int, default=15)
    parser.add_argument("--dedicated", type=float, nargs="*", default=[0.01, 0.1, 1.0, 10.0], metavar="BETA")
    parser.add_argument("--trainer", default="pythae", choices=list(TRAINERS), help="of the dedicated models")
    parser.add_argument("--latents", type=int, default=32)
    parser.add_argument("--rate", type=float, help="nats of the model that goes back to pythae")
    parser.add_argument("--out")
    main(**vars(parser.parse_args()))
