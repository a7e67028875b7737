import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from multirate.errors import BetaError, ConversionError
from multirate.layers import (
    NORMALIZING,
    RECURRENT,
    WEIGHTED,
    Kind,
    apply_gate,
    copied,
    gated_recurrent_weights,
    kind_of,
    replace_parameter,
    scale_and_shift,
    spread_gate,
)
from multirate.response import Gate

# A layer, the shape of its input, its gates, the gates of its input, the axis of its channels from the end.
CASES = {
    "Linear": (lambda: nn.Linear(3, 4), (5, 3), 4, 3, -1),
    "Linear without bias": (lambda: nn.Linear(3, 4, bias=False), (5, 2, 3), 4, 3, -1),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3), (5, 4, 7), 6, 4, -2),
    "Conv1d of groups": (lambda: nn.Conv1d(4, 6, 3, groups=2), (5, 4, 7), 6, 0, -2),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3), (5, 4, 7, 6), 6, 4, -3),
    "Conv3d": (lambda: nn.Conv3d(4, 6, 2), (5, 4, 3, 3, 4), 6, 4, -4),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3), (5, 4, 7), 6, 4, -2),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (5, 4, 3, 2), 6, 4, -3),
    "ConvTranspose2d of groups": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (5, 4, 3, 2), 6, 0, -3),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 6, 2, bias=False), (5, 4, 3, 3, 2), 6, 4, -4),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(3), (5, 3), 3, 0, 1),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3), (5, 3, 2, 4), 3, 0, 1),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(3), (5, 3, 2, 4, 2), 3, 0, 1),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(3, affine=True), (5, 3, 4), 3, 0, -2),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(3, affine=True), (5, 3, 4, 2), 3, 0, -3),
    "InstanceNorm3d": (lambda: nn.InstanceNorm3d(3, affine=True), (5, 3, 4, 2, 2), 3, 0, -4),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (5, 4, 3), 4, 0, 1),
    "LayerNorm": (lambda: nn.LayerNorm(4), (5, 4), 4, 0, -1),
    "LayerNorm of images": (lambda: nn.LayerNorm((3, 4, 2)), (5, 3, 4, 2), 3, 0, -3),
    "LayerNorm without bias": (lambda: nn.LayerNorm((3, 4), bias=False), (5, 3, 4), 3, 0, -2),
}
RECURRENT_CASES = {
    "LSTM": lambda: nn.LSTM(3, 2),
    "LSTM of two layers and directions": lambda: nn.LSTM(3, 2, num_layers=2, bidirectional=True),
    "LSTM with projections": lambda: nn.LSTM(3, 4, num_layers=2, proj_size=2),
    "GRU": lambda: nn.GRU(3, 2, num_layers=2),
    "GRU without bias": lambda: nn.GRU(3, 2, bias=False),
}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(name: str) -> tuple[nn.Module, Tensor, Kind]:
    torch.manual_seed(0)
    layer = CASES[name][0]().double()
    with torch.no_grad():
        for seed, parameter in enumerate(layer.parameters()):
            parameter.copy_(randn(*parameter.shape, seed=seed + 1))
    kind = kind_of(layer)
    assert kind is not None
    return layer, randn(*CASES[name][1]), kind


def along(values: Tensor, output: Tensor, axis: int) -> Tensor:
    shape = [1] * output.ndim
    shape[axis] = -1
    return values.reshape(shape)


@pytest.mark.parametrize("name", CASES)
def test_channels_inputs_and_axis_are_those_of_the_layer(name: str) -> None:
    layer, x, kind = made(name)
    _, _, channels, inputs, axis = CASES[name]

    assert (kind.channels(layer), kind.inputs(layer), kind.axis(layer)) == (channels, inputs, axis)
    assert layer(x).shape[axis] == channels


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_a_folded_layer_computes_the_gated_output(name: str, shifted: bool) -> None:
    layer, x, kind = made(name)
    scale = randn(CASES[name][2], seed=8)
    shift = randn(CASES[name][2], seed=9) if shifted and layer.bias is not None else None
    folded = copy.deepcopy(layer)

    kind.fold(folded, Gate(scale, shift))

    output, axis = layer(x), CASES[name][4]
    expected = along(scale, output, axis) * output + (0 if shift is None else along(shift, output, axis))
    torch.testing.assert_close(folded(x), expected, rtol=1e-10, atol=1e-12)
    assert [k for k, _ in folded.named_parameters()] == [k for k, _ in layer.named_parameters()]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[3]])
def test_a_layer_with_a_folded_input_computes_the_output_of_the_gated_input(name: str) -> None:
    layer, x, kind = made(name)
    scale = randn(CASES[name][3], seed=8)
    expected = layer(along(scale, x, CASES[name][4]) * x)

    kind.fold_input(layer, scale)

    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-12)


