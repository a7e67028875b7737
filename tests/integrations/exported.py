"""Models to export, and ONNX files run by ONNX Runtime."""

import numpy as np
import torch
from torch import Tensor

import multirate as mr
from multirate.integrations.parts import parts_of
from multirate.seeding import generator, seeded

RANGE = mr.BetaRange(0.01, 10.0)
TOLERANCE = 1e-5


def multirate(base, seed=3):
    """Convert, and move the gates from their start, so that they differ from beta to beta."""
    model = mr.convert(base, RANGE)
    with seeded(seed), torch.no_grad():
        for name, parameter in model.response.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.02 if name == "thresholds" else 0.1))
    return model.eval()


def built(make):
    with seeded(0):
        return make()


def data(shape, count=5):
    return torch.rand(count, *shape, generator=generator(1, "data"))


def session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path, **inputs):
    """Return a file's outputs by name."""
    file = session(path)
    arrays = {name: np.asarray(x.detach() if isinstance(x, Tensor) else x) for name, x in inputs.items()}
    return dict(zip([o.name for o in file.get_outputs()], map(torch.from_numpy, file.run(None, arrays)), strict=True))


def shapes(path):
    return {value.name: value.shape for value in session(path).get_inputs()}


def written(model, name, folder, example):
    """Write one part of a model."""
    from multirate.integrations.onnx import write

    (part,) = (part for part in parts_of(model, example) if part.name == name)
    return write(part.module, part.inputs, part.outputs, folder / f"{name}.onnx", dynamic=part.dynamic)


def tensor(*betas):
    return torch.tensor(betas, dtype=torch.float32)


def assert_close(found, expected):
    torch.testing.assert_close(found, expected.detach().to(found.dtype), rtol=TOLERANCE, atol=TOLERANCE)
