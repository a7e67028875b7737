import copy
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradgradcheck

import multirate as mr
from multirate import rectified
from multirate.rectified import NonlinearityHook

BATCH = 6
NONLINEAR = (
    (nn.ReLU, {}),
    (nn.ReLU, {"inplace": True}),
    (nn.SiLU, {}),
    (nn.SiLU, {"inplace": True}),
    (nn.GELU, {}),
)
NAMES = [kind.__name__ + (" in place" if options else "") for kind, options in NONLINEAR]
RESPONSES = ("default", "film", "paper", "sigmoid")
LAYOUTS = (torch.contiguous_format, torch.channels_last)


FUNCTIONS = {nn.ReLU: lambda u: u.clamp(min=0), nn.SiLU: lambda u: u / (1 + torch.exp(-u)), nn.GELU: F.gelu}


class TwoLayers(nn.Module):
    def __init__(self, kind=nn.ReLU, **options):
        super().__init__()
        first, second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 3)
        self.encoder = nn.Sequential(first, kind(**options), second, kind(**options))
        self.decoder = nn.Sequential()

    def forward(self, x):
        return self.encoder(x)


def converted(response="default", dtype=torch.float64, kind=nn.ReLU, **options):
    torch.manual_seed(0)
    model = mr.convert(TwoLayers(kind, **options), decoder=(), response=response).to(dtype)
    with torch.no_grad():  # gates of both signs, and of no special value
        for parameter in model.response.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, dtype=torch.float64).to(dtype))
    return model


def batch(dtype=torch.float64):
    g = torch.Generator().manual_seed(1)
    return torch.randn(BATCH, 2, 7, 7, generator=g, dtype=torch.float64).to(dtype), mr.BetaRange().sample(
        BATCH, g, dtype=torch.float64
    )


def slow_loss(model, x, beta):
    """Return the loss without any hook: plain functions of plain tensors."""
    for layer, gate in zip((model.base.encoder[0], model.base.encoder[2]), model.gates(beta), strict=True):
        x = F.conv2d(x, layer.weight, layer.bias, padding=layer.padding) * gate.scale[:, :, None, None]
        u = x if gate.shift is None else x + gate.shift[:, :, None, None]
        x = FUNCTIONS[type(model.base.encoder[1])](u)
    return (x**2).sum() + x.sum()


def loss_of(model, x, beta):
    y = model(x, beta=beta)
    return (y**2).sum() + y.sum()


def gradients(loss, model):
    return torch.autograd.grad(loss, list(model.parameters()))


def distance(found, truth):
    pairs = list(zip(found, truth, strict=True))
    return max(float((a.double() - b).norm() / (b.norm() + 1e-30)) for a, b in pairs)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("one_beta", [False, True])
@pytest.mark.parametrize("response", RESPONSES)
@pytest.mark.parametrize(("kind", "options"), NONLINEAR, ids=NAMES)
def test_gradients_are_those_of_the_plain_functions(kind, options, response, one_beta, layout):
    model = converted(response, kind=kind, **options)
    x, beta = batch()
    beta = beta[:1] if one_beta else beta
    truth = gradients(slow_loss(model, x, beta), model)
    found = gradients(
        loss_of(model.to(memory_format=layout), x.contiguous(memory_format=layout), beta[0] if one_beta else beta),
        model,
    )
    assert distance(found, truth) < 1e-11


@pytest.mark.parametrize("kind", [nn.ReLU, nn.SiLU])
@pytest.mark.parametrize("response", RESPONSES)
def test_in_single_precision_gradients_are_right_to_rounding(response, kind):
    model, single = converted(response, kind=kind), converted(response, torch.float32, kind)
    single.load_state_dict(model.state_dict())
    model.load_state_dict(single.state_dict())
    x, beta = batch()
    truth = gradients(slow_loss(model, x, beta), model)
    plain = gradients(slow_loss(single, x.float(), beta), single)
    found = gradients(loss_of(single, x.float(), beta), single)
    assert distance(found, truth) < max(5e-6, 10 * distance(plain, truth))


