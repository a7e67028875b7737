"""Converted VAEs with gated latents: folded, preserved, saved, copied and compiled."""

import copy
import json
import pickle

import pytest
import torch
from torch import nn

from latent_cases import BETAS, RANGE, VAES, Convolutional, Joint, Named, Small, build, nats, randomized
from multirate import models
from multirate.beta import BetaRange
from multirate.convert import convert
from multirate.errors import BetaError, ConversionError
from multirate.fold import fold
from multirate.layers import WEIGHTED, kind_of
from multirate.loading import load
from multirate.seeding import seeded

INPUTS = [
    (lambda: nn.Linear(3, 4), (3,)),
    (lambda: nn.Conv1d(3, 4, 3), (3, 5)),
    (lambda: nn.Conv2d(3, 4, 3, 2, 1, bias=False), (3, 5, 5)),
    (lambda: nn.Conv3d(3, 4, 2), (3, 3, 3, 3)),
    (lambda: nn.ConvTranspose1d(3, 4, 3), (3, 5)),
    (lambda: nn.ConvTranspose2d(3, 4, 3, 2, 1, 1), (3, 4, 4)),
    (lambda: nn.ConvTranspose3d(3, 4, 2, 2), (3, 2, 2, 2)),
]
GROUPED = [
    lambda: nn.Conv1d(4, 4, 3, groups=2),
    lambda: nn.Conv2d(4, 4, 3, groups=4),
    lambda: nn.Conv3d(4, 4, 2, groups=2),
    lambda: nn.ConvTranspose1d(4, 4, 3, groups=2),
    lambda: nn.ConvTranspose2d(4, 4, 3, groups=2),
    lambda: nn.ConvTranspose3d(4, 4, 2, groups=2),
]
BUILT_IN = [(models.linear, (1, 8, 8)), (models.mlp, (1, 8, 8)), (models.resnet, (1, 28, 28))]


def noisy(model, x, **options):
    """Return rate and distortion with the same noise for whoever asks."""
    with seeded(7):
        terms = model.terms(x, **options)
    return terms.rate, terms.distortion


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("vae", VAES, ids=lambda vae: vae.__name__)
def test_folded_equals_gated_in_float64(vae, training):
    model = randomized(vae).train(training)
    x, ungated = model.base.batch(), build(vae)(build(vae).batch())
    for beta in (0.01, 0.3, 10.0, 13.5):
        plain = fold(model, beta)
        pairs = [*zip(model(x, beta=beta), plain(x), strict=True)]
        pairs += [*zip(noisy(model, x, beta=beta), noisy(plain, x), strict=True)]
        for gated, folded in pairs:
            assert (gated - folded).abs().max() <= 1e-12 * gated.abs().max() + 1e-15
        assert not any(torch.allclose(a, b) for a, b in zip(plain(x), ungated, strict=True))


@pytest.mark.parametrize("vae", VAES, ids=lambda vae: vae.__name__)
def test_folded_is_a_plain_deep_copy_without_hooks(vae):
    model, base = randomized(vae), build(vae)
    before = copy.deepcopy(model.state_dict())
    plain = fold(model, 0.3)
    assert type(plain) is vae
    assert list(plain.state_dict()) == list(base.state_dict())
    for module in plain.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._forward_pre_hooks_with_kwargs
        assert not module._forward_hooks_with_kwargs
        assert not module._forward_hooks_always_called
    with torch.no_grad():
        for tensor in plain.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert any(module._forward_pre_hooks for module in model.base.modules())


@torch.no_grad()
@pytest.mark.parametrize("vae", VAES, ids=lambda vae: vae.__name__)
def test_a_shut_latent_folds_to_next_to_nothing_in_its_own_places_alone(vae):
    model = randomized(vae)
    open_there = fold(model, 0.01)
    model.response.thresholds[1] = RANGE.standardize(1e-4)
    shut = fold(model, 0.01)
    places = [(vae.heads[0], 0), (vae.taker, 0 if "Transpose" in type(shut.get_submodule(vae.taker)).__name__ else 1)]
    for name, axis in places:
        was, now = (plain.get_submodule(name).weight.movedim(axis, 0) for plain in (open_there, shut))
        assert now[1].abs().max() <= 0.01 * was[1].abs().max()
        assert torch.equal(now[[0, 2]], was[[0, 2]])


