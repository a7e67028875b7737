"""Training on a million images that stay on disk: the memory of the process is as large at the end as at the start.

The images are made once, as one array of bytes in a temporary folder. What is measured is anonymous memory, which is
the process's own; pages of the mapped file belong to the system's cache, and go when others need them.
"""

import argparse
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import multirate as mr
from multirate.data import Source
from torture.shared import record

SHAPE = (28, 28)
# Seconds between two looks at the memory from the thread.
PERIOD = 0.1
# Of the batches, the part before which memory is still being taken for the first time, by libraries and allocator.
WARM = 0.2
_CHUNK = 20_000


def write_images(path: Path, images: int, seed: int) -> Path:
    """Write so many images of random bytes, some thousands at a time."""
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(images, *SHAPE))
    generator = np.random.default_rng(seed)
    for start in range(0, images, _CHUNK):
        part = file[start : start + _CHUNK]
        part[...] = generator.integers(0, 256, part.shape, dtype=np.uint8)
    file.flush()
    return path


def anonymous_memory() -> float:
    """Return the memory of this process that no file backs, in megabytes of a million bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"RssAnon:\s*(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


class Watch:
    """Looks at the process's memory at every batch, and from a thread between them, for as long as a block lasts.

    Args:
        source: whose batches are counted meanwhile.
    """

    def __init__(self, source: Source) -> None:
        self.looks: list[tuple[float, float, int]] = []
        self.batches = 0
        self._source, self._batch = source, source.batch
        self._start = time.perf_counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        self._source.batch = self._counted  # type: ignore[method-assign]  # for the block
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        del self._source.batch

    def _counted(self, indices: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        self._look()
        return self._batch(indices)

    def _look(self) -> None:
        self.looks.append((time.perf_counter() - self._start, anonymous_memory(), self.batches))

    def _watch(self) -> None:
        while not self._over.wait(PERIOD):
            self._look()

    def summary(self) -> dict[str, float]:
        """Return megabytes at the start, when warm, at the end and at the peak, and growth and slope once warm."""
        times, memory, batches = np.array(self.looks).T
        warm = batches >= WARM * self.batches
        tenth = max(1, int(warm.sum()) // 10)
        growth = np.median(memory[warm][-tenth:]) - np.median(memory[warm][:tenth])
        slope = np.polyfit(times[warm], memory[warm], 1)[0] * 60
        values = {
            "first": memory[0],
            "warm": memory[warm][0],
            "last": memory[-1],
            "peak": memory.max(),
            "growth": growth,
        }
        found = {f"{name}_megabytes": round(float(value), 1) for name, value in values.items()}
        return found | {
            "slope_megabytes_a_minute": round(float(slope), 2),
            "looks": len(memory),
            "batches": self.batches,
        }


def run(
    images: int, epochs: int, batch_size: int, bound: float, seed: int, change: Callable[[Source], Source] | None = None
) -> dict[str, Any]:
    """Train on mapped images and evaluate a part of them.

    Args:
        images: in the file.
        epochs: of training.
        batch_size: of training.
        bound: megabytes by which memory may grow after its first use.
        seed: of images, weights and training.
        change: what to make of the source of the training data, to plant a fault.

    Returns:
        What was found, as JSON.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = write_images(Path(folder) / "images.npy", images, seed)
        made = time.perf_counter()
        size = path.stat().st_size / 1e6
        torch.manual_seed(seed)
        source = mr.data.load(str(path), "train", memory_limit=0.0)
        mapped = type(source).__name__
        if change is not None:
            source = change(source)
        model = mr.convert(mr.models.mlp(source.shape, latents=8, hidden=(64, 32), likelihood="gaussian"))
        loaded = time.perf_counter()
        with Watch(source) as training:
            mr.fit(model, source, epochs=epochs, batch_size=batch_size, seed=seed, progress=False)
        trained = time.perf_counter()
        with Watch(source) as evaluating:
            curve = mr.evaluate(model, source, 3, examples=min(50_000, len(source)), progress=False)
        seconds = {"making": made - start, "opening": loaded - made, "training": trained - loaded}
    found = training.summary()
    failures = []
    if mapped != "MappedSource":
        failures.append(f"the data were a {mapped}, in memory")
    if found["growth_megabytes"] > bound:
        failures.append(f"memory grew by {found['growth_megabytes']} MB in training, more than {bound:g}")
    if found["peak_megabytes"] - found["warm_megabytes"] > max(bound, size / 4):
        failures.append("a quarter of the file was in memory at once")
    return {
        "images": images,
        "trained_on": len(source),
        "file_megabytes": round(size, 1),
        "steps": epochs * (len(source) // batch_size),
        "training": found,
        "evaluation": evaluating.summary(),
        "evaluated_rates": [round(point["rate"], 3) for point in curve.points],
        "phases_seconds": {name: round(value, 1) for name, value in seconds.items()},
        "failures": failures,
    }


def main() -> int:
    """Run the harness from the command line."""
    parser = argparse.ArgumentParser(prog="python -m torture.mapped", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1_000_000, help="of 28x28 bytes, in a temporary folder")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--bound", type=float, default=50.0, help="megabytes by which memory may grow")
    parser.add_argument("--seed", type=int, default=0, help="of images, weights and training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = run(options.images, options.epochs, options.batch_size, options.bound, options.seed)
    path = record("mapped", vars(options), found)
    print(f"{found['steps']} steps, memory {found['training']}; {len(found['failures'])} failures; wrote {path}")
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
