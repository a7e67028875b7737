"""What a curve should say of how its model was trained, for a comparison of two of them."""

import dataclasses
from pathlib import Path
from typing import Any

from multirate.curve import Curve
from multirate.experiments.start import start_name
from multirate.invariants import checked, log_warnings
from multirate.reading import json_lines
from multirate.training import TrainConfig


def training_details(document: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    """Return what a run's record says of its training.

    Args:
        document: the content of ``config.yaml``.
        training: its section of that name.
    """
    details: dict[str, Any] = {
        key: training[key] for key in ("epochs", "batch_size", "learning_rate", "kl_schedule") if key in training
    }
    if "seed" in training:
        details["training_seed"] = training["seed"]
    if "data" in document:
        details["training_examples"] = document["data"]["examples"]
        details["training_data"] = f"{document['data']['name']} {document['data'].get('split', 'train')}"
    for key in ("objective", "optimizer"):
        if training.get(key, getattr(TrainConfig, key)) != getattr(TrainConfig, key):
            details[key] = training[key]
    start = start_name((document.get("run") or {}).get("start"))
    if start is not None:
        details["start"] = start
    hidden = (document.get("model") or {}).get("options", {}).get("hidden")
    return details if hidden is None else details | {"hidden": hidden}


def training_times(path: Path) -> dict[str, float]:
    """Return how long training took: wall time, and processor time where the run has it; nothing of a damaged file.

    Args:
        path: ``metrics.jsonl``.
    """
    try:
        lines = list(json_lines(path))
        names = [name for name in ("seconds", "cpu_seconds") if all(name in line for line in lines)]
        return {name: round(max(float(line[name]) for line in lines), 3) for name in names}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def with_training(curve: Curve, details: dict[str, Any]) -> Curve:
    """Return a curve with facts of the training in its details, and with the warnings that they give cause to.

    Args:
        curve: of the trained model.
        details: of :func:`training_details` and :func:`training_times`.
    """
    facts = {key: value for key, value in details.items() if key != "objective"}
    trained = {f"training_{key}" if key in curve.details else key: value for key, value in facts.items()}
    told = checked(dataclasses.replace(curve, details=curve.details | trained))
    log_warnings(told, known=curve.warnings)
    return told
