import copy
import threading

import pytest
import torch
from torch import nn

from cases import ALL, FEED_FORWARD, RANGE, RECURRENT, randomized
from multirate.convert import convert
from multirate.errors import BetaError, ConversionError
from multirate.fold import fold


@pytest.mark.parametrize("response", ["paper", "film", "mlp"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_folded_equals_gated_in_float64(case, response, training):
    model, x = randomized(case, response), case.batch()
    model.train(training)
    ungated = case.build().train(training)(x)
    for beta in (0.01, 0.3, 10.0):
        plain = fold(model, beta)
        assert plain.training == training
        gated, folded = model(x, beta=beta), plain(x)
        assert (gated - folded).abs().max() <= 1e-12 * gated.abs().max()
        assert not torch.allclose(folded, ungated), "folding changed nothing"


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_folded_is_a_plain_deep_copy_of_the_bases_class(case):
    model, base = randomized(case), case.build()
    before = copy.deepcopy(model.state_dict())
    plain = fold(model, 0.3)
    assert type(plain) is type(base)
    assert list(plain.state_dict()) == list(base.state_dict())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in plain.modules())
    with torch.no_grad():
        for tensor in plain.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    base.load_state_dict(plain.state_dict())


def test_shared_parameters_fold_apart():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(4, 4)
            self.decoder.weight = self.encoder.weight

        def forward(self, x):
            return self.decoder(torch.tanh(self.encoder(x)))

    torch.manual_seed(0)
    model = convert(Tied().double(), RANGE, response="paper")
    nn.init.normal_(model.response.weight)
    x = torch.randn(5, 4, dtype=torch.float64)
    plain = fold(model, 0.3)
    torch.testing.assert_close(plain(x), model(x, beta=0.3), rtol=1e-12, atol=1e-12)
    assert list(plain.state_dict()) == list(Tied().state_dict())


def test_batchnorm_statistics_are_shared_by_all_betas_and_kept():
    case = next(case for case in FEED_FORWARD if case.name == "conv_batchnorm")
    model = randomized(case)
    for beta in (0.01, 10.0):
        norm = fold(model, beta).encoder[1]
        assert torch.equal(norm.running_mean, model.base.encoder[1].running_mean)
        assert torch.equal(norm.running_var, model.base.encoder[1].running_var)


def test_folding_keeps_frozen_parameters_frozen():
    model = randomized(FEED_FORWARD[0])
    model.base.encoder.requires_grad_(False)
    plain = fold(model, 0.3)
    assert [p.requires_grad for p in plain.parameters()] == [False, False, True, True]
    assert all(p.is_leaf for p in plain.parameters())


def test_a_gate_that_is_shut_folds_to_zero():
    model = convert(FEED_FORWARD[0].build(), RANGE, response="paper")
    nn.init.constant_(model.response.bias, 5.0)
    plain = fold(model, 0.3)
    assert torch.equal(plain.decoder.weight, torch.zeros_like(plain.decoder.weight))
    assert torch.isfinite(plain(FEED_FORWARD[0].batch())).all()


def test_fold_refuses_what_it_cannot_fold():
    model = randomized(FEED_FORWARD[0])
    with pytest.raises(ConversionError, match="plain already"):
        fold(model.base, 0.3)
    for betas in (torch.tensor([0.1, 0.2]), [0.1, 0.2]):
        with pytest.raises(BetaError, match="one beta; got 2"):
            fold(model, betas)
    with pytest.raises(BetaError, match="one beta; got 2"):
        convert(FEED_FORWARD[0].build(), RANGE, preserve_at=[0.1, 0.2])
    with pytest.raises(BetaError, match="outside the range"):
        fold(model, 100.0)


def test_a_recurrent_layer_that_another_thread_runs_is_folded_with_its_own_weights():
    case = RECURRENT[0]
    model, x = randomized(case), case.batch()
    truth = fold(model, 0.3).state_dict()
    inside, layer = threading.Event(), model.base.get_submodule(model.plan.gated[0].name)

    def wait(*call):
        inside.set()
        threading.Event().wait(0.2)

    handle = layer.register_forward_pre_hook(wait)
    thread = threading.Thread(target=lambda: model(x, beta=5.0))
    thread.start()
    assert inside.wait(10)
    plain = fold(model, 0.3)
    thread.join()
    handle.remove()
    assert all(torch.equal(value, truth[name]) for name, value in plain.state_dict().items())
