"""What a member's folder says of it: whether it is trained, what was measured of it, whether it diverged.

Beside the files of every run, ``member.json`` holds what was trained, written when training is done, and
``measured/`` a curve for each way in which the run was measured. So a second call needs no model, and recipes that
measure one run in two ways do not take turns in ``curve.json``. Options at their defaults are left out: a new one does
not make old runs unknown.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from multirate.data.catalog import DATA_SETS
from multirate.errors import DataError
from multirate.experiments.reproduce.recipe import Evaluation, Member
from multirate.files import read_json, write_json

_TRAINED = "member.json"
_DIVERGED = "diverged.json"


def trained(member: Member, folder: Path) -> bool:
    """Return whether a member's training is done.

    Args:
        member: which one.
        folder: of its run.
    """
    return (folder / "model").is_dir() and _read(folder / _TRAINED) == _record(member)


def note_trained(member: Member, folder: Path) -> None:
    """Write down that a member's training is done.

    Args:
        member: which one.
        folder: of its run.
    """
    write_json(folder / _TRAINED, _record(member))


def measured_path(member: Member, folder: Path, evaluation: Evaluation) -> Path:
    """Return the file of a measurement, whose name tells it from every other measurement of the run.

    Args:
        member: which one.
        folder: of its run.
        evaluation: how it is measured; a plain model has but one beta.
    """
    settings = _plain(_changed(evaluation) | {"options": _changed(evaluation.options), "split": evaluation.split})
    if member.spec.beta is not None:
        del settings["betas"]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return folder / "measured" / f"{evaluation.split}-{digest[:12]}.json"


def divergence(member: Member, folder: Path) -> str | None:
    """Return why a member's training came to nothing, None if that is not known.

    Args:
        member: which one.
        folder: of its run.
    """
    document = _read(folder / _DIVERGED)
    if not isinstance(document, dict) or document.get("member") != _record(member):
        return None
    return str(document.get("reason"))


def note_divergence(member: Member, folder: Path, reason: str) -> None:
    """Write down why a member's training came to nothing.

    Args:
        member: which one.
        folder: of its run.
        reason: in one line.
    """
    write_json(folder / _DIVERGED, {"member": _record(member), "reason": reason})


def steps_of(member: Member) -> int | None:
    """Return the number of training steps, None if the size of the data is not known beforehand.

    Args:
        member: which one.
    """
    known = DATA_SETS.get(member.spec.data)
    examples = None if known is None else known.examples.get("train")
    if member.spec.examples is not None:
        examples = member.spec.examples if examples is None else min(examples, member.spec.examples)
    if not examples:
        return None
    return member.config.epochs * (examples // min(member.config.batch_size, examples))


def _record(member: Member) -> dict[str, Any]:
    spec = _changed(member.spec)
    spec.pop("data_dir", None)
    spec |= {} if member.start is None else {"start": member.start}
    return _plain({"run": spec, "training": _changed(member.config)})


def _changed(options: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are not at their defaults."""
    found = {}
    for entry in dataclasses.fields(options):
        factory = entry.default_factory
        default = entry.default if factory is dataclasses.MISSING else factory()
        if (value := getattr(options, entry.name)) != default:
            found[entry.name] = value
    return found


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Return what JSON would give back: tuples as lists, paths as text."""
    plain: dict[str, Any] = json.loads(json.dumps(value, default=str))
    return plain


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except DataError:
        return None
