"""A gate and its nonlinearity as one step of backward, on small tensors, by finite differences."""

import math
import pickle
import threading

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

import multirate as mr
from multirate import rectified
from multirate.rectified import (
    NONLINEARITIES,
    LastGated,
    NonlinearityHook,
    _GatedNonlinearity,
    _summed_product,
    hook_nonlinearities,
)
from multirate.response import Gate

KINDS = [nn.ReLU, nn.SiLU]
# Shapes of the pre-activation and of its gate.
SHAPES = [((3, 4), (3, 4)), ((3, 4), (1, 4)), ((3, 2, 4), (3, 2, 1)), ((4, 3, 2), (1, 1, 2))]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gated(kind: type[nn.Module], pre: Tensor, scale: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor]:
    u = pre * scale if shift is None else pre * scale + shift
    output = kind()(u)
    both: tuple[Tensor, Tensor] = _GatedNonlinearity.apply(  # type: ignore[no-untyped-call]
        pre, scale, shift, u.detach(), output.detach(), NONLINEARITIES[kind]
    )
    return both


def inputs(shape: tuple[int, ...], gate: tuple[int, ...]) -> list[Tensor]:
    # Gates of both signs, away from 0; sums away from the corner of the ReLU.
    scale = randn(*gate, seed=1)
    scale = scale.sign() * (0.3 + scale.abs())
    shift = randn(*gate, seed=2)
    u = randn(*shape, seed=3)
    pre = (u.sign() * (0.1 + u.abs()) - shift) / scale
    return [tensor.requires_grad_() for tensor in (pre, scale, shift)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "gate"), SHAPES, ids=str)
