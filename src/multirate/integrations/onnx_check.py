"""Exported ONNX files against the model that they came from, run by ONNX Runtime."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from multirate.errors import DataError
from multirate.files import read_json
from multirate.integrations.extras import require
from multirate.integrations.parts import Part, parts_of, plain_at
from multirate.integrations.trials import TOLERANCE, Array, largest_difference

SCHEMA = "multirate.onnx/1"
MANIFEST = "onnx.json"
_ERRORS_ONLY = 3


def check_onnx(model: nn.Module, folder: str | Path, *, example: Tensor, tolerance: float = TOLERANCE) -> float:
    """Compare the files that :func:`multirate.integrations.onnx.export_onnx` wrote with the model, in ONNX Runtime.

    At the batch sizes and betas of :func:`multirate.integrations.trials.largest_difference`.

    Args:
        model: the one that was exported; it is folded at the beta of the files where they have one.
        folder: of the files.
        example: data, ``[B, ...]``.
        tolerance: largest difference that passes.

    Returns:
        The largest difference of any output, relative to its largest value where that is above 1.

    Raises:
        DataError: if a file is missing or damaged, or an output differs by more than ``tolerance``.
        UsageError: if onnxruntime is not installed.
    """
    folder = Path(folder)
    manifest = read_json(folder / MANIFEST, "export the model there first")
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise DataError(f"{folder / MANIFEST} is no {SCHEMA!r}; export the model again")
    return check_files(parts_of(plain_at(model, manifest.get("beta")), example), folder, tolerance)


def check_files(parts: Sequence[Part], folder: Path, tolerance: float = TOLERANCE) -> float:
    """Compare each part's file with the part.

    Args:
        parts: of :func:`multirate.integrations.parts.parts_of`.
        folder: with a file of each part's name.
        tolerance: as in :func:`check_onnx`.

    Returns:
        The largest difference.

    Raises:
        DataError: as :func:`check_onnx`.
    """
    paths = {part.name: folder / f"{part.name}.onnx" for part in parts}
    return max(largest_difference(part, paths[part.name], _run(paths[part.name]), tolerance) for part in parts)


def _run(path: Path) -> Callable[[Mapping[str, Tensor]], Sequence[Array]]:
    """Return a function that runs a file on inputs by name."""
    runtime = require("onnxruntime", extra="onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = _ERRORS_ONLY
    if not path.is_file():
        raise DataError(f"no file {path}; export the model again")
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DataError(f"ONNX Runtime cannot read {path}: {' '.join(str(error).split())}") from error

    def run(inputs: Mapping[str, Tensor]) -> Sequence[Array]:
        arrays: Sequence[Array] = session.run(None, {name: x.numpy(force=True) for name, x in inputs.items()})
        return arrays

    return run
