"""Whether two folders hold the same, bit for bit, but for the times that a clock says."""

import json
from pathlib import Path
from typing import Any

import torch

# Fields of wall-clock and processor time; every other field of every file is compared.
TIMES = ("seconds", "cpu_seconds", "training_seconds")


def differences(reference: Path, other: Path) -> list[str]:
    """Return what differs, a line a file: files that only one has, and content.

    Tensors of checkpoints are compared bit by bit, JSON and lines of JSON as text with the values of :data:`TIMES` left
    out, everything else as bytes.

    Args:
        reference: folder of an unbroken run.
        other: folder of one that was killed and went on.
    """
    ours, theirs = _files(reference), _files(other)
    found = [f"{name} is missing" for name in sorted(ours - theirs)]
    found += [f"{name} is left over" for name in sorted(theirs - ours)]
    for name in sorted(ours & theirs):
        if _content(reference / name) != _content(other / name):
            found.append(f"{name} differs{_where(reference / name, other / name)}")
    return found


def unfinished(folder: Path) -> int:
    """Return how many files and folders are half written, or locks, in a folder."""
    return sum("~" in path.name or path.name == ".lock" for path in folder.rglob(".*"))


def gaps(metrics: Path, log_every: int, steps: int) -> list[str]:
    """Return what is wrong with the steps of ``metrics.jsonl``: each logged step is there once, in order.

    Args:
        metrics: the file.
        log_every: steps between two lines of training.
        steps: of the run.
    """
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    logged = [line["step"] for line in lines if line["split"] == "train"]
    wanted = [step for step in range(1, steps + 1) if step % log_every == 0 or step == steps]
    validated = [(line["step"], line["beta"]) for line in lines if line["split"] == "validation"]
    found = [] if logged == wanted else [f"steps of training are {logged}, not {wanted}"]
    if len(set(validated)) < len(validated):
        found.append("a validation is there twice")
    return found


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _content(path: Path) -> Any:
    if path.is_dir():
        return None
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".jsonl":
        return [_without_times(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".pt":
        return _bits(torch.load(path, map_location="cpu", weights_only=True))
    return path.read_bytes()


def _without_times(value: Any) -> str:
    """Return JSON as text, in which numbers are equal only if their bits are."""
    return json.dumps(_pruned(value), sort_keys=False)


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(entry) for key, entry in value.items() if key not in TIMES}
    return [_pruned(entry) for entry in value] if isinstance(value, list) else value


def _bits(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: _bits(entry) for key, entry in value.items() if key not in TIMES}
    return [_bits(entry) for entry in value] if isinstance(value, list | tuple) else value


def _where(reference: Path, other: Path) -> str:
    if reference.suffix != ".jsonl":
        return ""
    ours, theirs = _content(reference), _content(other)
    if len(ours) != len(theirs):
        return f": {len(theirs)} lines, not {len(ours)}"
    line = next(number for number, pair in enumerate(zip(ours, theirs, strict=True), 1) if pair[0] != pair[1])
    return f" in line {line}"