def test_first_and_second_derivatives_are_those_of_finite_differences(
    shape: tuple[int, ...], gate: tuple[int, ...], kind: type[nn.Module]
) -> None:
    tensors = inputs(shape, gate)

    assert gradcheck(lambda *given: gated(kind, *given)[0], tensors)
    assert gradgradcheck(lambda *given: gated(kind, *given)[0], tensors)
    without = [tensors[0].detach().requires_grad_(), tensors[1]]
    assert gradcheck(lambda *given: gated(kind, *given, None)[0], without)
    assert gradgradcheck(lambda *given: gated(kind, *given, None)[0], without)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_may_be_differentiated_again_is_that_of_the_plain_function(kind: type[nn.Module]) -> None:
    pre, scale, shift = tensors = inputs((5, 4), (1, 4))
    weight = randn(5, 4, seed=4)

    truth = torch.autograd.grad((kind()(pre * scale + shift) * weight).sum(), tensors, create_graph=True)
    found = torch.autograd.grad((gated(kind, *tensors)[0] * weight).sum(), tensors, create_graph=True)
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-12)
    second = [torch.autograd.grad(sum(part.sum() for part in first), tensors) for first in (found, truth)]
    torch.testing.assert_close(second[0], second[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kind", "used"), [(nn.ReLU, "output"), *((nn.SiLU, u) for u in ("output", "sum", "both"))])
def test_the_sum_that_a_silu_keeps_may_be_used_with_or_without_the_output(kind: type[nn.Module], used: str) -> None:
    tensors = inputs((3, 4), (3, 4))
    pre, scale, shift = tensors
    u = pre * scale + shift
    truth = {"output": kind()(u).square(), "sum": u**3, "both": kind()(u).square() + u**3}[used]

    output, again = gated(kind, *tensors)

    found = {"output": output.square(), "sum": again**3, "both": output.square() + again**3}[used]
    for one, other in zip(*(torch.autograd.grad(v.sum(), tensors) for v in (found, truth)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_back_is_used_and_the_value_is_that_of_the_nonlinearity(kind: type[nn.Module]) -> None:
    pre, scale, shift = inputs((3, 4), (3, 4))

    output, again = gated(kind, pre, scale, shift)

    assert output.grad_fn is not None
    assert torch.equal(output, kind()(pre * scale + shift))
    assert torch.equal(again, pre * scale + shift)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 0.25, 1.0, 4.0])
def test_the_gradient_of_a_gate_fades_where_its_gate_lets_too_little_through(dtype: torch.dtype, size: float) -> None:
    least = 8 * torch.finfo(dtype).eps
    scale = torch.tensor([[size * least]], dtype=dtype, requires_grad=True)
    pre, shift = torch.tensor([[3.0]], dtype=dtype), torch.tensor([[0.0]], dtype=dtype)

    gated(nn.ReLU, pre, scale, shift)[0].sum().backward()

    assert scale.grad is not None
    # The gradient is the pre-activation, told from the output: 3 s^2 / (s^2 + least^2).
    expected = 3 * size**2 / (size**2 + 1) if size else 0.0
    assert scale.grad.item() == pytest.approx(expected, rel=1e-5)


def test_a_gradient_that_nobody_asks_for_again_takes_no_memory_of_its_own() -> None:
    pre, scale, shift = inputs((3, 4), (3, 4))
    output, _ = gated(nn.ReLU, pre, scale, shift)
    (first,) = torch.autograd.grad(output.sum(), pre, retain_graph=True)
    assert not first.requires_grad
    (second,) = torch.autograd.grad(output.sum(), pre, create_graph=True)
    assert second.requires_grad
    torch.testing.assert_close(first, second.detach(), rtol=0, atol=0)


@pytest.mark.parametrize("numbers", [1, 6, 12, 13, 10**6])
@pytest.mark.parametrize("gate", [(5, 3, 1), (1, 3, 1), (5, 1, 2), (1, 1, 1), (5, 3, 2)], ids=str)
def test_a_product_is_summed_to_the_shape_of_its_gate_whatever_is_in_memory(
    gate: tuple[int, ...], numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rectified, "_BLOCK", numbers)
    one, other = randn(5, 3, 2), randn(5, 3, 2, seed=1)
    axes = [axis for axis, size in enumerate(gate) if size == 1]

    found = _summed_product(one, other, torch.Size(gate))

    torch.testing.assert_close(found, (one * other).sum(axes, keepdim=True) if axes else one * other)


def test_blocks_have_as_many_rows_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    split = Tensor.split

    def noted(tensor: Tensor, size: int) -> tuple[Tensor, ...]:
        rows.append(size)
        return split(tensor, size)

    monkeypatch.setattr(Tensor, "split", noted)
    for numbers in (1, 6, 12, 17, 24, 30):
        monkeypatch.setattr(rectified, "_BLOCK", numbers)
        _summed_product(randn(5, 3, 2), randn(5, 3, 2), torch.Size((5, 3, 1)))
    # Five rows of six numbers; where all fit nothing is split.
    assert rows == [1, 1, 1, 1, 2, 2, 2, 2, 4, 4]
    assert _summed_product(randn(0, 3), randn(0, 3), torch.Size((0, 1))).shape == (0, 1)


def test_the_last_gated_output_is_taken_once_and_by_nobody_else() -> None:
    last, pre, gate = LastGated(), torch.ones(2), Gate(torch.ones(2), None)
    gated_ = pre * gate.scale

    assert last.take(gated_, 0) is None
    last.note(gated_, pre, gate)
    assert last.take(gated_.clone(), 0) is None
    assert last.take(None, 0) is None
    assert last.take(gated_, 0) == (pre, gate)
    assert last.take(gated_, 0) is None
    last.note(gated_, pre, gate)
    del gated_
    assert last.take(None, 0) is None  # what is gone is no input, not even of none


@pytest.mark.parametrize(("changes", "taken"), [(0, False), (1, True), (2, False)])
def test_a_gated_output_that_was_changed_is_another_unless_the_nonlinearity_did_it(changes: int, taken: bool) -> None:
    last, gate = LastGated(), Gate(torch.ones(2), None)
    output = torch.ones(2)
    output.add_(1)
    last.note(output, torch.ones(2), gate)
    output.add_(1)

    assert (last.take(output, changes) is not None) is taken
    assert last.take(output, changes) is None


def test_each_thread_has_its_own_last_output_and_a_copy_has_none() -> None:
    last, output, gate = LastGated(), torch.ones(2), Gate(torch.ones(2), None)
    last.note(output, output, gate)
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append((last.source, last.take(output, 0))))
    thread.start()
    thread.join()

    assert seen == [(None, None)]
    assert pickle.loads(pickle.dumps(last)).source is None
    assert last.take(output, 0) is not None


class ToOnePlace(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(2, 3, 4), kind(), nn.Conv2d(3, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.encoder(x)
        return y


@pytest.mark.parametrize("kind", KINDS)
def test_a_convolution_to_one_place_gives_its_shift_the_right_gradient(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = mr.convert(ToOnePlace(kind).double(), decoder=(), response="film")
    with torch.no_grad():
        for parameter in model.response.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x, beta = randn(5, 2, 4, 4), torch.logspace(-2, 1, 5, dtype=torch.float64)
    names = [name for name, _ in model.named_parameters()]

    def loss(*values: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,), {"beta": beta})
        return found.square().sum()

    assert gradcheck(loss, [p.detach().clone().requires_grad_() for p in model.parameters()])


class Case:
    """A hook, and a gated output that it knows."""

    def __init__(self, kind: type[nn.Module]) -> None:
        self.last, self.layer = LastGated(), kind()
        self.hook = NonlinearityHook(self.last, kind)
        self.pre, scale = randn(3, 4).requires_grad_(), randn(3, 4, seed=1)
        self.gated = self.pre * scale
        self.last.note(self.gated, self.pre, Gate(scale, None))


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_gives_the_output_a_new_way_back(kind: type[nn.Module]) -> None:
    case = Case(kind)
    output = case.layer(case.gated)

    found = case.hook(case.layer, (case.gated,), output)

    assert found is not None
    assert torch.equal(found, output)
    assert type(found.grad_fn).__name__ == "_GatedNonlinearityBackward"
    assert case.last.source is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_leaves_alone_what_it_does_not_know(kind: type[nn.Module]) -> None:
    case = Case(kind)
    other = case.gated.clone()

    assert case.hook(case.layer, (), case.layer(other)) is None
    assert case.hook(case.layer, (other,), case.layer(other)) is None
    assert case.last.source is not None


def test_a_hook_leaves_alone_what_somebody_watches() -> None:
    case = Case(nn.ReLU)
    case.gated.register_hook(lambda grad: grad)

    assert case.hook(case.layer, (case.gated,), case.layer(case.gated)) is None


def test_a_hook_leaves_forward_mode_alone() -> None:
    case = Case(nn.ReLU)
    output = case.layer(case.gated)

    with torch.autograd.forward_ad.dual_level():
        assert case.hook(case.layer, (case.gated,), output) is None
    assert case.hook(case.layer, (case.gated,), output) is not None


@pytest.mark.parametrize(("kind", "known"), [(nn.ReLU, True), (nn.SiLU, False)])
def test_in_place_a_relu_has_what_it_keeps_and_a_silu_has_lost_it(kind: type[nn.Module], known: bool) -> None:
    case = Case(kind)
    case.gated = case.gated.detach()
    case.last.note(case.gated, case.pre, Gate(torch.ones(3, 4), None))
    output = kind(inplace=True)(case.gated)

    assert output is case.gated
    assert (case.hook(case.layer, (case.gated,), output) is not None) is known


def test_nonlinearities_of_exactly_these_types_are_hooked_before_others() -> None:
    class Mine(nn.ReLU):
        pass

    base, last, order = nn.Sequential(nn.ReLU(), nn.SiLU(), Mine(), nn.Tanh()), LastGated(), []
    base[0].register_forward_hook(lambda *given: order.append("mine"))
    hook_nonlinearities(base, last)

    hooks = [list(module._forward_hooks.values()) for module in base]
    assert [len(h) for h in hooks] == [2, 1, 0, 0]
    for kind, (first, *_) in zip(KINDS, hooks[:2], strict=True):
        assert isinstance(first, NonlinearityHook)
        assert (first.last, first.kind) == (last, kind)
    assert math.isclose(float(base(torch.zeros(1))), 0.0)
    assert order == ["mine"]
