"""Any module as one ONNX file: names, sizes, digits, refusals."""

import numpy as np
import pytest
import torch
from tests.integrations.exported import assert_close, built, data, multirate, run, shapes
from torch import nn

from multirate import models
from multirate.errors import ConversionError, DataError, UsageError
from multirate.integrations.parts import parts_of

for library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library, reason=f"{library} is not installed: pip install 'multirate[onnx]'")

from multirate.integrations import onnx as exporter  # noqa: E402  # after the skip
from multirate.integrations.onnx import write  # noqa: E402


class Near(nn.Module):
    """Functions whose value near 0, or at large negative numbers, is lost by adding or subtracting 1."""

    def forward(self, x):
        return torch.expm1(x), torch.log1p(x.abs()), nn.functional.softplus(x), nn.functional.softplus(x, 2.0, 5.0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_numbers_keep_their_digits(dtype, tmp_path):
    x = torch.tensor([0.0, 1e-30, 1e-12, -1e-7, 3e-4, -0.1, 1.0, -5.0, -17.0, -40.0, 19.0, 30.0], dtype=dtype)
    names = ["expm1", "log1p", "softplus", "softplus_2"]
    found = run(write(Near(), {"x": x}, names, tmp_path / "y.onnx", dynamic={"x": {0: "n"}}), x=x)
    y = x.double().numpy()
    truth = [np.expm1(y), np.log1p(np.abs(y)), np.logaddexp(y, 0.0), np.logaddexp(2 * y, 0.0) / 2]
    for name, exact in zip(names, truth, strict=True):
        loose = 1e-4 if name == "softplus_2" else 0.0  # torch's own definition drops log1p(e^-5) above its threshold
        torch.testing.assert_close(
            found[name].double(), torch.from_numpy(exact), rtol=max(16 * torch.finfo(dtype).eps, loose), atol=0.0
        )


class Fixed(nn.Module):
    def forward(self, x):
        return x.reshape(3, 4) * 2


class Branch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Pair(nn.Module):
    def forward(self, x):
        return x, x + 1


class Mean(nn.Module):
    """A value inside has the name of an output, another that of an input."""

    def forward(self, a):
        return a.mean(1) * 2, a.sum(1)


@pytest.mark.slow
def test_names_inside_do_not_clash_with_those_outside(tmp_path):
    x = data((4,), 3)
    write(Mean(), {"sum_1": x}, ["mean", "mul"], tmp_path / "m.onnx", dynamic={"sum_1": {0: "batch"}})
    found = run(tmp_path / "m.onnx", sum_1=x)
    assert_close(found["mean"], x.mean(1) * 2)
    assert_close(found["mul"], x.sum(1))


@pytest.mark.slow
def test_one_example_and_two_dynamic_axes_are_enough(tmp_path):
    write(nn.ReLU(), {"x": torch.zeros(1, 1)}, ["y"], tmp_path / "y.onnx", dynamic={"x": {0: "batch", 1: "width"}})
    assert shapes(tmp_path / "y.onnx") == {"x": ["batch", "width"]}
    assert run(tmp_path / "y.onnx", x=torch.ones(3, 5))["y"].shape == (3, 5)


@pytest.mark.slow
def test_a_batch_of_one_is_not_taken_for_a_constant(tmp_path):
    model = multirate(built(lambda: models.mlp(shape=(1, 8, 8), latents=4, hidden=(24, 16))))
    decoder = parts_of(model, data((1, 8, 8)))[1]
    one = {name: x[:1] for name, x in decoder.inputs.items()}
    write(decoder.module, one, decoder.outputs, tmp_path / "d.onnx", dynamic=decoder.dynamic)
    assert shapes(tmp_path / "d.onnx") == {"z": ["batch", 4], "beta": ["batch"]}


@pytest.mark.slow
def test_the_same_module_gives_the_same_file(tmp_path):
    files = [
        write(Mean(), {"a": data((4,))}, ["b", "c"], tmp_path / name, dynamic={"a": {0: "batch"}}).read_bytes()
        for name in ("1.onnx", "2.onnx")
    ]
    assert files[0] == files[1]


REFUSED = [
    (Fixed(), ["y"], {"x": {0: "batch"}}, ConversionError, "Fixed takes 'x' with axis 0 of 3 only, which was to be"),
    (Branch(), ["y"], {"x": {0: "batch"}}, ConversionError, "Branch cannot be exported to ONNX: "),
    (Pair(), ["y"], {}, ConversionError, "Pair returns 2 tensors for the names y"),
    (Pair(), ["y", "x"], {}, UsageError, "two of the inputs and outputs have one name in x, y, x"),
    (nn.ReLU(), ["y"], {"z": {0: "batch"}}, UsageError, "dynamic names 'z', which is no input; the inputs are x"),
    (nn.ReLU(), ["y"], {"x": {2: "batch"}}, UsageError, r"dynamic names axis 2 of 'x', whose shape is \[3, 4\]"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "outputs", "dynamic", "error", "message"), REFUSED, ids=[message for *_, message in REFUSED]
)
def test_what_cannot_be_written_is_refused_in_one_line(module, outputs, dynamic, error, message, tmp_path):
    with pytest.raises(error, match=message) as found:
        write(module, {"x": torch.ones(3, 4)}, outputs, tmp_path / "f.onnx", dynamic=dynamic)
    assert "\n" not in str(found.value)
    assert list(tmp_path.iterdir()) == []


def test_more_weights_than_one_file_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "_LARGEST", 100)
    with pytest.raises(ConversionError, match=r"the weights take 120 bytes; one ONNX file holds 100"):
        write(nn.Linear(5, 5), {"x": torch.ones(2, 5)}, ["y"], tmp_path / "f.onnx", dynamic={})


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*choose another folder"):
        write(Pair(), {"x": torch.ones(2, 5)}, ["y", "z"], tmp_path / "file" / "f.onnx", dynamic={})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