def test_gradients_do_not_depend_on_how_much_of_a_product_is_in_memory(monkeypatch):
    model = converted()
    x, beta = batch()
    whole = gradients(loss_of(model, x, beta), model)
    for numbers in (1, 4 * 7 * 7 * 4):
        monkeypatch.setattr(rectified, "_BLOCK", numbers)
        assert distance(gradients(loss_of(model, x, beta), model), whole) < 1e-14


def test_a_gate_that_is_shut_gives_a_finite_gradient_to_all_else():
    model = converted("film", torch.float32)
    x, beta = batch(torch.float32)
    own = model.response.channel_slices()[0][0]
    with torch.no_grad():
        model.response.weight[own.start] = model.response.bias[own.start] = 0
    truth = gradients(slow_loss(model, x, beta), model)
    found = gradients(loss_of(model, x, beta), model)
    for parameter, mine, theirs in zip(model.parameters(), found, truth, strict=True):
        rest = torch.ones_like(mine, dtype=torch.bool)
        if parameter is model.response.weight or parameter is model.response.bias:
            assert mine[own.start] == 0
            rest[own.start] = False
        assert torch.allclose(mine[rest], theirs[rest], rtol=1e-4, atol=1e-5)


def test_an_output_that_others_use_too_gets_the_gradients_of_both():
    model = converted()
    x, beta = batch()
    layer, relu = model.base.encoder[0], model.base.encoder[1]

    def loss(gated):
        return (relu(gated) ** 2).sum() + (gated**3).sum() + relu(gated).sum()

    with model.at(beta):
        found = torch.autograd.grad(loss(layer(x)), [layer.weight, model.response.bias])
    gate = model.gates(beta)[0]
    pre = F.conv2d(x, layer.weight, layer.bias, padding=1)
    gated = pre * gate.scale[:, :, None, None] + gate.shift[:, :, None, None]
    truth = (gated.clamp(min=0) ** 2).sum() + (gated**3).sum() + gated.clamp(min=0).sum()
    assert distance(found, torch.autograd.grad(truth, [layer.weight, model.response.bias])) < 1e-11


def test_a_hook_on_the_gated_tensor_sees_its_gradient():
    model = converted()
    x, beta = batch()
    seen = []

    def watch(layer, args, output):
        output.register_hook(seen.append)

    truth = gradients(slow_loss(model, x, beta), model)
    model.base.encoder[0].register_forward_hook(watch)
    assert distance(gradients(loss_of(model, x, beta), model), truth) < 1e-11
    assert len(seen) == 1


@pytest.mark.parametrize("kind", [nn.ReLU, nn.SiLU])
def test_second_derivatives_are_those_of_finite_differences(kind):
    model = converted(kind=kind)
    x, beta = batch()

    def run(inputs):
        return model(inputs, beta=beta[:2])

    assert gradgradcheck(run, x[:2, :, :4, :4].clone().requires_grad_(), atol=1e-4)


class Kept:
    def __init__(self, tensor):
        self.tensor = tensor


