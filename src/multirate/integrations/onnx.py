"""Models as ONNX files: encoder, decoder and reconstruction with beta as an input, checked in ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multirate import __version__
from multirate.errors import ConversionError, UsageError
from multirate.files import staged, write_atomic, write_json
from multirate.inference import inference
from multirate.integrations.extras import require
from multirate.integrations.onnx_check import MANIFEST, SCHEMA, check_files, check_onnx
from multirate.integrations.parts import AtBeta, Part, about, parts_of, plain_at
from multirate.integrations.tracing import dynamic_shapes, first_cause, quiet
from multirate.integrations.translations import translations
from multirate.integrations.trials import TOLERANCE
from multirate.seeding import preserved_rng

__all__ = ["check_onnx", "export_onnx", "write"]

EXTRA = "onnx"
_WRITERS = ("onnx", "onnxscript")
# What one protocol buffer may hold, which the format's single file is.
_LARGEST = 2**31 - 1


def export_onnx(
    model: nn.Module,
    folder: str | Path,
    *,
    example: Tensor,
    beta: float | None = None,
    check: bool = True,
) -> list[Path]:
    """Write the parts of a model as ONNX files, and ``onnx.json``, which says what goes in and comes out.

    A model with ``encode`` and ``decode`` of distributions gives

    - ``encoder.onnx``: ``x``, ``beta`` to ``mean`` and ``log_variance`` ``[B, Z]``, and where the posterior's
      divergence from the standard normal is the model's rate, ``rate`` ``[B]`` and ``latent_rate`` ``[B, Z]``, in nats;
    - ``decoder.onnx``: ``z``, ``beta`` to ``mean``, the likelihood's, ``[B, ...]``;
    - ``reconstruction.onnx``: ``x``, ``beta`` to ``mean`` at the posterior's mean.

    The sentence VAE gives an encoder and one step of the decoder, any other model ``model.onnx``, its ``forward``. Beta
    is one number an example, ``[B]``, or ``[1]`` where a recurrent layer is gated; a plain or folded model has no such
    input. The batch is of any size. Rows at a beta outside the model's range come out as NaN.

    Args:
        model: plain or multi-rate; not changed.
        folder: made if it is missing.
        example: data, ``[B, ...]``, to trace and to check with.
        beta: fold the model at this beta first.
        check: run the files in ONNX Runtime against PyTorch, as :func:`multirate.integrations.onnx_check.check_onnx`
            does; the folder stays as it was if they differ.

    Returns:
        The files, ``onnx.json`` last.

    Raises:
        UsageError: if onnx, onnxscript or, to check, onnxruntime is not installed, the example is empty, or beta is
            given for a plain model.
        BetaError: if beta is outside the model's range.
        ConversionError: if the model has no part that can be exported, or one that cannot.
        DataError: if a file cannot be written, or differs from PyTorch by more than 1e-5.
    """
    for library in (*_WRITERS, *(("onnxruntime",) if check else ())):
        require(library, extra=EXTRA)
    folder = Path(folder)
    parts = parts_of(plain_at(model, beta), example)
    with staged(folder, last=MANIFEST) as place:
        for part in parts:
            write(part.module, part.inputs, part.outputs, place / f"{part.name}.onnx", dynamic=part.dynamic)
        difference = check_files(parts, place) if check else None
        write_json(place / MANIFEST, _manifest(model, parts, beta, difference))
    return [folder / name for name in (*(f"{part.name}.onnx" for part in parts), MANIFEST)]


def write(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: str | Path,
    *,
    dynamic: Mapping[str, Mapping[int, str]],
) -> Path:
    """Write what a module computes in evaluation mode as one ONNX file, weights included.

    The module is traced by ``torch.export`` and translated by ``torch.onnx.export(dynamo=True)``. The file appears
    whole or not at all and holds no path or source line of this machine; the module's modes and the global random
    generator are left as they were.

    Args:
        module: called with the inputs in their order; returns one tensor, or a tuple of them.
        inputs: name to an example, which is on the module's device; a dynamic axis may have any size above 0.
        outputs: names, one a tensor that the module returns.
        path: the file to write; its folder is made if it is missing.
        dynamic: of an input, which axes may have another size, by axis the name of the size; equal names are equal
            sizes, as ``{"x": {0: "batch"}, "beta": {0: "batch"}}``.

    Returns:
        The path.

    Raises:
        ConversionError: if the module cannot be exported, needs one size of an axis that is to be dynamic, or has more
            weights than one file can hold.
        UsageError: if onnx or onnxscript is not installed, two names are equal, or a name or an axis of ``dynamic``
            does not exist.
        DataError: if the file cannot be written.
    """
    for library in _WRITERS:
        require(library, extra=EXTRA)
    _check_names(inputs, outputs, dynamic)
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))
    if size > _LARGEST:
        raise ConversionError(
            f"the weights take {size:,} bytes; one ONNX file holds {_LARGEST:,}: export a smaller part"
        )
    model = _translate(
        module, {name: _widened(x, dynamic.get(name, {})) for name, x in inputs.items()}, outputs, dynamic
    )
    _forget_origin(model.graph)
    return write_atomic(path, model.SerializeToString(deterministic=True))


def _manifest(model: nn.Module, parts: Sequence[Part], beta: float | None, difference: float | None) -> dict[str, Any]:
    """Return what ``onnx.json`` says."""
    import onnx

    manifest = {"schema": SCHEMA, **about(model, beta)}
    manifest["versions"] = {"multirate": __version__, "torch": torch.__version__, "onnx": onnx.__version__}
    manifest["files"] = {f"{part.name}.onnx": part.description() for part in parts}
    return manifest if difference is None else manifest | {"largest_difference": difference, "tolerance": TOLERANCE}


def _check_names(
    inputs: Mapping[str, Tensor], outputs: Sequence[str], dynamic: Mapping[str, Mapping[int, str]]
) -> None:
    names = [*inputs, *outputs]
    if len(set(names)) < len(names):
        raise UsageError(f"two of the inputs and outputs have one name in {', '.join(names)}; give each its own")
    for name, axes in dynamic.items():
        if name not in inputs:
            raise UsageError(f"dynamic names {name!r}, which is no input; the inputs are {', '.join(inputs)}")
        for axis in axes:
            if not 0 <= axis < inputs[name].ndim:
                raise UsageError(f"dynamic names axis {axis} of {name!r}, whose shape is {list(inputs[name].shape)}")


def _widened(x: Tensor, axes: Mapping[int, str]) -> Tensor:
    """Return an example whose dynamic axes have at least two entries: one is taken for a constant by the exporter."""
    for axis in axes:
        if x.shape[axis] == 1:
            x = torch.cat([x, x], dim=axis)
    return x


def _translate(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
) -> Any:
    """Return the ONNX model as a protocol buffer."""
    ours = [*inputs, *outputs]
    theirs = [f"multirate/{i}" for i in range(len(ours))]
    try:
        with preserved_rng(), inference(module), quiet():
            program: Any = torch.onnx.export(
                module,
                tuple(inputs.values()),
                input_names=theirs[: len(inputs)],
                output_names=theirs[len(inputs) :],
                dynamic_shapes=dynamic_shapes(module, inputs, dynamic),
                custom_translation_table=translations(),
                dynamo=True,
                verbose=False,
            )
            model = program.model_proto
    except Exception as error:
        raise ConversionError(f"{_named(module)} cannot be exported to ONNX: {first_cause(error)}") from error
    if len(model.graph.output) != len(outputs):
        raise ConversionError(
            f"{_named(module)} returns {len(model.graph.output)} tensors for the names {', '.join(outputs)}"
        )
    _rename(model.graph, {name: f"{name}/inner" for name in ours} | dict(zip(theirs, ours, strict=True)))
    for value in model.graph.input:
        for axis, size in dynamic.get(value.name, {}).items():
            fixed = value.type.tensor_type.shape.dim[axis].dim_value
            if fixed:
                raise ConversionError(
                    f"{_named(module)} takes {value.name!r} with axis {axis} of {fixed} only, which was to be "
                    f"{size!r}, of any size: its code holds that number"
                )
    return model


def _named(module: nn.Module) -> str:
    return str(module) if isinstance(module, AtBeta) else type(module).__name__


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give values other names, in nested graphs too: the exporter's own may be those of inputs and outputs."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)


def _forget_origin(graph: Any) -> None:
    """Drop the exporter's notes on where each node comes from: stack traces, with paths of this machine."""
    graph.ClearField("metadata_props")
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget_origin(attribute.g)
