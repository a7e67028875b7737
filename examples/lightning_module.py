"""A LightningModule of one's own, made multi-rate by three lines, and the curve logged after each epoch.

Run it: python examples/lightning_module.py --out runs/lightning (half a minute, nothing to download).
"""

# %% [markdown]
# # The curve while a LightningModule trains

# %%
import argparse
import dataclasses
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import multirate as mr
from multirate.integrations.lightning import CurveCallback
from multirate.report.figures import rate_distortion
from multirate.report.style import save
from multirate.training.optimizer import parameter_groups

# %% [markdown]
# ## The module
# Any VAE whose `terms(x)` returns rate and distortion, here a small built-in one. Three lines make the module
# multi-rate: `convert`, one beta an example, and the objective at these betas.


# %%
class DigitModule(L.LightningModule):
    """Trains a small VAE on digits, at every beta of a range at once."""

    def __init__(self, epochs: int = 20, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        vae = mr.models.mlp(shape=(1, 8, 8), latents=8, hidden=(128, 128))
        self.vae = mr.convert(vae, mr.BetaRange(0.01, 10.0))  # 1

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        (x,) = batch
        beta = self.vae.beta_range.sample(len(x)).to(x)  # 2
        loss = mr.objectives.beta_vae(self.vae.terms(x, beta=beta), beta).mean()  # 3
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> dict[str, object]:
        """Return Adam, with larger steps for the gates, and a decay to 0 over the last part."""
        optimizer = torch.optim.Adam(parameter_groups(self.vae, self.hparams.learning_rate), betas=(0.9, 0.99))
        steps = int(self.trainer.estimated_stepping_batches)
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2.5 * (1 - step / steps)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}


# %% [markdown]
# ## Training
# The callback measures test digits at eight betas after every epoch. Its numbers are ordinary logged metrics.


# %%
def main(epochs: int = 20, out: str = "runs/lightning") -> CurveCallback:
    """Train, and draw the curves of a few epochs."""
    train, test = mr.data.load("digits", "train"), mr.data.load("digits", "test")
    loader = DataLoader(
        TensorDataset(train.batch(torch.arange(len(train)))), batch_size=64, shuffle=True, drop_last=True
    )
    callback = CurveCallback(test, betas=8)
    L.seed_everything(0, verbose=False)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=CSVLogger(out, name="", version=""),
        callbacks=[callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10,
        default_root_dir=out,
    )
    trainer.fit(DigitModule(epochs), loader)
    shown = sorted({1, max(1, epochs // 4), epochs})
    curves = [dataclasses.replace(callback.curves[n], label=f"after epoch {n}") for n in shown]
    save(rate_distortion(curves), Path(out) / "epochs.png")
    print(callback.curve)
    return callback


# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A LightningModule, made multi-rate.")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", default="runs/lightning", help="folder of metrics.csv, curve.json and figures")
    main(**vars(parser.parse_args()))
