"""What a multi-rate model's training step costs over a plain one's: time, for each of the built-in models.

    python benchmarks/training_step.py                       # all of them, some ten minutes
    python benchmarks/training_step.py --settings mlp resnet --rounds 40

Both step through the training loop's own objective and optimizer, on random batches: forward, backward, Adam. The
plain model has beta 1, the multi-rate one a fresh beta for each example, or one a step where its layers are recurrent.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
from measuring import THREADS, compared, save, show, take_turns
from torch import Tensor

import multirate as mr
from multirate.memory import keep_freed_memory
from multirate.objectives import by_name
from multirate.training.config import TrainConfig
from multirate.training.objective import ModelObjective, one_beta_a_step
from multirate.training.optimizer import optimizer_for


@dataclass(frozen=True)
class Setting:
    """A model, its data, and what its ratio should not exceed."""

    model: str
    bar: float
    rounds: int
    batch: int = 128
    compiled: bool = False
    response: str = "default"


SETTINGS = {
    "mlp": Setting("mlp", 1.08, 400),
    "mlp, compiled": Setting("mlp", 1.08, 400, compiled=True),
    "resnet": Setting("resnet", 1.03, 30),
    "resnet, paper's gates": Setting("resnet", 1.03, 30, response="paper"),
    "resnet, compiled": Setting("resnet", 1.03, 30, compiled=True),
    "convnet": Setting("convnet", 1.03, 10),
    "convnet, compiled": Setting("convnet", 1.03, 10, compiled=True),
    "lstm": Setting("lstm", 1.05, 15, batch=32),
    "nvae, small": Setting("nvae", 1.05, 15),
    "nvae, small, compiled": Setting("nvae", 1.05, 15, compiled=True),
}


def examples(setting: Setting) -> Tensor:
    """Return a batch like the model's data: strokes of binary pixels, or sentences of 20 to 40 words."""
    g = torch.Generator().manual_seed(0)
    if setting.model != "lstm":
        x = (torch.rand(setting.batch, 1, 28, 28, generator=g) < 0.2).float()
        return x.contiguous(memory_format=torch.channels_last)
    from multirate.data.vocabulary import END, PAD

    x = torch.randint(END + 1, 10_000, (setting.batch, 41), generator=g)
    for row, length in enumerate(torch.randint(20, 41, (setting.batch,), generator=g).tolist()):
        x[row, length] = END
        x[row, length + 1 :] = PAD
    return x


def stepping(setting: Setting, multirate: bool) -> Callable[[], None]:
    """Return a function that takes one step of training."""
    torch.manual_seed(0)
    model = mr.models.build(setting.model)
    if multirate:
        model = mr.convert(model, response=setting.response)
    model = model.train().to(memory_format=torch.channels_last)
    objective = by_name("beta-vae", dataset_size=60_000)
    module, optimizer = ModelObjective(model, objective), optimizer_for(model, TrainConfig())
    if setting.compiled:
        module.compile()
    x, g = examples(setting), torch.Generator().manual_seed(1)
    one = one_beta_a_step(model, objective)

    def step() -> None:
        beta = mr.BetaRange().sample(1 if one else len(x), g) if multirate else torch.ones(len(x))
        module(x, beta[0] if multirate and one else beta)[0].mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--rounds", type=int, help="timed steps of each, for all settings")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    rows = []
    for name in options.settings:
        setting = SETTINGS[name]
        torch.compiler.reset()
        variants = {kind: stepping(setting, kind == "multi-rate") for kind in ("plain", "multi-rate")}
        seconds = take_turns(variants, options.rounds or setting.rounds)
        rows.append(
            {"setting": name, "bar": f"{setting.bar:g}", "batch": setting.batch}
            | compared(seconds, "multi-rate", "plain")
        )
        show("training step, multi-rate over plain", rows[-1:])
    print(save("training_step", rows))


if __name__ == "__main__":
    main()
