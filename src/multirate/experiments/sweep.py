"""Dedicated beta-VAEs over several betas: the baselines that a multi-rate model is measured against."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from multirate.curve import Curve
from multirate.errors import UsageError
from multirate.experiments.building import load_data
from multirate.experiments.parallel import in_processes
from multirate.experiments.run import evaluate_run, open_run, train
from multirate.experiments.spec import RunSpec
from multirate.merging import merge
from multirate.training.config import TrainConfig


def sweep(
    spec: RunSpec,
    betas: Sequence[float],
    config: TrainConfig,
    out: str | Path,
    *,
    jobs: int = 1,
    split: str = "test",
    samples: int = 1,
    seed: int = 0,
    label: str | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Curve:
    """Train, evaluate and merge one plain beta-VAE a beta, each in a run's folder of its own.

    Called again, it goes on: finished runs are kept, one that was stopped is resumed from its checkpoint. The result
    does not depend on ``jobs``, but for the order of floating-point sums if the number of threads changes.

    Args:
        spec: model and data; its beta is replaced.
        betas: at least one, each once.
        config: how to train each of them.
        out: folder of the sweep, with ``beta-<beta>/`` for each and ``curve.json`` of all.
        jobs: processes at a time; the machine's cores are split among them.
        split: of the data to measure on.
        samples: posterior samples an example, in the evaluation.
        seed: of the evaluation's noise.
        label: of the curve.
        progress: show a bar for each run; never where ``jobs`` is above 1.
        say: called with a line when a beta is done.

    Returns:
        One curve with a point a beta.

    Raises:
        UsageError: if there is no beta, one is given twice, or ``jobs`` is below 1.
        MultirateError: as training and evaluation.
    """
    if not betas or len(set(betas)) < len(betas):
        raise UsageError(f"a sweep needs betas, each once; got {list(betas)}")
    if jobs < 1:
        raise UsageError(f"jobs must be at least 1; got {jobs}")
    out = Path(out)
    measured = {"split": split, "samples": samples, "seed": seed, "label": label}
    work = [(dataclasses.replace(spec, beta=beta), config, out / _folder_name(beta), measured) for beta in betas]
    here = (one(*item, progress=progress) for item in work)
    done = here if jobs == 1 else in_processes(_quietly, work, jobs)
    curves = []
    for curve in done:
        point = curve.points[0]
        say(f"beta {point['beta']:g}: rate {point['rate']:.2f}, distortion {point['distortion']:.2f}")
        curves.append(curve)
    merged = merge(curves, label)
    merged.save(out / "curve.json")
    merged.save_csv(out / "curve.csv")
    return merged


def one(spec: RunSpec, config: TrainConfig, folder: Path, measured: dict[str, Any], *, progress: bool = True) -> Curve:
    """Train and evaluate one run, or go on with it; what is finished already is read back.

    Args:
        spec: model and data.
        config: how to train.
        folder: of the run.
        measured: keywords of :func:`multirate.experiments.run.evaluate_run`.
        progress: show a bar.

    Returns:
        The run's curve.

    Raises:
        MultirateError: as training and evaluation.
    """
    train(spec, config, folder, resume=True, progress=progress)
    if (folder / "curve.json").exists():
        curve = Curve.load(folder / "curve.json")
        if _measures(curve, spec, measured):
            return curve
    return evaluate_run(open_run(folder), progress=progress, **measured)


def _measures(curve: Curve, spec: RunSpec, measured: dict[str, Any]) -> bool:
    """Return whether a stored curve is what evaluation would give: another may have been measured in between."""
    known = {"split": curve.split, "samples": curve.samples, "seed": curve.seed}
    if any(measured.get(key, value) != value for key, value in known.items()):
        return False
    source = load_data(spec, curve.split)
    asked = measured.get("examples")
    examples = len(source) if asked is None else min(asked, len(source))
    return (curve.data, curve.examples) == (source.name, examples)


def _folder_name(beta: float) -> str:
    """Return ``beta-<beta>``, with as many digits as tell the beta from every other."""
    short = f"{beta:g}"
    return f"beta-{short if float(short) == beta else repr(float(beta))}"


def _quietly(item: tuple[Any, ...]) -> Curve:
    return one(*item, progress=False)
