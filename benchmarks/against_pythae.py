"""How much faster training is than by pythae 0.1.2, its `VAE` and its own trainer.

    python benchmarks/against_pythae.py [--rounds 10] [--models mlp resnet] [--variants default] [--data-dir DIR]

in an environment of its own, made in the root of the repository:

    python3 -m venv .venv-pythae
    .venv-pythae/bin/pip install torch==2.13.0
    .venv-pythae/bin/pip install -c constraints.txt -e . pythae==0.1.2

Both train on the same binary images of MNIST, in the same process, with the same threads, in batches of 128, shuffled,
by Adam. pythae's VAE gets the encoder and the decoder of our own VAE in its `BaseEncoder` and `BaseDecoder`; the script
checks that both have equally many parameters and, with the same noise, the same loss. What is timed, in turns, are
equally many steps of

- pythae: `BaseTrainer.train_step`, one pass of its loader over a data set of that size, as `BaseTrainer.train` calls
  it, with the trainer's defaults (no worker processes);
- plain: a plain beta-VAE, the steps and log lines of the loop in `multirate.fit`, with the defaults of `TrainConfig`;
- multi-rate: the same network converted.

What differs: pythae's progress bar is taken off, evaluation and the copy of the best model that it makes after each
epoch are not run, and neither are our validation and checkpoints; pythae fetches the loss after every step and we after
every `log_every`; its Adam is PyTorch's default one and ours the fused one; its loss is the cross-entropy of
probabilities and ours that of logits.

`multirate.fit` lets the process keep freed memory. pythae profits from that in the rows with a bar. The rows "as glibc"
are over pythae with the allocator as generous as glibc makes it by itself, which is what pythae's users have. Further
rows, with `--variants`, are of other settings of ours.
"""

import argparse
import ctypes
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from importlib.metadata import version
from typing import Any

import torch
from measuring import THREADS, compared, save, show, take_turns
from pythae.data.datasets import BaseDataset, DatasetOutput
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import ProgressBarCallback
from torch import Tensor, nn

import multirate as mr
from multirate.data import as_source
from multirate.memory import keep_freed_memory
from multirate.models import GaussianVAE
from multirate.seeding import preserved_rng, seeded
from multirate.training import TrainConfig
from multirate.training.devices import accelerator_for
from multirate.training.folder import RunFolder
from multirate.training.session import Session

BATCH = 128
STEPS = {"mlp": 40, "resnet": 4}
BARS = {"mlp": 1.5, "resnet": 1.15}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "contiguous": {"channels_last": False},
    "channels-last": {"channels_last": True},
    "compiled": {"compile": True},
    "compiled channels-last": {"compile": True, "channels_last": True},
}


# Parameters of glibc's mallopt, from malloc.h, and the highest thresholds that it comes to by itself.
GLIBC_AT_MOST = {-3: 32 << 20, -1: 64 << 20}
PYTHAE, AS_GLIBC = "pythae", "pythae, as glibc"


class Encoder(BaseEncoder):
    """Our encoder and heads, answering as pythae asks."""

    def __init__(self, vae: GaussianVAE) -> None:
        super().__init__()
        self.encoder, self.mean, self.log_variance = vae.encoder, vae.mean, vae.log_variance

    def forward(self, x: Tensor) -> ModelOutput:
        """Return the posterior's mean and log-variance."""
        features = self.encoder(x)
        return ModelOutput(embedding=self.mean(features), log_covariance=self.log_variance(features))


class Decoder(BaseDecoder):
    """Our stem, decoder and output layer, answering as pythae asks, with probabilities."""

    def __init__(self, vae: GaussianVAE) -> None:
        super().__init__()
        self.stem = nn.Identity() if vae.stem is None else vae.stem
        self.decoder, self.output, self.shape = vae.decoder, vae.output, vae.shape

    def forward(self, z: Tensor) -> ModelOutput:
        """Return the likelihood's mean."""
        logits = self.output(self.decoder(self.stem(z)))
        return ModelOutput(reconstruction=logits.sigmoid().reshape(z.shape[0], *self.shape))


def in_pythae(vae: GaussianVAE) -> VAE:
    """Return pythae's VAE with a copy of the same network."""
    copy = deepcopy(vae)
    config = VAEConfig(input_dim=vae.shape, latent_dim=vae.latents, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(copy), decoder=Decoder(copy))