def test_a_layer_whose_input_cannot_be_gated_is_left_as_it_is_by_folding_one() -> None:
    layer, _, kind = made("BatchNorm1d")
    before = copy.deepcopy(layer.state_dict())

    kind.fold_input(layer, randn(3))

    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)


def gates_of(layer: nn.Module) -> int:
    return sum(p.shape[0] for name, p in layer.named_parameters() if name.startswith("weight_ih"))


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("name", RECURRENT_CASES)
def test_a_row_of_a_recurrent_layer_and_its_biases_share_one_gate(name: str, shifted: bool) -> None:
    torch.manual_seed(0)
    layer = RECURRENT_CASES[name]().double()
    kind = kind_of(layer)
    assert kind is not None
    count = gates_of(layer)
    scale, shift = randn(count, seed=8), randn(count, seed=9) if shifted else None

    gated = dict(gated_recurrent_weights(layer, Gate(scale, shift)))

    assert (kind.channels(layer), kind.axis(layer), kind.inputs(layer)) == (count, -1, 0)
    assert list(gated) == [key for key, _ in layer.named_parameters()]
    start = 0
    for suffix in [key.removeprefix("weight_ih") for key in gated if key.startswith("weight_ih")]:
        rows = slice(start, start + getattr(layer, f"weight_ih{suffix}").shape[0])
        start = rows.stop
        for family in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"):
            if (value := getattr(layer, family + suffix, None)) is None:
                continue
            expected = value if family == "weight_hr" else scale[rows].reshape(-1, *[1] * (value.ndim - 1)) * value
            expected = expected + shift[rows] if family == "bias_ih" and shift is not None else expected
            torch.testing.assert_close(gated[family + suffix], expected, rtol=0, atol=0)
    kind.fold(layer, Gate(scale, shift))
    for key, value in gated.items():
        torch.testing.assert_close(getattr(layer, key), value, rtol=0, atol=0)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_replaced_parameter_is_as_trainable_as_before_and_shares_no_memory(trainable: bool) -> None:
    layer, value = nn.Linear(2, 3).requires_grad_(trainable), torch.ones(3, 2, requires_grad=True)

    replace_parameter(layer, "weight", value)

    assert isinstance(layer.weight, nn.Parameter)
    assert layer.weight.requires_grad is trainable
    assert layer.weight.is_leaf
    assert layer.weight.data_ptr() != value.data_ptr()
    torch.testing.assert_close(layer.weight.data, value.data, rtol=0, atol=0)


def test_a_shared_parameter_is_replaced_in_one_layer_alone() -> None:
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.weight = one.weight
    before = one.weight.detach().clone()

    replace_parameter(other, "weight", 2 * other.weight)

    torch.testing.assert_close(one.weight.data, before, rtol=0, atol=0)
    torch.testing.assert_close(other.weight.data, 2 * before, rtol=0, atol=0)


def test_a_copy_shares_no_memory_and_its_transformers_use_no_nested_tensors() -> None:
    base = nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, batch_first=True), 1))

    copy_ = copied(base)

    ours = {p.data_ptr() for p in base.parameters()}
    assert not ours & {p.data_ptr() for p in copy_.parameters()}
    assert copy_[1].use_nested_tensor is False
    assert base[1].use_nested_tensor is True


def test_a_module_that_cannot_be_copied_is_refused_with_its_class_and_the_first_sentence() -> None:
    base = nn.Linear(2, 2)
    base.kept = base.weight * 2

    with pytest.raises(
        ConversionError, match=r"^Linear cannot be copied: Only Tensors created explicitly[^.]*; remove"
    ):
        copied(base)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Named(nn.Linear):
    pass