def test_every_weighted_layer_has_a_case():
    assert {type(make()) for make, _ in INPUTS} == set(WEIGHTED)


@torch.no_grad()
@pytest.mark.parametrize(("make", "shape"), INPUTS, ids=lambda case: "" if isinstance(case, tuple) else None)
def test_folding_an_input_gate_equals_scaling_the_input(make, shape):
    torch.manual_seed(0)
    layer = make().double()
    kind = kind_of(layer)
    x = torch.randn(5, *shape, dtype=torch.float64)
    scale = torch.tensor([0.3, 1.7, -2.0], dtype=torch.float64)
    expected = layer(x * scale.reshape(-1, *[1] * (len(shape) - 1)))
    assert kind.inputs(layer) == 3
    assert x.shape[kind.axis(layer)] == 3
    kind.fold_input(layer, scale)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", GROUPED)
def test_a_grouped_convolutions_input_takes_no_gates(make):
    layer = make()
    assert kind_of(layer).inputs(layer) == 0


@pytest.mark.parametrize("beta", [0.01, 0.3, 10.0, 13.5])
@pytest.mark.parametrize("vae", VAES, ids=lambda vae: vae.__name__)
def test_preserve_at_reproduces_the_base_and_leaves_it_alone(vae, beta):
    base = build(vae)
    before, x = copy.deepcopy(base.state_dict()), base.batch()
    model = convert(base, RANGE, preserve_at=beta)
    for gated, plain in zip(
        (*model(x, beta=beta), *noisy(model, x, beta=beta)), (*base(x), *noisy(base, x)), strict=True
    ):
        torch.testing.assert_close(gated, plain, rtol=1e-10, atol=1e-10)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in base.modules())
    assert min(nats(model)) >= torch.tensor(beta).log() + 1 - 1e-6


@pytest.mark.parametrize("builder", [models.mlp, models.linear])
@pytest.mark.parametrize("beta", [0.01, 1.0, 10.0])
def test_preserve_at_reproduces_a_built_in_network(builder, beta):
    with seeded(0):
        base = builder(shape=(1, 4, 4), latents=3).double()
    x = torch.rand(6, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).round()
    model = convert(base, RANGE, preserve_at=beta)
    for gated, plain in zip(noisy(model, x, beta=beta), noisy(base, x), strict=True):
        torch.testing.assert_close(gated, plain, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(noisy(model, x, beta=RANGE.low if beta > 1 else 10.0)[0], noisy(base, x)[0])


def test_thresholds_above_preserve_at_stay_where_they_start():
    ordinary, preserved = convert(build(Named), RANGE), convert(build(Named), RANGE, preserve_at=0.01)
    assert torch.equal(preserved.response.thresholds, ordinary.response.thresholds)
    assert torch.equal(preserved.response.weight, torch.zeros_like(preserved.response.weight))


def test_preserve_at_outside_the_reach_is_refused():
    with pytest.raises(BetaError, match="outside the range"):
        convert(build(Named), RANGE, preserve_at=14.0)


def test_preserve_at_refuses_a_head_that_shares_its_weight():
    base = build(Named)
    base.fc_logvar.weight = base.fc_mu.weight
    with pytest.raises(ConversionError, match="'fc_mu' shares a parameter"):
        convert(base, RANGE, preserve_at=1.0)
    model = convert(base, RANGE)
    plain = fold(model, 10.0)
    assert not torch.equal(plain.fc_mu.weight, plain.fc_logvar.weight)
    for gated, folded in zip(model(base.batch(), beta=10.0), plain(base.batch()), strict=True):
        torch.testing.assert_close(gated, folded, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("builder", "shape"), BUILT_IN, ids=lambda case: getattr(case, "__name__", ""))
def test_a_built_in_model_comes_back_bit_for_bit_with_thresholds_and_sampling(builder, shape, tmp_path):
    beta_range = BetaRange(0.02, 5.0, skew=2.5, margin=1.2)
    with seeded(0):
        model = convert(builder(shape=shape, latents=4), beta_range).eval()
        for parameter in model.response.parameters():
            nn.init.normal_(parameter, std=0.2)
    twin = load(model.save(tmp_path))
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(noisy(model, x, beta=0.3), noisy(twin, x, beta=0.3), strict=True))
    assert twin.beta_range == beta_range
    assert twin.plan.gated == model.plan.gated
    assert twin.state_dict().keys() == model.state_dict().keys() >= {"response.thresholds", "response.curvature"}
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in model.state_dict().items())
    written = json.loads((tmp_path / "model.json").read_text())["multirate"]["beta_range"]
    assert written == {"low": 0.02, "high": 5.0, "skew": 2.5, "margin": 1.2}


