"""How far a folded model is from its best: ``python experiments/closing_the_gap/finetune.py MODEL --out FILE``.

A multi-rate model is folded at some betas and trained on at each of them for a while, all weights or one layer alone;
beside it the gates alone are, unfolded.
"""

import argparse
import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from recipe import load_split
from torch import Tensor, nn
from trial import measure

from multirate import fold, load
from multirate.convert import MultiRate
from multirate.errors import UsageError
from multirate.files import write_json
from multirate.seeding import generator, seeded
from multirate.wrapper import terms_at

_STEP_SIZE = 1e-3
_GATES_STEP_SIZE = 5e-3
_BATCH = 128


def tune(model: nn.Module, parameters: Iterable[nn.Parameter], x: Tensor, beta: float, steps: int, size: float) -> None:
    """Train some parameters at one beta, in place: Adam, ten steps of warm-up, a linear decay over the last 60%."""
    optimizer = torch.optim.Adam(list(parameters), betas=(0.9, 0.99), fused=True)
    source = generator(0, "finetune")
    with seeded(0, "finetune"):
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = size * min(1.0, (step + 1) / 10, (steps - step) / (0.6 * steps))
            batch = x[torch.randint(len(x), (_BATCH,), generator=source)]
            optimizer.zero_grad()
            terms_at(model, batch, beta).objective(beta).mean().backward()
            optimizer.step()


def finetuned(model: MultiRate, x: Tensor, test: Tensor, beta: float, steps: Sequence[int]) -> dict[str, Any]:
    """Return the test objective at one beta, nats per example, as it is and after training on there."""

    def objective(tuned: nn.Module) -> float:
        return measure(tuned, test, [beta])["objective"][0]

    gated = copy.deepcopy(model)
    tune(gated, gated.response.parameters(), x, beta, min(steps), _GATES_STEP_SIZE)
    record: dict[str, Any] = {"beta": beta, "start": objective(model), "gates": objective(gated), "all": {}, "one": {}}
    for number in steps:
        plain = fold(model, beta)
        tune(plain, plain.parameters(), x, beta, number, _STEP_SIZE)
        record["all"][str(number)] = objective(plain)
    paths = {name.rpartition(".")[0] for name, _ in fold(model, beta).named_parameters()}
    for path in sorted(paths):
        plain = fold(model, beta)
        tune(plain, plain.get_submodule(path).parameters(), x, beta, max(steps), _STEP_SIZE)
        record["one"][path] = objective(plain)
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Fold and train on at each beta, and write the objectives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a saved multi-rate model")
    parser.add_argument("--data", default="mnist", help="(%(default)s)")
    parser.add_argument("--examples", type=int, help="of each split; otherwise all")
    parser.add_argument("--betas", type=float, nargs="+", default=[0.01, 2.154435, 4.641589, 10.0])
    parser.add_argument("--steps", type=int, nargs="+", default=[200, 780], help="batches of 128 (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    chosen = parser.parse_args(arguments)
    model = load(chosen.model)
    if not isinstance(model, MultiRate):
        raise UsageError(f"{chosen.model} is not a multi-rate model")
    x, test = (load_split(chosen.data, split, chosen.examples)[0] for split in ("train", "test"))
    records = []
    for beta in chosen.betas:
        records.append(finetuned(model, x, test, beta, chosen.steps))
        print(records[-1], flush=True)
        write_json(chosen.out, {"steps": chosen.steps, "records": records})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
