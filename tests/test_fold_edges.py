"""Folding in small: one gated layer, several kinds at once, the hooks of others, and latents."""

import threading
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import multirate as mr
from latent_cases import Inner, Named, build
from latent_cases import randomized as with_latents
from multirate.errors import BetaError, ConversionError
from multirate.fold import fold

DICTIONARIES = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_with_kwargs",
)


class Reader(nn.Module):
    """A recurrent and two feed-forward layers, a ReLU between, one layer that is shared in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"rows": nn.GRU(3, 4, batch_first=True), "first": nn.Linear(4, 5)})
        self.relu = nn.ReLU()
        self.decoder = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.decoder(self.relu(self.encoder["first"](self.encoder["rows"](x)[0])))
        return y


def converted(base: nn.Module, dtype: torch.dtype = torch.float64, **options: Any) -> mr.MultiRate:
    torch.manual_seed(0)
    model = mr.convert(base.to(dtype), **options)
    with torch.no_grad():
        for parameter in model.response.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=torch.float64).to(dtype))
    return model


@pytest.mark.parametrize(
    "beta", [0.3, torch.tensor(0.3, dtype=torch.float64), [0.3], torch.tensor([0.3], dtype=torch.float64)], ids=str
)
@pytest.mark.parametrize("response", ["default", "paper", "film"])
def test_layers_of_several_kinds_are_folded_each_by_its_own_gate(response: str, beta: Any) -> None:
    model = converted(Reader(), response=response)
    x = torch.randn(4, 6, 3, dtype=torch.float64)

    plain = fold(model, beta)

    assert type(plain) is Reader
    torch.testing.assert_close(plain(x), model(x, beta=0.3), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(plain(x), model(x, beta=3.0))


def test_one_gated_layer_is_enough() -> None:
    model = converted(nn.Sequential(nn.Linear(3, 2)), encoder="0", decoder=())
    x = torch.randn(4, 3, dtype=torch.float64)

    assert len(model.plan.gated) == 1
    torch.testing.assert_close(fold(model, 0.3)(x), model(x, beta=0.3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_fold_has_the_types_of_the_base(dtype: torch.dtype) -> None:
    model = converted(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)), dtype, encoder="*", decoder=())
    model.response.double()

    plain = fold(model, 0.3)

    assert {p.dtype for p in plain.parameters()} == {dtype}
    assert plain(torch.ones(2, 3, dtype=dtype)).isfinite().all()


def test_a_fold_holds_no_graph_and_leaves_the_model_as_it_was() -> None:
    model = converted(Reader())
    before = {name: value.clone() for name, value in model.state_dict().items()}

    plain = fold(model, 0.3)

    assert all(p.is_leaf and p.requires_grad for p in plain.parameters())
    ours = {p.data_ptr() for p in model.parameters()}
    assert not ours & {p.data_ptr() for p in plain.parameters()}
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("vae", [Named, Inner])
def test_gates_of_latents_are_folded_into_heads_and_the_layer_that_takes_them(vae: type) -> None:
    model = with_latents(vae)
    x = model.base.batch()

    for beta in (0.02, 5.0):
        for folded, gated in zip(fold(model, beta)(x), model(x, beta=beta), strict=True):
            torch.testing.assert_close(folded, gated, rtol=1e-11, atol=1e-12)
    assert any(layer.on_input for layer in model.plan.gated)
    assert any(module._forward_pre_hooks_with_kwargs for module in model.base.modules())
    left = [getattr(module, name) for module in fold(model, 5.0).modules() for name in DICTIONARIES]
    assert not any(left)
    assert not torch.allclose(fold(model, 0.02)(x)[0], build(vae)(x)[0])


def test_hooks_of_others_stay_and_ours_go_from_every_list() -> None:
    base, seen = Reader(), []
    hooks = [
        base.encoder["first"].register_forward_hook(lambda *given: seen.append("always"), always_call=True),
        base.encoder["first"].register_forward_pre_hook(lambda *given: seen.append("keywords"), with_kwargs=True),
        base.encoder["rows"].register_forward_pre_hook(lambda *given: seen.append("before")),
        base.relu.register_forward_hook(lambda *given: seen.append("after")),
    ]
    keys = {hook.id for hook in hooks}
    model = converted(base)

    plain = fold(model, 0.3)

    left = [key for module in plain.modules() for name in DICTIONARIES[:2] for key in getattr(module, name)]
    assert len(left) == len(keys)
    for module in plain.modules():
        known = {key for name in DICTIONARIES[:2] for key in getattr(module, name)}
        assert {key for name in DICTIONARIES[2:] for key in getattr(module, name)} <= known
    assert len(plain.encoder["first"]._forward_hooks_always_called) == 1  # type: ignore[index, union-attr]
    assert len(plain.encoder["first"]._forward_pre_hooks_with_kwargs) == 1  # type: ignore[index, union-attr]
    plain(torch.ones(1, 2, 3, dtype=torch.float64))
    assert seen == ["before", "keywords", "always", "after"]
    hooked = sum(len(getattr(module, name)) for module in model.base.modules() for name in DICTIONARIES[:2])
    assert hooked > len(keys)


def test_a_hook_that_cannot_be_told_from_ours_by_name_is_kept() -> None:
    class Counter:
        def __init__(self) -> None:
            self.calls = 0

        def before(self, layer: nn.Module, args: Any) -> None:
            self.calls += 1

    base, counter = nn.Sequential(nn.Linear(3, 2)), Counter()
    base[0].register_forward_pre_hook(counter.before)

    plain = fold(converted(base, encoder="0", decoder=()), 0.3)
    plain(torch.ones(1, 3, dtype=torch.float64))

    (kept,) = plain[0]._forward_pre_hooks.values()  # type: ignore[index, union-attr]
    assert kept.__self__.calls == 1


def test_what_cannot_be_folded_is_refused_and_named() -> None:
    model = converted(Reader())

    with pytest.raises(ConversionError, match=r"^fold takes a multi-rate model; a Reader is plain already$"):
        fold(Reader(), 0.3)  # type: ignore[arg-type]
    with pytest.raises(BetaError, match=r"^fold takes one beta; got 3$"):
        fold(model, [0.1, 0.2, 0.3])
    with pytest.raises(BetaError, match="outside the range"):
        fold(model, 1e3)
    with pytest.raises(BetaError, match="beta is missing"):
        fold(model, None)  # type: ignore[arg-type]
    locked = nn.Sequential(nn.Linear(3, 2))
    refused = converted(locked, encoder="0", decoder=())
    refused.base.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ConversionError, match="Sequential cannot be copied"):
        fold(refused, 0.3)


def test_a_fold_has_none_of_the_forwards_that_an_evaluation_lends_and_all_that_somebody_set() -> None:
    model = converted(Reader())
    lent, own = model.base.encoder["first"], model.base.decoder
    lent.forward = MethodType(type(lent).forward, lent)  # type: ignore[method-assign]
    own.forward = MethodType(type(lent).forward, lent)  # type: ignore[method-assign]
    model.base.relu.forward = torch.relu  # type: ignore[method-assign]

    plain = fold(model, 0.3)
    assert "forward" not in vars(plain.encoder["first"])  # type: ignore[index]
    assert vars(plain.relu)["forward"] is torch.relu  # type: ignore[arg-type]
    assert vars(plain.decoder)["forward"].__self__ is plain.encoder["first"]  # type: ignore[arg-type, index]
