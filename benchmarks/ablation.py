"""What each way of being fast is worth: the multi-rate step with one of them taken away, or another in its place.

    python benchmarks/ablation.py                        # some five minutes

"without ..." switches off what is the default. "tried: ..." are ways that are not in the library, with the figure that
speaks against them. Over the default step of the same multi-rate model, all in turns.
"""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from unittest.mock import patch

import torch
from measuring import THREADS, compared, save, show, take_turns
from torch import Tensor
from training_step import SETTINGS, examples

import multirate as mr
from multirate import rectified
from multirate.maps import bends
from multirate.memory import keep_freed_memory
from multirate.objectives import by_name
from multirate.response import Response
from multirate.training.config import TrainConfig
from multirate.training.objective import ModelObjective
from multirate.training.optimizer import optimizer_for

ROUNDS = {"mlp": 200, "resnet": 15}


def without_fused_nonlinearity() -> AbstractContextManager[object]:
    """Leave the gates to autograd."""
    return patch.object(rectified.LastGated, "note", lambda *noted: None)


def product_in_blocks() -> AbstractContextManager[object]:
    """Work on a sixteenth of the examples at a time in the gates' backward, so that they stay in the cache."""
    return patch.object(rectified, "_summed_product", in_sixteenths)


def in_sixteenths(grad: Tensor, kept: Tensor, shape: torch.Size) -> Tensor:
    """Return the sum of the product, a few examples at a time."""
    rows = max(1, shape[0] // 16)
    blocks = zip(grad.split(rows), kept.split(rows), strict=True)
    return torch.cat([(g * k).sum_to_size(len(g), *shape[1:]) for g, k in blocks])


def elementwise_maps() -> AbstractContextManager[object]:
    """Add the features of the gates' maps one by one, each in one pass over all maps."""

    def one_by_one(response: Response, column: Tensor) -> Tensor:
        u = torch.addcmul(response.bias, column, response.weight)
        for bend, coefficients in zip(bends(column).split(1, dim=1), response.curvature, strict=True):
            u = torch.addcmul(u, bend, coefficients)
        return u

    return patch.object(Response, "_maps", one_by_one)


def step_of(name: str, channels_last: bool = True, fused: bool = True, betas: int | None = None) -> Callable[[], None]:
    """Return a function that takes one step of the multi-rate model.

    Args:
        name: of the setting.
        channels_last: layout of weights and images.
        fused: Adam in one kernel.
        betas: different betas of a step, each for as many consecutive examples; None for one an example.
    """
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = mr.convert(mr.models.build(name)).train().to(memory_format=layout)
    objective = by_name("beta-vae", dataset_size=60_000)
    module, optimizer = ModelObjective(model, objective), optimizer_for(model, TrainConfig())
    for group in optimizer.param_groups:
        group["fused"] = fused
    x, g = examples(SETTINGS[name]).contiguous(memory_format=layout), torch.Generator().manual_seed(1)

    def step() -> None:
        beta = mr.BetaRange().sample(betas or len(x), g)
        if betas is None:
            loss = module(x, beta)[0].mean()
        else:
            with model.at(beta):
                terms = model.base.terms(x)
            loss = objective(terms, beta.repeat_interleave(len(x) // betas)).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def within(context: Callable[[], AbstractContextManager[object]], step: Callable[[], None]) -> Callable[[], None]:
    """Return a step that runs inside a context."""

    def changed() -> None:
        with context():
            step()

    return changed


def variants(name: str) -> dict[str, Callable[[], None]]:
    """Return the default step, and those that differ from it in one thing."""
    default = step_of(name)
    changed = {
        "default": within(nullcontext, default),
        "without fused Adam": step_of(name, fused=False),
        "tried: maps feature by feature": within(elementwise_maps, default),
        "tried: 32 betas a step": step_of(name, betas=32),
        "tried: 8 betas a step": step_of(name, betas=8),
    }
    if name == "resnet":
        changed |= {
            "without channels-last": step_of(name, channels_last=False),
            "without fused gate and ReLU": within(without_fused_nonlinearity, default),
            "tried: gates' backward in blocks": within(product_in_blocks, default),
        }
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="timed steps of each, for both models")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    rows = []
    for name, rounds in ROUNDS.items():
        seconds = take_turns(variants(name), options.rounds or rounds)
        rows += [
            {"setting": f"{name}: {kind}"} | compared(seconds, kind, "default") for kind in seconds if kind != "default"
        ]
        show("over the default multi-rate step", rows)
    print(save("ablation", rows))


if __name__ == "__main__":
    main()