class Padded(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return 2 * super()._conv_forward(x, weight, bias)


def test_a_kind_is_found_for_subclasses_that_compute_the_same_alone() -> None:
    assert kind_of(Named(2, 3)) is WEIGHTED[nn.Linear]
    assert kind_of(Doubled(2, 3)) is None
    assert kind_of(Padded(2, 3, 1)) is None
    assert kind_of(nn.ReLU()) is None


def test_a_kind_is_looked_up_in_the_tables_that_are_named() -> None:
    layer = nn.Linear(2, 3)

    assert kind_of(layer, NORMALIZING) is None
    assert kind_of(layer, NORMALIZING, WEIGHTED) is WEIGHTED[nn.Linear]
    assert kind_of(nn.GRU(2, 3)) is RECURRENT[nn.GRU]
    assert kind_of(nn.SyncBatchNorm(3)) is NORMALIZING[nn.SyncBatchNorm]


def test_kinds_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        WEIGHTED[nn.Linear].axis = lambda layer: 0  # type: ignore[misc]


# Shape of an output, axis of its channels, and the beta of each of its examples; one example is seen by all betas.
SPREADS = [
    ((4, 3), -1, [0, 0, 0, 0]),
    ((4, 3), -1, [0, 1, 2, 3]),
    ((4, 3), 1, [0, 1, 2, 3]),
    ((4, 3), -1, [0, 0, 1, 1]),
    ((6, 5, 3), -1, [0, 0, 0, 1, 1, 1]),
    ((4, 5, 3), -1, [0, 1, 2, 3]),
    ((4, 3, 2, 2), 1, [0, 0, 1, 1]),
    ((4, 3, 2, 2), -3, [0, 1, 2, 3]),
    ((1, 3, 2), 1, [0, 1, 2]),
    ((1, 3), -1, [0, 1, 2]),
]


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize(("shape", "axis", "rows"), SPREADS, ids=str)
def test_a_gate_multiplies_the_channels_of_its_own_examples(
    shape: tuple[int, ...], axis: int, rows: list[int], shifted: bool
) -> None:
    output, betas = randn(*shape), max(rows) + 1
    scale, shift = randn(betas, 3, seed=1), randn(betas, 3, seed=2) if shifted else None

    actual = apply_gate(output, Gate(scale, shift), axis, "layer")

    examples = output.expand(len(rows), *shape[1:]).movedim(axis, -1)
    expected = torch.stack(
        [
            scale[row] * example + (0 if shift is None else shift[row])
            for row, example in zip(rows, examples, strict=True)
        ]
    ).movedim(-1, axis)
    torch.testing.assert_close(actual, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("shape", "axis"), [((3,), -1), ((3, 2), -2), ((3, 2), 0)], ids=str)
def test_one_beta_is_enough_for_an_example_without_a_batch_axis(shape: tuple[int, ...], axis: int) -> None:
    output, gate = randn(*shape), Gate(randn(1, 3, seed=1), randn(1, 3, seed=2))

    actual = apply_gate(output, gate, axis, "layer")

    assert gate.shift is not None
    expected = along(gate.scale[0], output, axis) * output + along(gate.shift[0], output, axis)
    torch.testing.assert_close(actual, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("shape", "axis", "betas"), [((5, 3), -1, 2), ((0, 3), -1, 2), ((2, 3), -1, 4), ((5, 2, 3), -1, 3)], ids=str
)
def test_betas_that_fit_no_examples_are_refused(shape: tuple[int, ...], axis: int, betas: int) -> None:
    with pytest.raises(BetaError, match=rf"{betas} betas for layer 'first', which sees {shape[0]} examples"):
        apply_gate(torch.zeros(shape), Gate(torch.ones(betas, 3), None), axis, "first")


@pytest.mark.parametrize(("shape", "axis"), [((3,), -1), ((3, 3, 3), -3), ((3, 4), 0)], ids=str)
def test_several_betas_for_an_example_without_a_batch_axis_are_refused(shape: tuple[int, ...], axis: int) -> None:
    with pytest.raises(BetaError, match="3 betas for layer 'first', which sees one example without a batch axis"):
        spread_gate(Gate(torch.ones(3, 3), None), torch.zeros(shape), axis, "first")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_gate_takes_the_type_of_the_output(dtype: torch.dtype) -> None:
    gate = Gate(torch.ones(2, 3), torch.ones(2, 3))

    scale, shift = spread_gate(gate, torch.zeros(2, 3, dtype=dtype), -1, "layer")

    assert shift is not None
    assert (scale.dtype, shift.dtype) == (dtype, dtype)
    assert spread_gate(Gate(gate.scale, None), torch.zeros(2, 3, dtype=dtype), -1, "layer").shift is None


def test_a_gate_that_fits_already_is_not_copied() -> None:
    scale, shift = torch.ones(2, 3), torch.ones(2, 3)

    spread = spread_gate(Gate(scale, shift), torch.zeros(2, 3), -1, "layer")

    assert spread.scale is scale
    assert spread.shift is shift


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("shifted", [True, False])
def test_scaling_and_shifting_writes_where_it_is_told(shape: tuple[int, ...], shifted: bool) -> None:
    output = randn(*shape)
    scale = along(randn(3, seed=1), output, 1)
    shift = along(randn(3, seed=2), output, 1) if shifted else None
    expected = scale * output + (0 if shift is None else shift)

    fresh = scale_and_shift(output, Gate(scale, shift))
    assert fresh.data_ptr() != output.data_ptr()
    torch.testing.assert_close(fresh, expected, rtol=1e-14, atol=1e-14)

    written = scale_and_shift(output, Gate(scale, shift), output)
    assert written.data_ptr() == output.data_ptr()
    torch.testing.assert_close(output, expected, rtol=1e-14, atol=1e-14)


def test_scaling_keeps_the_memory_format() -> None:
    output = randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    gate = Gate(along(randn(3, seed=1), output, 1), along(randn(3, seed=2), output, 1))

    assert scale_and_shift(output, gate).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(scale_and_shift(output, gate), gate.scale * output + gate.shift, rtol=1e-14, atol=1e-14)
