"""What is left of the gates where nothing is trained: a folded model, one beta for a batch, a curve of 20 betas.

    python benchmarks/inference.py                           # some ten minutes
    python benchmarks/inference.py --settings mlp --rounds 5

All run in evaluation mode and without gradients. A curve is measured by ``multirate.evaluate`` over 10,000 images in
batches of 500; beside it 20 passes of the plain model's terms over the same batches.
"""

import argparse
from collections.abc import Callable

import torch
from measuring import THREADS, compared, save, show, take_turns

import multirate as mr
from multirate.memory import keep_freed_memory

BATCHES = {"mlp": (128, 500), "convnet": (128,), "resnet": (128, 500)}
CALLS = {"mlp": 200, "convnet": 12, "resnet": 30}
CURVES = {"mlp": 5, "resnet": 1}
IMAGES, BATCH, BETAS = 10_000, 500, 20


def models(name: str) -> tuple[torch.nn.Module, mr.MultiRate, torch.nn.Module]:
    """Return a plain model, a multi-rate one, and that one folded."""
    torch.manual_seed(0)
    plain = mr.models.build(name).eval().to(memory_format=torch.channels_last)
    model = mr.convert(plain).eval()
    return plain, model, mr.fold(model, 0.5)


def images(count: int) -> torch.Tensor:
    """Return random strokes, ``[count, 1, 28, 28]``."""
    return (torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.2).float()


def calls(name: str, batch: int) -> dict[str, Callable[[], object]]:
    """Return one call of each model."""
    plain, model, folded = models(name)
    x = images(batch)
    return {
        "plain": torch.no_grad()(lambda: plain.terms(x)),
        "folded": torch.no_grad()(lambda: folded.terms(x)),
        "multi-rate": torch.no_grad()(lambda: model.terms(x, beta=0.5)),
    }


def curves(name: str) -> dict[str, Callable[[], object]]:
    """Return a curve, and as many passes of the plain model."""
    plain, model, _ = models(name)
    x = images(IMAGES)

    def passes() -> None:
        with torch.no_grad():
            for _ in range(BETAS):
                for part in x.split(BATCH):
                    plain.terms(part)

    return {"plain": passes, "curve": lambda: mr.evaluate(model, x, BETAS, batch_size=BATCH, progress=False)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=BATCHES, default=list(BATCHES))
    parser.add_argument("--rounds", type=int, help="timed calls of each, for all settings")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    rows = []
    for name in options.settings:
        for batch in BATCHES[name]:
            seconds = take_turns(calls(name, batch), options.rounds or CALLS[name])
            for kind, bar in (("folded", "1.00"), ("multi-rate", "1.02")):
                setting = {"setting": f"{name}, {kind}, batch {batch}", "bar": bar}
                rows.append(setting | compared(seconds, kind, "plain"))
        if name in CURVES:
            seconds = take_turns(curves(name), options.rounds or CURVES[name], warmup=0 if name == "resnet" else 1)
            rows.append(
                {"setting": f"{name}, curve of {BETAS} betas", "bar": "1.05"} | compared(seconds, "curve", "plain")
            )
        show("inference over the plain model's", rows)
    print(save("inference", rows))


if __name__ == "__main__":
    main()