def check_equal(vae: GaussianVAE, theirs: VAE, x: Tensor) -> int:
    """Raise unless both have as many parameters and the same loss; return the number of parameters."""
    ours, others = (sum(weight.numel() for weight in model.parameters()) for model in (vae, theirs))
    assert ours == others, (ours, others)
    with torch.no_grad(), seeded(1):
        terms = vae.terms(x)
    with torch.no_grad(), seeded(1):
        loss = theirs(DatasetOutput(data=x)).loss
    torch.testing.assert_close((terms.rate + terms.distortion).mean(), loss, rtol=1e-5, atol=0.0)
    return ours


def steps_of_pythae(theirs: VAE, images: Tensor, folder: str) -> Callable[[], object]:
    """Return one pass of pythae's trainer over the images."""
    config = BaseTrainerConfig(output_dir=folder, per_device_train_batch_size=BATCH, num_epochs=1, no_cuda=True)
    trainer = BaseTrainer(theirs, BaseDataset(images, torch.zeros(len(images))), training_config=config)
    trainer.prepare_training()
    handler = trainer.callback_handler
    handler.callbacks = [each for each in handler.callbacks if not isinstance(each, ProgressBarCallback)]
    return lambda: trainer.train_step(epoch=1)


def as_glibc(run: Callable[[], object]) -> Callable[[], object]:
    """Return the same with the allocator as glibc makes it by itself."""
    mallopt = ctypes.CDLL(None).mallopt

    def with_its_thresholds() -> None:
        for parameter, value in GLIBC_AT_MOST.items():
            mallopt(parameter, value)
        run()
        keep_freed_memory()

    return with_its_thresholds


def steps_of_ours(session: Session, steps: int) -> Callable[[], object]:
    """Return so many turns of the loop in `multirate.fit`."""
    session.model.train()

    def run() -> None:
        for _ in range(steps):
            session.take_step()
            if session.log_is_due():
                session.log()

    return run


def measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Let pythae and all of our variants take turns and return a row for each of ours."""
    steps, calls = STEPS[name], options.rounds + options.warmup
    images = mr.data.load("mnist", "train", data_dir=options.data_dir).batch(torch.arange(steps * BATCH))
    with seeded(0):
        vae = mr.models.build(name)
    theirs = in_pythae(vae)
    parameters = check_equal(vae, theirs, images[:BATCH])
    bases = {"plain": vae, "multi-rate": mr.convert(vae, mr.BetaRange(0.01, 10.0))}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(preserved_rng())
        turns = {PYTHAE: steps_of_pythae(theirs, images, folder)}
        if keep_freed_memory():
            turns[AS_GLIBC] = as_glibc(turns[PYTHAE])
        for variant in options.variants:
            config = TrainConfig(epochs=calls, batch_size=BATCH, device="cpu", **VARIANTS[variant])
            accelerator = stack.enter_context(accelerator_for(config))
            for kind, base in bases.items():
                data = as_source(images)
                session = Session(deepcopy(base), data, None, config, RunFolder(None), accelerator)
                turns[f"{kind}, {variant}"] = steps_of_ours(session, steps)
        seconds = take_turns(turns, options.rounds, options.warmup)
    rows = []
    for pythae in [turn for turn in turns if turn in (PYTHAE, AS_GLIBC)]:
        for ours in [turn for turn in turns if turn not in (PYTHAE, AS_GLIBC)]:
            row = compared(seconds, pythae, ours)
            images_a_second = {each: steps * BATCH / row["seconds"][each]["median"] for each in (pythae, ours)}
            about = {
                "setting": f"{name}: {ours} over {pythae}",
                "model": name,
                "steps": steps,
                "parameters": parameters,
            }
            bar = {"bar": f">= {BARS[name]:g}"} if pythae == PYTHAE else {}
            rows.append({**about, **row, **bar, "images_a_second": images_a_second})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--models", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=["default"])
    parser.add_argument("--data-dir", help="folder of the data sets; by default MULTIRATE_DATA")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    rows = [row for name in options.models for row in measure(name, options)]
    show("throughput over pythae's", rows)
    save("against_pythae", rows, batch=BATCH, pythae=version("pythae"))


if __name__ == "__main__":
    main()
