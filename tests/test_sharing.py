import threading

import pytest
import torch
from torch import nn

import multirate as mr
from multirate.sharing import first_layer_once

BETAS = (0.02, 0.5, 7.0)


def model_and_data():
    torch.manual_seed(0)
    model = mr.convert(mr.models.mlp((1, 4, 4), latents=3, hidden=(8, 6))).double().eval()
    with torch.no_grad():
        for parameter in model.response.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model, torch.rand(2, 10, 1, 4, 4, dtype=torch.float64)


def calls_of_first_layer(model, monkeypatch):
    seen = []
    layer = model.base.encoder[1]
    forward = layer.forward
    monkeypatch.setattr(layer, "forward", lambda x: seen.append(x) or forward(x))
    return seen


def test_the_first_layer_runs_once_a_batch_and_results_are_the_same(monkeypatch):
    model, batches = model_and_data()
    with torch.no_grad():
        truth = [model(x, beta=beta) for x in batches for beta in BETAS]
        seen = calls_of_first_layer(model, monkeypatch)
        with first_layer_once(model):
            found = [model(x, beta=beta) for x in batches for beta in BETAS]
        assert len(seen) == len(batches)
        model(batches[0], beta=1.0)
    assert all(torch.equal(a, b) for a, b in zip(found, truth, strict=True))
    assert len(seen) == len(batches) + 1


def test_data_or_weights_that_change_in_place_are_seen():
    model, (x, _) = model_and_data()
    with torch.no_grad(), first_layer_once(model):
        before = model(x, beta=1.0)
        x.mul_(0.5)
        after = model(x, beta=1.0)
        assert not torch.equal(before, after)
        model.base.encoder[1].weight.mul_(2.0)
        assert not torch.equal(after, model(x, beta=1.0))
    with torch.no_grad():
        found = model(x, beta=1.0)
        model.base.encoder[1].weight.div_(2.0)
        assert torch.allclose(model(x, beta=1.0), after, atol=1e-12)
        assert not torch.equal(found, after)


@pytest.mark.slow
def test_gradients_flow_as_ever():
    model, (x, _) = model_and_data()
    truth = torch.autograd.grad(model(x, beta=1.0).sum(), model.base.encoder[1].weight)[0]
    with first_layer_once(model):
        found = torch.autograd.grad(model(x, beta=1.0).sum(), model.base.encoder[1].weight)[0]
    assert torch.equal(found, truth)


def test_an_evaluation_asks_the_first_layer_once_a_batch_and_the_encoder_once_a_point(monkeypatch):
    model, batches = model_and_data()
    x = batches.flatten(0, 1)
    first, second, encoder = calls_of_first_layer(model, monkeypatch), [], model.base.encoder[3]
    encoder.register_forward_hook(lambda *call: second.append(call))
    mr.evaluate(model, x, BETAS, batch_size=5, progress=False)
    assert (len(first), len(second)) == (4, 4 * len(BETAS))


def test_points_do_not_depend_on_which_others_share_the_first_layer():
    model, batches = model_and_data()
    x = batches.flatten(0, 1)
    curve = mr.evaluate(model, x, BETAS, batch_size=5, progress=False)
    for point in curve.points:
        alone = mr.evaluate(model, x, [point["beta"]], batch_size=5, progress=False).points[0]
        assert alone == point


@pytest.mark.parametrize("layer", ["linear", "convolution"])
def test_a_gate_without_gradients_is_applied_where_the_output_lies(layer):
    torch.manual_seed(0)
    base = nn.Module()
    base.encoder = nn.Sequential(nn.Linear(4, 4) if layer == "linear" else nn.Conv2d(4, 4, 1))
    base.forward = base.encoder.forward
    x = torch.randn(3, 4) if layer == "linear" else torch.randn(3, 4, 5, 5)
    raw = base.encoder(x).detach()
    model = mr.convert(base, decoder=(), response="film")
    with torch.no_grad():
        model.response.weight.normal_()
        gate = model.gates(0.3)[0]
        shape = (1, 4, *[1] * (x.ndim - 2))
        with model.at(0.3):
            found = model.base.encoder(x)
            seen = []
            model.base.encoder[0].register_forward_hook(lambda layer, args, output: seen.append(output), prepend=True)
            again = model.base.encoder(x)
    assert torch.allclose(found, raw * gate.scale.view(shape) + gate.shift.view(shape), atol=1e-6)
    assert torch.equal(again, found)
    assert torch.equal(seen[0], raw)


def test_blocks_of_two_threads_may_overlap_and_each_remembers_its_own(monkeypatch):
    model, batches = model_and_data()
    seen = calls_of_first_layer(model, monkeypatch)
    own = model.base.encoder[1].forward
    inside, over = threading.Event(), threading.Event()

    def other():
        with torch.no_grad(), first_layer_once(model):
            model(batches[1], beta=1.0)
            inside.set()
            over.wait(10)
            model(batches[1], beta=0.1)

    thread = threading.Thread(target=other)
    with torch.no_grad():
        with first_layer_once(model):
            model(batches[0], beta=1.0)
            thread.start()
            assert inside.wait(10)
            model(batches[0], beta=0.1)
        model(batches[0], beta=0.2)  # in no block any more
    assert len(seen) == 3
    over.set()
    thread.join()
    assert len(seen) == 3
    assert model.base.encoder[1].forward is own


def test_a_model_folded_while_it_is_evaluated_remembers_nothing():
    model, (x, _) = model_and_data()
    with torch.no_grad(), first_layer_once(model):
        model(x, beta=1.0)
        plain = mr.fold(model, 1.0)
    assert "forward" not in vars(plain.encoder[1])
    with torch.no_grad():
        before = plain(x)
        plain.encoder[1].weight.mul_(2.0)
        assert not torch.equal(plain(x), before)


def test_an_evaluation_in_inference_mode_is_the_same():
    model, batches = model_and_data()
    with torch.inference_mode():
        found = mr.evaluate(model, batches[0], BETAS, progress=False)
    assert found.points == mr.evaluate(model, batches[0], BETAS, progress=False).points
