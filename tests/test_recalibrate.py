"""BatchNorm statistics of one beta, against a direct computation in float64."""

import pytest
import torch
from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.convert import convert
from multirate.errors import BetaError, ConversionError, UsageError
from multirate.fold import fold
from multirate.recalibrate import recalibrate, recalibrated
from multirate.seeding import generator
from multirate.terms import Terms

BATCHES, SIZE, SEED = 3, 8, 5
WRONG = [({"batches": 0}, "batches must be at least 1"), ({"batch_size": 1}, "batch_size at least 2; got 3 and 1")]


class Small(nn.Module):
    """Two normalised layers with dropout before the second; its terms are made of its output."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))
        self.decoder = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, momentum=0.3))
        self.seen: list[Tensor] = []

    def terms(self, x: Tensor) -> Terms:
        self.seen.append(x)
        out = self.decoder(self.encoder(x))
        return Terms(out.square().sum(1), (out - x).square().sum(1) + torch.randn(len(x)))


def plain():
    torch.manual_seed(0)
    model = Small().double()
    with torch.no_grad():
        for norm in (model.encoder[1], model.decoder[1]):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
            norm.num_batches_tracked.fill_(7)
    return model


def multirate():
    model = convert(plain(), BetaRange(0.01, 10.0), response="film")
    with torch.no_grad():
        for parameter in model.response.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=torch.float64, generator=generator(2)))
    return model


def data(examples=100):
    return 2 + torch.randn(examples, 4, dtype=torch.float64, generator=generator(1))


def statistics(model):
    return {name: value.clone() for name, value in model.named_buffers()}


def direct(model, batches, beta=None):
    """Averages over batches of each one's mean and unbiased variance, layer by layer, without BatchNorm's own code."""
    base = getattr(model, "base", model)
    gates = [(torch.ones(1, 1), torch.zeros(1, 1))] * 2
    if beta is not None:
        gates = [(gate.scale, gate.shift) for gate in model.gates(beta)]
    found = {"encoder.1": [], "decoder.1": []}
    for x in batches:
        hidden = x
        for (name, side), (scale, shift) in zip(
            (("encoder.1", base.encoder), ("decoder.1", base.decoder)), gates, strict=False
        ):
            linear, norm = side[0], side[1]
            before = hidden @ linear.weight.T + linear.bias
            mean, square = before.mean(0), (before - before.mean(0)).square()
            found[name].append((mean, square.sum(0) / (len(x) - 1)))
            normalized = (before - mean) / (square.mean(0) + norm.eps).sqrt() * norm.weight + norm.bias
            hidden = (normalized * scale + shift).clamp(min=0)
    return {
        f"{name}.running_{what}": torch.stack([pair[index] for pair in pairs]).mean(0)
        for name, pairs in found.items()
        for index, what in enumerate(("mean", "var"))
    }


def assert_statistics(model, expected):
    buffers = dict(model.named_buffers())
    for name, value in expected.items():
        torch.testing.assert_close(buffers[name], value, rtol=1e-12, atol=1e-12)


def test_statistics_are_averages_over_the_batches_of_one_beta():
    model, found = multirate(), {}
    for beta in (0.02, 5.0):
        model.base.seen.clear()
        with recalibrated(model, data(), beta, batches=BATCHES, batch_size=SIZE, seed=SEED):
            expected = direct(model, model.base.seen, beta)
            assert_statistics(model.base, expected)
            found[beta] = expected
        assert [len(x) for x in model.base.seen] == [SIZE] * BATCHES
    assert (found[0.02]["decoder.1.running_mean"] - found[5.0]["decoder.1.running_mean"]).abs().max() > 1e-3


def test_a_plain_model_is_recalibrated_for_good():
    model = plain()
    assert recalibrate(model, data(), batches=BATCHES, batch_size=SIZE) is model
    assert_statistics(model, direct(model, model.seen))


def test_batches_are_drawn_without_replacement():
    model = plain()
    recalibrate(model, data(), batches=BATCHES, batch_size=SIZE)
    rows = torch.cat(model.seen)
    assert len(rows.unique(dim=0)) == BATCHES * SIZE
    assert not torch.equal(rows, data()[: len(rows)])


def test_statistics_parameters_and_modes_are_given_back_bit_for_bit():
    model = multirate().train()
    model.base.decoder[1].eval()
    before, modes = statistics(model), [module.training for module in model.modules()]
    buffers = [id(buffer) for buffer in model.buffers()]
    parameters = [parameter.clone() for parameter in model.parameters()]
    with recalibrated(model, data(), 1.0):
        assert any((value != before[name]).any() for name, value in model.named_buffers())
        assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert [id(buffer) for buffer in model.buffers()] == buffers
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), parameters, strict=True))
    assert [norm.momentum for norm in (model.base.encoder[1], model.base.decoder[1])] == [0.1, 0.3]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_statistics_are_given_back_after_an_error_in_the_block_and_in_the_model():
    model = multirate()
    before = statistics(model)
    with pytest.raises(ZeroDivisionError), recalibrated(model, data(), 1.0):
        _ = 1 / 0
    with pytest.raises(RuntimeError), recalibrated(model, data()[:, :3], 1.0):
        pass
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert model.base.encoder[1].momentum == 0.1
    assert model.training


def test_the_global_generator_is_left_alone_and_the_seed_decides():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = []
    for seed in (0, 0, 1):
        model = recalibrate(plain(), data(), batches=BATCHES, batch_size=SIZE, seed=seed)
        found.append(model.decoder[1].running_var)
    torch.manual_seed(3)
    recalibrate(model, data())
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_folded_model_recalibrated_equals_the_multirate_one_in_the_block():
    model = multirate().eval()
    folded = recalibrate(fold(model, 0.7), data(), seed=SEED)
    with recalibrated(model, data(), 0.7, seed=SEED):
        torch.manual_seed(0)
        expected = model.terms(data(), beta=0.7).rate
    torch.testing.assert_close(folded.terms(data()).rate, expected, rtol=1e-10, atol=1e-10)


def test_few_data_make_one_smaller_batch():
    model = recalibrate(plain(), data(5), batch_size=8)
    assert [len(x) for x in model.seen] == [5]
    assert_statistics(model, direct(model, model.seen))


def test_a_model_without_batchnorm_is_left_as_it_is():
    from multirate.models import mlp

    model = mlp(shape=(4,), latents=2, hidden=(3,), likelihood="gaussian")
    assert recalibrate(model, data()) is model


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_numbers_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        recalibrate(plain(), data(), **{"batches": 3, **options})


def test_one_example_a_missing_beta_and_a_model_without_terms_are_refused():
    with pytest.raises(UsageError, match="at least 2 examples; got 1"):
        recalibrate(plain(), data(1))
    with pytest.raises(BetaError, match="beta is missing"):
        recalibrate(multirate(), data())
    with pytest.raises(BetaError, match=r"0\.001"):
        recalibrate(multirate(), data(), 0.001)
    with pytest.raises(ConversionError, match="Linear has no method terms"):
        recalibrate(nn.Linear(2, 2), data())
