"""What the page needs to run the model: encoder and decoder as ONNX with beta as an input, images, prior draws."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multirate.errors import ConversionError
from multirate.files import write_atomic
from multirate.inference import base_of, inference
from multirate.integrations.onnx import write
from multirate.integrations.parts import Part, parts_of
from multirate.seeding import seeded
from multirate.wrapper import MultiRate

# Pictures between the two ends of an interpolation.
BETWEEN = 5


def live_parts(model: MultiRate, x: Tensor) -> tuple[Part, Part]:
    """Return encoder and decoder, whose outputs are all that the page shows of an image.

    Args:
        model: multi-rate.
        x: images, ``[n, *shape]``.

    Raises:
        ConversionError: if the model is not one of a single Gaussian latent vector, whose encoder tells the rate; or
            is not of float32; or takes one beta a call.
    """
    parts = {part.name: part for part in parts_of(model, x)}
    if "rate" not in getattr(parts.get("encoder"), "outputs", ()):
        raise ConversionError("its rate is not that of one Gaussian latent vector, which its encoder would tell")
    for part in (parts["encoder"], parts["decoder"]):
        if any(example.dtype != torch.float32 for example in part.inputs.values()):
            raise ConversionError("its numbers are not float32, as those of the page")
        if "beta" not in part.dynamic:
            raise ConversionError("a recurrent layer takes one beta a call, and the page one an example")
    return parts["encoder"], parts["decoder"]


def prior_draws(model: nn.Module, count: int) -> Tensor:
    """Return latents drawn from the prior, those of :func:`multirate.images.prior_samples`, ``[count, ...]``."""
    with inference(model), seeded(0, "prior_samples"):
        draws: Tensor = base_of(model).prior().sample((count,))  # type: ignore[operator]
    return draws


def write_models(encoder: Part, decoder: Part, folder: Path) -> dict[str, Any]:
    """Write ``encoder.onnx`` and ``decoder.onnx``.

    Args:
        encoder: of :func:`live_parts`.
        decoder: of :func:`live_parts`.
        folder: to write to.

    Returns:
        The page's entry: names of the files, and the shape of one example that each takes.

    Raises:
        MultirateError: as :func:`multirate.integrations.onnx.write`.
    """
    entry: dict[str, Any] = {}
    for part, argument in ((encoder, "x"), (decoder, "z")):
        path = folder / f"{part.name}.onnx"
        write(part.module, part.inputs, part.outputs, path, dynamic=part.dynamic)
        entry[part.name] = {"file": path.name, "input": argument, "shape": list(part.inputs[argument].shape[1:])}
    return entry


def write_tensors(x: Tensor, draws: Tensor, folder: Path) -> None:
    """Write ``images.bin`` and ``draws.bin``: float32, little-endian, one after the other."""
    for name, values in (("images", x), ("draws", draws)):
        array = np.ascontiguousarray(values.to("cpu", torch.float32).numpy(), dtype="<f4")
        write_atomic(folder / f"{name}.bin", array.tobytes())