def kept_bytes(model, run):
    """Return the bytes of the different storages that autograd keeps until backward, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = weakref.WeakSet()

    def note(tensor):
        holder = Kept(tensor.detach())
        kept.add(holder)
        return holder

    with torch.autograd.graph.saved_tensors_hooks(note, lambda holder: holder.tensor):
        result = run()
    storages = {t.data_ptr(): t.nbytes() for t in (holder.tensor.untyped_storage() for holder in kept)}
    del result
    return sum(size for pointer, size in storages.items() if pointer not in own)


@pytest.mark.parametrize("kind", [nn.ReLU, nn.SiLU])
def test_no_pre_activation_is_kept_beside_what_a_plain_model_keeps(kind):
    model = converted(dtype=torch.float32, kind=kind)
    x = torch.randn(64, 2, 20, 20)
    beta = mr.BetaRange().sample(64)
    plain = copy.deepcopy(mr.fold(model, 1.0))
    base = kept_bytes(plain, lambda: plain(x).sum())
    gates = 64 * 4 * sum(2 * layer.channels for layer in model.plan.gated)
    assert base <= kept_bytes(model, lambda: model(x, beta=beta).sum()) <= base + 4 * gates


def test_a_user_s_own_hook_on_the_relu_has_the_last_word():
    torch.manual_seed(0)
    base = TwoLayers()
    base.encoder[1].register_forward_hook(lambda layer, args, output: output * 2)
    model = mr.convert(base.double(), decoder=())
    x, beta = batch()
    layer, gate = model.base.encoder[0], model.gates(beta)[0]
    pre = F.conv2d(x, layer.weight, layer.bias, padding=1)
    truth = 2 * (pre * gate.scale[:, :, None, None] + gate.shift[:, :, None, None]).clamp(min=0)
    with model.at(beta):
        found = model.base.encoder[:2](x)
    assert torch.allclose(found, truth, atol=1e-12)
    weights = [layer.weight, model.response.weight]
    assert distance(torch.autograd.grad(found.sum(), weights), torch.autograd.grad(truth.sum(), weights)) < 1e-11


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # within torch
def test_functional_transforms_and_forward_mode_go_through():
    model = converted()
    x, beta = batch()
    tangent = torch.ones_like(x)
    with model.at(beta):
        slope = torch.func.jvp(model.base, (x,), (tangent,))[1]
        step = 1e-6
        difference = (model.base(x + step * tangent) - model.base(x - step * tangent)) / (2 * step)
    assert torch.allclose(slope, difference, atol=1e-6)


def test_a_fold_has_no_hook_left():
    plain = mr.fold(converted(), 1.0)
    hooks = [hook for module in plain.modules() for hook in module._forward_hooks.values()]
    assert not hooks and any(
        isinstance(hook, NonlinearityHook)
        for module in converted().modules()
        for hook in module._forward_hooks.values()
    )


def test_a_gated_output_carries_nothing_and_nothing_is_held_after_the_call():
    model = converted()
    x, beta = batch()
    with model.at(beta):
        gated = model.base.encoder[0](x)
        assert vars(gated) == {}
        assert model._last.source[0]() is gated
    assert model._last.source is None
    model(x, beta=beta)
    assert model._last.source is None


@pytest.mark.parametrize(("kind", "options"), NONLINEAR, ids=NAMES)
def test_a_gated_output_that_is_added_to_in_place_is_another_tensor(kind, options):
    model = converted(kind=kind, **options)
    x, beta = batch()
    skip = torch.randn(BATCH, 4, 7, 7, dtype=torch.float64, requires_grad=True)
    layer, gate = model.base.encoder[0], model.gates(beta)[0]
    u = F.conv2d(x, layer.weight, layer.bias, padding=1) * gate.scale[:, :, None, None]
    truth = FUNCTIONS[kind](u + gate.shift[:, :, None, None] + skip)
    with model.at(beta):
        found = layer(x)
        found += skip
        found = model.base.encoder[1](found)
    inputs = [layer.weight, model.response.bias, skip]
    assert torch.allclose(found, truth, atol=1e-12)
    assert (
        distance(torch.autograd.grad(found.square().sum(), inputs), torch.autograd.grad(truth.square().sum(), inputs))
        < 1e-11
    )


def test_one_example_at_many_betas_is_gated_without_gradients_too():
    model = converted()
    x, beta = batch()
    with model.at(beta):
        truth = model.base.encoder[0](x[:1]).detach()
        with torch.no_grad():
            found = model.base.encoder[0](x[:1])
    assert found.shape[0] == BATCH
    assert torch.equal(found, truth)
