"""Dedicated beta-VAEs over several betas: the baselines that a multi-rate model is measured against."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from multirate.curve import Curve
from multirate.errors import MultirateError, TrainingError, UsageError
from multirate.experiments.building import load_data
from multirate.experiments.parallel import KILLED, in_processes
from multirate.experiments.run import evaluate_run, open_run, train
from multirate.experiments.spec import RunSpec
from multirate.files import remove, write_json
from multirate.invariants import log_warnings
from multirate.locking import alone
from multirate.merging import merge
from multirate.training.config import TrainConfig

FAILURES = "failures.json"
# Reasons in the message of a sweep that failed; the file has all of them.
_SHOWN = 3


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

    Called again, it goes on: finished runs are kept, one that was stopped is resumed from its checkpoint. A run that
    fails does not stop the others. Its reason goes to ``failures.json``; the curve of the others is kept, with the
    betas that it lacks in its details (``failed_betas``), and the next call takes up the failed runs alone. The result
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
        UsageError: if there is no beta, one is given twice, ``jobs`` is below 1, or an option cannot be right.
        TrainingError: if runs failed, with how many and why; the others are done.
        DataError: if the folder cannot be written, or is in use by another process.
    """
    if not betas or len(set(betas)) < len(betas):
        raise UsageError(f"a sweep needs betas, each once; got {list(betas)}")
    if jobs < 1:
        raise UsageError(f"jobs must be at least 1; got {jobs}")
    out = Path(out)
    measured = {"split": split, "samples": samples, "seed": seed, "label": label}
    work = [(dataclasses.replace(spec, beta=beta), config, out / _folder_name(beta), measured) for beta in betas]
    curves, failures = [], {}
    with alone(out):
        for beta, done in zip(betas, _outcomes(work, jobs, progress), strict=True):
            if isinstance(done, str):
                failures[beta] = done
                say(f"beta {beta:g}: failed: {done}")
            else:
                curves.append(done)
                point = done.points[0]
                say(f"beta {point['beta']:g}: rate {point['rate']:.2f}, distortion {point['distortion']:.2f}")
        return _finish(curves, failures, out, label)


def _outcomes(work: Sequence[tuple[Any, ...]], jobs: int, progress: bool) -> Iterator[Curve | str]:
    """Yield the curve of each run, or why it failed, in order."""
    if jobs == 1:
        yield from (_attempt((*item, progress)) for item in work)
        return
    left = len(work)
    try:
        for outcome in in_processes(_attempt, [(*item, False) for item in work], jobs):
            left -= 1
            yield outcome
    except BrokenExecutor:
        yield from [KILLED] * left


def _attempt(item: tuple[Any, ...]) -> Curve | str:
    """Return a run's curve, or in a line why there is none; what is wrong with the command is an error."""
    *work, progress = item
    folder: Path = work[2]
    try:
        with alone(folder, wait=True):
            return one(*work, progress=progress)
    except UsageError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        return text if isinstance(error, MultirateError) else f"{type(error).__name__}: {text}"


def _finish(curves: Sequence[Curve], failures: dict[float, str], out: Path, label: str | None) -> Curve:
    """Write the curve of the runs that are done, and tell of the others."""
    merged = None
    if curves:
        merged = merge(curves, label)
        log_warnings(merged, known=[message for curve in curves for message in curve.warnings])
        if failures:
            merged = dataclasses.replace(merged, details=merged.details | {"failed_betas": sorted(failures)})
        merged.save(out / "curve.json")
        merged.save_csv(out / "curve.csv")
    if merged is not None and not failures:
        remove(out / FAILURES)
        return merged
    write_json(out / FAILURES, {repr(float(beta)): reason for beta, reason in failures.items()})
    reasons = "; ".join(f"beta {beta:g}: {reason}" for beta, reason in [*failures.items()][:_SHOWN])
    more = f"; {len(failures) - _SHOWN} more in {out / FAILURES}" if len(failures) > _SHOWN else ""
    count, total = len(failures), len(failures) + len(curves)
    them = "it" if count == 1 else "them"
    raise TrainingError(
        f"{count} of {total} {'run' if total == 1 else 'runs'} failed, and the same command goes on with {them} alone: "
        f"{reasons}{more}"
    )


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
            curve.save_csv(folder / "curve.csv")  # the run may have been killed between the two files
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
