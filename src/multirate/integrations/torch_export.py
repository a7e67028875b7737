"""Models as programs of ``torch.export``: the same parts as the ONNX files, for PyTorch without the model's code."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from multirate import __version__
from multirate.errors import ConversionError
from multirate.files import staged, write_atomic, write_json
from multirate.inference import inference
from multirate.integrations.parts import Part, about, parts_of, plain_at
from multirate.integrations.tracing import dynamic_shapes, first_cause, quiet
from multirate.integrations.trials import TOLERANCE, Array, largest_difference
from multirate.seeding import preserved_rng

SCHEMA = "multirate.torch_export/1"
MANIFEST = "torch_export.json"
# Where a node of the graph came from, with paths of this machine.
_ORIGIN = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


def export_torch(
    model: nn.Module, folder: str | Path, *, example: Tensor, beta: float | None = None, check: bool = True
) -> list[Path]:
    """Write the parts of a model as ``.pt2`` files that ``torch.export.load`` reads, and ``torch_export.json``.

    They are the parts, inputs and outputs of :func:`multirate.integrations.onnx.export_onnx`, in inference: weights,
    and no example data. Rows at a beta outside the range come out as NaN.

    Args:
        model: plain or multi-rate; not changed.
        folder: made if it is missing.
        example: data, ``[B, ...]``, to trace and to check with.
        beta: fold the model at this beta first.
        check: load the files and run them against the model; the folder stays as it was if they differ.

    Returns:
        The files, ``torch_export.json`` last.

    Raises:
        UsageError: if the example is empty, or beta is given for a plain model.
        BetaError: if beta is outside the model's range.
        ConversionError: if the model has no part that can be exported, or one that cannot.
        DataError: if a file cannot be written, or differs from the model by more than 1e-5.
    """
    folder = Path(folder)
    parts = parts_of(plain_at(model, beta), example)
    files = {f"{part.name}.pt2": part for part in parts}
    differences = []
    with staged(folder, last=MANIFEST) as place:
        for name, part in files.items():
            path = write_atomic(place / name, _content(part))
            if check:
                differences.append(largest_difference(part, path, _run(part, path)))
        manifest = {
            "schema": SCHEMA,
            **about(model, beta),
            "versions": {"multirate": __version__, "torch": torch.__version__},
            "files": {name: part.description() for name, part in files.items()},
            **({"largest_difference": max(differences), "tolerance": TOLERANCE} if check else {}),
        }
        write_json(place / MANIFEST, manifest)
    return [folder / name for name in (*files, MANIFEST)]


def _content(part: Part) -> bytes:
    try:
        with preserved_rng(), inference(part.module), quiet():
            program = torch.export.export(
                part.module,
                tuple(part.inputs.values()),
                dynamic_shapes=dynamic_shapes(part.module, part.inputs, part.dynamic),
            )
            # They are the user's data, and the one thing in the file that is pickled.
            program.example_inputs = None
            for node in program.graph.nodes:
                for key in _ORIGIN:
                    node.meta.pop(key, None)
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
    except Exception as error:
        raise ConversionError(f"{part.module} cannot be exported: {first_cause(error)}") from error
    return buffer.getvalue()


def _run(part: Part, path: Path) -> Callable[[Mapping[str, Tensor]], Sequence[Array]]:
    program: ExportedProgram = torch.export.load(io.BytesIO(path.read_bytes()))
    module = program.module()

    def run(inputs: Mapping[str, Tensor]) -> Sequence[Array]:
        with torch.no_grad():
            return [output.numpy(force=True) for output in module(*inputs.values())]

    return run