def test_a_skew_left_to_the_default_is_saved_so(tmp_path):
    folder = randomized(Named).save(tmp_path)
    assert json.loads((folder / "model.json").read_text())["multirate"]["beta_range"]["skew"] is None
    assert load(folder, base=build(Named)).beta_range == RANGE


@pytest.mark.parametrize("vae", [Named, Joint], ids=lambda vae: vae.__name__)
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "files"])
def test_copies_compute_the_same_and_are_independent(vae, how, tmp_path):
    model = randomized(vae)
    x = model.base.batch()
    expected = model(x, beta=BETAS)
    if how == "deepcopy":
        twin = copy.deepcopy(model)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    else:
        twin = load(model.save(tmp_path), base=build(vae))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(torch.equal(a, b) for a, b in zip(twin(x, beta=BETAS), expected, strict=True))
    with model.at(0.3), pytest.raises(BetaError, match="no beta is set"):
        twin.base(x)


def test_a_plan_whose_latents_do_not_fit_the_base_is_refused(tmp_path):
    folder = randomized(Named).save(tmp_path)
    other = build(Named)
    other.decoder_input = nn.Linear(4, 6)
    with pytest.raises(ConversionError, match="the plan has 3 gates for 'decoder_input'"):
        load(folder, base=other)


def test_low_precision_layers_stay_so_and_thresholds_do_not():
    model = convert(build(Convolutional, torch.bfloat16), RANGE)
    assert model.response.thresholds.dtype == torch.float32
    mean, log_variance = model(model.base.batch(dtype=torch.bfloat16), beta=BETAS.float())
    assert mean.dtype == log_variance.dtype == torch.bfloat16


class Summed(nn.Module):
    """Rate and distortion as one tensor, for what compiles forwards."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x, beta):
        terms = self.model.terms(x, beta=beta)
        return torch.stack([terms.rate, terms.distortion])


@pytest.mark.slow
@pytest.mark.parametrize("vae", [Named, Convolutional, Joint], ids=lambda vae: vae.__name__)
def test_terms_compiled_fullgraph_equal_eager_ones_forward_and_backward(vae: type[Small]):
    torch._dynamo.reset()
    model = randomized(vae)
    x, whole = model.base.batch(), Summed(model)
    compiled = torch.compile(whole, fullgraph=True, backend="aot_eager")
    results = []
    for call in (whole, compiled):
        model.zero_grad()
        with seeded(7):
            value = call(x, BETAS)
        value.sum().backward()
        results.append((value.detach(), [p.grad.clone() for p in model.parameters()]))
    (eager, eager_slopes), (traced, slopes) = results
    torch.testing.assert_close(traced, eager)
    for slope, expected in zip(slopes, eager_slopes, strict=True):
        torch.testing.assert_close(slope, expected)
    with seeded(7):
        other = compiled(x, BETAS.flip(0))
    with seeded(7):
        torch.testing.assert_close(other, whole(x, BETAS.flip(0)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects")
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_takes_beta_as_input(strict):
    model = randomized(Named)
    x, other = model.base.batch(), BETAS.flip(0)
    program = torch.export.export(model, (x,), {"beta": BETAS}, strict=strict).module()
    for exported, eager in zip(program(x, beta=other), model(x, beta=other), strict=True):
        torch.testing.assert_close(exported, eager)
