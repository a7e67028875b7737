"""Three lines in a training loop of one's own: plain PyTorch, and the same loop under Hugging Face Accelerate.

Run it: python examples/own_loop.py (half a minute, nothing to download); with Accelerate: python examples/own_loop.py
--accelerate; in two processes: ACCELERATE_USE_CPU=true torchrun --nproc_per_node=2 examples/own_loop.py --accelerate.
"""

# %% [markdown]
# # A loop of one's own

# %%
import argparse
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DataLoaderConfiguration
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

import multirate as mr
from multirate.files import read_json, write_json
from multirate.report.figures import rate_distortion
from multirate.report.style import save
from multirate.seeding import generator
from multirate.training.objective import ModelObjective
from multirate.training.optimizer import parameter_groups
from multirate.training.schedules import learning_rate_factor, warmup_steps

BATCH = 64


def digits_loader(seed: int = 0) -> DataLoader:
    """Return shuffled batches of the digits that come with scikit-learn, in an order that the seed decides."""
    train = mr.data.load("digits", "train")
    images = TensorDataset(train.batch(torch.arange(len(train))))
    order = torch.Generator().manual_seed(seed)
    return DataLoader(images, batch_size=BATCH, shuffle=True, drop_last=True, generator=order)


def multirate_model(seed: int = 0) -> mr.MultiRate:
    """Return a small VAE, made multi-rate; any module with ``terms(x)`` does."""
    torch.manual_seed(seed)
    vae = mr.models.mlp(shape=(1, 8, 8), latents=8, hidden=(128, 128))
    return mr.convert(vae, mr.BetaRange(0.01, 10.0))


# %% [markdown]
# ## Three lines
# They are numbered. Everything else is a loop as one has it; `beta_range.sample` favours low betas as `mr.fit` does.


# %%
def plain_loop(epochs: int, seed: int = 0) -> mr.MultiRate:
    """Train in a plain loop, with Adam as it comes."""
    model, loader = multirate_model(seed), digits_loader(seed)  # 1: multirate_model converts
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    draws = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for (x,) in loader:
            beta = model.beta_range.sample(len(x), draws)  # 2
            loss = mr.objectives.beta_vae(model.terms(x, beta=beta), beta).mean()  # 3
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model


# %% [markdown]
# ## What `mr.fit` does beyond them
# Larger steps for the gates (`parameter_groups`), 0.99 for Adam's second constant, warm-up and decay of the step size.


# %%
def like_fit(model: torch.nn.Module, steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Return the optimizer of ``mr.fit`` and its schedule, which takes one step after each step of the optimizer."""
    config = mr.TrainConfig()
    warmup = warmup_steps(config, steps)
    groups = parameter_groups(model, config.learning_rate)
    optimizer = torch.optim.Adam(groups, betas=(0.9, config.adam_beta2), fused=True)
    return optimizer, LambdaLR(optimizer, lambda step: learning_rate_factor(min(step, steps), steps, warmup, config))


def better_loop(epochs: int, seed: int = 0) -> mr.MultiRate:
    """Train in a plain loop, with the optimizer of ``mr.fit``."""
    model, loader = multirate_model(seed), digits_loader(seed)
    optimizer, schedule = like_fit(model, epochs * len(loader))
    draws = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for (x,) in loader:
            beta = model.beta_range.sample(len(x), draws)
            loss = mr.objectives.beta_vae(model.terms(x, beta=beta), beta).mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return model


# %% [markdown]
# ## Accelerate
# Several processes wrap the model, and what they wrap must be called by its `forward`: `ModelObjective` makes terms and
# objective one. Draws of beta are keyed by epoch, batch and process: each process has its own, and a run that goes on
# from a state repeats them.


# %%
def accelerate_loop(
    epochs: int, seed: int = 0, *, states: str | Path | None = None, stop_after: int | None = None
) -> mr.MultiRate:
    """Train under Accelerate.

    Args:
        epochs: passes over the data.
        seed: of weights, data, betas and noise.
        states: folder of the states that are saved after each epoch; the newest one there is gone on from.
        stop_after: stop early, after so many epochs.
    """
    in_order = DataLoaderConfiguration(use_seedable_sampler=True)
    accelerator = Accelerator(dataloader_config=in_order)
    model, loader = multirate_model(seed), digits_loader(seed)
    beta_range = model.beta_range
    optimizer, schedule = like_fit(model, epochs * len(loader))
    step_of = ModelObjective(model, mr.objectives.beta_vae)  # objective, rate and distortion of a batch at its betas
    step_of, optimizer, loader, schedule = accelerator.prepare(step_of, optimizer, loader, schedule)
    saved = sorted(Path(states).glob("epoch-*")) if states is not None else []
    if saved:
        accelerator.load_state(str(saved[-1]))
    for epoch in range(len(saved), epochs if stop_after is None else stop_after):
        loader.set_epoch(epoch)
        for index, (x,) in enumerate(loader):
            draws = generator(seed, "beta", epoch, index, accelerator.process_index)
            beta = beta_range.sample(len(x), draws).to(x)
            objective, _, _ = step_of(x, beta)
            accelerator.backward(objective.mean())
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if states is not None:
            accelerator.save_state(str(Path(states) / f"epoch-{epoch + 1:03d}"))
    accelerator.wait_for_everyone()
    return accelerator.unwrap_model(step_of).model


# %% [markdown]
# ## The same objective
# Each way of training, measured on the same test digits with the same noise.


# %%
def main(epochs: int = 60, accelerate: bool = False, out: str | None = None) -> dict[str, mr.Curve]:
    """Train by the loops and by ``mr.fit``, or by Accelerate alone, and measure the curves."""
    if accelerate:
        model = accelerate_loop(epochs)
        models = {f"Accelerate, {PartialState().num_processes} x {BATCH}": model}
    else:
        models = {"three lines": plain_loop(epochs), "as mr.fit": better_loop(epochs), "mr.fit": multirate_model()}
        train = mr.data.load("digits", "train")
        mr.fit(models["mr.fit"], train, epochs=epochs, batch_size=BATCH, seed=0, progress=False, device="cpu")
    test = mr.data.load("digits", "test")
    curves = {name: mr.evaluate(model, test, betas=8, label=name) for name, model in models.items()}
    if PartialState().is_main_process:
        means = {name: float(curve.values("objective").mean()) for name, curve in curves.items()}
        for name, mean in means.items():
            print(f"{name:27} mean objective over 8 betas {mean:.2f} nats")
        if out is not None:
            keep(curves, means, Path(out))
    return curves


def keep(curves: dict[str, mr.Curve], means: dict[str, float], folder: Path) -> None:
    """Write the curve of the three lines, the figure of all curves, and the means beside those of earlier calls."""
    if "three lines" in curves:
        curves["three lines"].save(folder / "curve.json")
        save(rate_distortion(list(curves.values())), folder / "curves.png")
    measured = folder / "measured.json"
    before = read_json(measured) if measured.exists() else {}
    write_json(measured, {**before, **{name: round(mean, 4) for name, mean in means.items()}})


# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Three lines in a training loop of one's own.")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--accelerate", action="store_true", help="train under Accelerate")
    parser.add_argument("--out", default=None, help="folder for the curves")
    main(**vars(parser.parse_args()))
