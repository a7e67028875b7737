"""Latents in use at each beta, one run against dedicated ones: ``python .../latents_used.py SEED_FOLDER --out FILE``.

The folder is one seed's of ``bars.py``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from recipe import load_split
from table import FOUR_BETAS
from torch import Tensor, nn

from multirate import load
from multirate.files import write_json
from multirate.seeding import seeded
from multirate.wrapper import terms_at

BETAS = (*FOUR_BETAS[:3], 2.154435, 4.641589, FOUR_BETAS[3])
_LEAST = 0.1


@torch.no_grad()
def latents_used(model: nn.Module, x: Tensor, beta: float) -> int:
    """Return how many latents have a mean rate above 0.1 nats at a beta."""
    with seeded(0, "latents used"):
        latent_rate = terms_at(model, x, beta).latent_rate
    return int((latent_rate.mean(0) > _LEAST).sum())


def main(arguments: Sequence[str] | None = None) -> None:
    """Count on the test split and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the runs of one seed of bars.py")
    parser.add_argument("--one", default="multirate-8-0.01-0.002", help="the multi-rate run in it (%(default)s)")
    parser.add_argument("--dedicated", default="dedicated-8-0.002", help="the dedicated runs in it (%(default)s)")
    parser.add_argument("--data", default="mnist", help="(%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    chosen = parser.parse_args(arguments)
    x, _ = load_split(chosen.data, "test", None)
    one = load(chosen.folder / chosen.one / "model")
    places = [chosen.folder / chosen.dedicated / f"beta-{beta:g}" / "model" for beta in BETAS]
    counts = {
        "betas": BETAS,
        "one_run": [latents_used(one, x, beta) for beta in BETAS],
        "dedicated": [latents_used(load(place), x, beta) for beta, place in zip(BETAS, places, strict=True)],
    }
    print(counts)
    write_json(chosen.out, counts)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
