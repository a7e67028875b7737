import copy
import io
import pickle
import threading

import pytest
import torch
from torch import nn

from cases import ALL, FEED_FORWARD, RANGE, RECURRENT, randomized
from multirate import models
from multirate.convert import convert
from multirate.errors import BetaError, ConversionError

BETAS = torch.tensor([0.01, 0.05, 0.3, 1.0, 4.0, 10.0], dtype=torch.float64)
NAMED = ["paper", "film", "mlp"]


@pytest.mark.parametrize("response", NAMED)
@pytest.mark.parametrize("case", FEED_FORWARD, ids=lambda case: case.name)
def test_a_beta_an_example_equals_one_call_an_example(case, response):
    model, x = randomized(case, response), case.batch()
    together = model(x, beta=BETAS)
    alone = torch.cat([model(x[i : i + 1], beta=float(BETAS[i])) for i in range(len(x))])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(together, model(x, beta=0.3))


def test_gated_linear_layer_computes_the_equation():
    case = FEED_FORWARD[0]
    model, x = randomized(case, "paper"), case.batch()
    first, second = model.base.encoder[0], model.base.decoder
    weight, bias = model.response.weight, model.response.bias
    for i, beta in enumerate(BETAS):
        u = weight * (beta.log() - RANGE.log_mean) / RANGE.log_std + bias
        hidden = torch.relu(torch.sigmoid(u[:4]) * (first.weight @ x[i] + first.bias))
        expected = torch.sqrt(1 - torch.exp(u[4:])) * (second.weight @ hidden + second.bias)
        torch.testing.assert_close(model(x, beta=BETAS)[i], expected)


def test_rows_of_flattened_steps_take_their_examples_beta():
    class Flattening(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.Linear(5, 4), nn.Linear(4, 2)

        def forward(self, x):
            rows = torch.relu(self.encoder(x.reshape(-1, 5)))
            return self.decoder(rows).reshape(*x.shape[:2], 2)

    torch.manual_seed(0)
    model = convert(Flattening().double(), RANGE, response="film")
    nn.init.normal_(model.response.weight)
    x = torch.randn(6, 3, 5, dtype=torch.float64)
    alone = torch.cat([model(x[i : i + 1], beta=float(BETAS[i])) for i in range(6)])
    torch.testing.assert_close(model(x, beta=BETAS), alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", RECURRENT, ids=lambda case: case.name)
def test_recurrent_layer_refuses_a_beta_an_example(case):
    model = randomized(case)
    own = list(model.base.encoder._flat_weights)
    with pytest.raises(BetaError, match=r"one beta a call; got 6"):
        model(case.batch(), beta=BETAS)
    assert all(a is b for a, b in zip(model.base.encoder._flat_weights, own, strict=True))
    assert torch.isfinite(model(case.batch(), beta=0.3)).all()


def test_lstm_gates_each_preactivation():
    case = RECURRENT[0]
    model, x = randomized(case, "sigmoid"), case.batch(1)
    layer, gate = model.base.encoder, model.gates(0.3)[0].scale[0]
    hidden = cell = torch.zeros(4, dtype=torch.float64)
    for step in x[0]:
        before = layer.weight_ih_l0 @ step + layer.bias_ih_l0 + layer.weight_hh_l0 @ hidden + layer.bias_hh_l0
        i, f, g, o = (gate * before).chunk(4)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
    with model.at(0.3):
        torch.testing.assert_close(layer(x)[0][0, -1], hidden)


@pytest.mark.parametrize(("name", "rows"), [("lstm_deep", 16), ("gru_deep", 12)])
def test_each_layer_and_direction_of_a_recurrent_net_has_gates_of_its_own(name, rows):
    case = next(case for case in RECURRENT if case.name == name)
    model, x = randomized(case, "film"), case.batch()
    by_hand = case.build().encoder
    scale, shift = (part[0] for part in model.gates(0.3)[0])
    with torch.no_grad():
        for block, suffix in enumerate(["l0", "l0_reverse", "l1", "l1_reverse"]):
            own = slice(block * rows, (block + 1) * rows)
            for family in ("weight_ih", "weight_hh"):
                getattr(by_hand, f"{family}_{suffix}").mul_(scale[own][:, None])
            for family in ("bias_ih", "bias_hh"):
                getattr(by_hand, f"{family}_{suffix}").mul_(scale[own])
            getattr(by_hand, f"bias_ih_{suffix}").add_(shift[own])
    with model.at(0.3):
        torch.testing.assert_close(model.base.encoder(x)[0], by_hand(x)[0], rtol=1e-12, atol=1e-12)


def test_recurrent_layer_gets_its_weights_back_after_an_error():
    case = RECURRENT[0]
    model = randomized(case)
    own = list(model.base.encoder._flat_weights)
    with pytest.raises(RuntimeError):
        model(torch.zeros(2, 7, 99, dtype=torch.float64), beta=0.3)
    assert all(a is b for a, b in zip(model.base.encoder._flat_weights, own, strict=True))


@pytest.mark.parametrize("response", NAMED)
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
@pytest.mark.parametrize("training", [False, True])
def test_preserve_at_reproduces_the_base(case, response, training):
    base, x = case.build().train(training), case.batch()
    model = convert(base, RANGE, response=response, preserve_at=0.3)
    assert model.training == training
    torch.testing.assert_close(model(x, beta=0.3), copy.deepcopy(base)(x), rtol=1e-10, atol=1e-10)


def test_preserve_at_refuses_shared_parameters():
    base = nn.ModuleDict({"encoder": nn.Linear(4, 4), "decoder": nn.Linear(4, 4)})
    base["decoder"].weight = base["encoder"].weight
    with pytest.raises(ConversionError, match="shares a parameter"):
        convert(base, RANGE, response="paper", preserve_at=1.0)
    assert convert(base, RANGE, response="film", preserve_at=1.0).plan.gated


def test_the_base_is_left_alone_and_its_names_stay():
    base = FEED_FORWARD[0].build()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    model = convert(base, RANGE, response="paper", preserve_at=0.3)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert not any(module._forward_hooks for module in base.modules())
    keys = set(model.state_dict())
    assert keys == {f"base.{name}" for name in before} | {"response.weight", "response.bias"}
    assert type(model.base) is type(base)
    model.base.load_state_dict(before)


def test_frozen_parameters_stay_frozen():
    base = FEED_FORWARD[0].build()
    base.encoder.requires_grad_(False)
    model = convert(base, RANGE, response="paper", preserve_at=0.3)
    assert not any(p.requires_grad for p in model.base.encoder.parameters())
    model(FEED_FORWARD[0].batch(), beta=0.3).sum().backward()
    assert (model.response.bias.grad != 0).all()


def test_a_module_called_twice_is_gated_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder, self.unused = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(3, 3)

        def forward(self, x):
            return self.decoder(torch.tanh(self.encoder(torch.tanh(self.encoder(x)))))

    torch.manual_seed(0)
    model = convert(Twice().double(), RANGE, response="sigmoid")
    nn.init.normal_(model.response.weight)
    x = torch.randn(6, 4, dtype=torch.float64)
    encoder, decoder = (gate.scale for gate in model.gates(BETAS))
    hidden = x
    for _ in range(2):
        hidden = torch.tanh(encoder * (hidden @ model.base.encoder.weight.T + model.base.encoder.bias))
    expected = decoder * (hidden @ model.base.decoder.weight.T + model.base.decoder.bias)
    torch.testing.assert_close(model(x, beta=BETAS), expected)


BAD_BETAS = [
    (None, "beta is missing"),
    (0.0, "must be positive; got 0"),
    (-1.0, "must be positive"),
    (float("nan"), "must be finite"),
    (float("inf"), "must be finite"),
    (13.6, r"beta 13.6 is outside the range \[0.01, 10\]"),
    (0.009, "beta 0.009 is outside the range"),
    (torch.ones(6, 1), r"got shape \[6, 1\]"),
    (torch.ones(0), r"got shape \[0\]"),
    (torch.ones(4), r"4 betas for data of shape \[6, 5\]"),
    (torch.ones(3), r"3 betas for data of shape \[6, 5\]"),
    ("half", "must be a number"),
    (True, "must be a real number"),
]


@pytest.mark.parametrize(("beta", "message"), BAD_BETAS)
def test_bad_beta_is_refused_and_leaves_no_trace(beta, message):
    case = FEED_FORWARD[0]
    model = randomized(case)
    with pytest.raises(BetaError, match=message):
        model(case.batch(), beta=beta)
    with pytest.raises(BetaError, match="no beta is set"):
        model.base(case.batch())


def test_no_beta_is_remembered_between_calls():
    case = FEED_FORWARD[0]
    model, x = randomized(case), case.batch()
    model(x, beta=0.3)
    with model.at(0.3) as same:
        inside = same.base(x)
        with model.at(4.0):
            other = model.base(x)
        torch.testing.assert_close(model.base(x), inside)
    assert not torch.allclose(inside, other)
    torch.testing.assert_close(inside, model(x, beta=0.3))
    for call in (model, model.base):
        with pytest.raises(BetaError):
            call(x)


def test_inside_at_a_call_without_beta_takes_the_blocks_beta():
    case = FEED_FORWARD[0]
    model, x = randomized(case), case.batch()
    with model.at(0.3):
        assert torch.equal(model(x), model(x, beta=0.3))
        assert not torch.allclose(model(x), model(x, beta=4.0))


def test_a_beta_an_example_that_fits_no_layer_is_refused():
    model = randomized(FEED_FORWARD[0])
    with model.at(BETAS), pytest.raises(BetaError, match="6 betas for layer 'decoder', which sees 4 examples"):
        model.base.decoder(torch.zeros(4, 4, dtype=torch.float64))


def test_unbatched_image_with_instance_norm_is_gated_by_channel():
    case = next(case for case in FEED_FORWARD if case.name == "conv_instancenorm")
    model, x = randomized(case), case.batch(1)
    with model.at(0.3):
        torch.testing.assert_close(model.base.encoder(x[0]), model.base.encoder(x)[0])


def test_batchnorm_that_was_frozen_stays_in_evaluation_mode():
    base = FEED_FORWARD[12].build().train()
    base.encoder[1].eval()
    model = convert(base, RANGE)
    assert model.training
    assert [module.training for module in model.base.encoder] == [True, False, True]


def test_gradient_checkpointing_works_inside_at():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.Sequential(nn.Linear(5, 4), nn.Tanh()), nn.Linear(4, 2)

        def forward(self, x):
            return self.decoder(torch.utils.checkpoint.checkpoint(self.encoder, x, use_reentrant=False))

    torch.manual_seed(0)
    model = convert(Checkpointed().double(), RANGE)
    nn.init.normal_(model.response.weight)
    x = torch.randn(6, 5, dtype=torch.float64)
    gradients = []
    for forward in (model, lambda x: model.base.decoder(model.base.encoder(x))):
        model.zero_grad()
        with model.at(0.3):
            forward(x).sum().backward()
        gradients.append(model.response.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_two_threads_each_have_their_own_beta():
    for case in (FEED_FORWARD[4], RECURRENT[0]):
        model, x = randomized(case), case.batch()
        betas = [0.01, 10.0]
        with torch.no_grad():
            expected = [model(x, beta=beta) for beta in betas]
        worst, start = [0.0, 0.0], threading.Barrier(2)

        def work(i, model=model, x=x, betas=betas, expected=expected, worst=worst, start=start):
            start.wait()
            with torch.no_grad():
                for _ in range(100):
                    worst[i] = max(worst[i], float((model(x, beta=betas[i]) - expected[i]).abs().max()))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert worst == [0.0, 0.0]
        assert not torch.allclose(expected[0], expected[1])


@pytest.mark.parametrize("case", [FEED_FORWARD[4], FEED_FORWARD[12], RECURRENT[0]], ids=lambda case: case.name)
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "state_dict"])
def test_copies_compute_the_same_and_are_independent(case, how):
    model, x = randomized(case), case.batch()
    expected = model(x, beta=0.3)
    if how == "deepcopy":
        twin = copy.deepcopy(model)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    else:
        twin = convert(case.build(), RANGE, response="film").eval()
        buffer = io.BytesIO()
        torch.save(model.state_dict(), buffer)
        buffer.seek(0)
        twin.load_state_dict(torch.load(buffer, weights_only=True))
    torch.testing.assert_close(twin(x, beta=0.3), expected, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(twin(x, beta=0.3), expected, rtol=0, atol=0)
    with model.at(0.3), pytest.raises(BetaError):
        twin.base(x)


@pytest.mark.slow
@pytest.mark.parametrize("case", [FEED_FORWARD[0], FEED_FORWARD[12]], ids=lambda case: case.name)
@pytest.mark.parametrize("response", ["paper", "film", "mlp"])
def test_compiled_fullgraph_equals_eager_forward_and_backward(case, response):
    torch._dynamo.reset()
    model, x = randomized(case, response), case.batch()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    eager = model(x, beta=BETAS)
    eager.sum().backward()
    gradients = [p.grad.clone() for p in model.response.parameters()]
    model.zero_grad()
    traced = compiled(x, beta=BETAS)
    traced.sum().backward()
    torch.testing.assert_close(traced, eager)
    for parameter, gradient in zip(model.response.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    torch.testing.assert_close(compiled(x, beta=BETAS.flip(0)), model(x, beta=BETAS.flip(0)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects")
@pytest.mark.parametrize("strict", [False, True])
def test_exported_program_takes_beta_as_input(strict):
    case = FEED_FORWARD[12]
    model, x = randomized(case, "paper"), case.batch()
    program = torch.export.export(model, (x,), {"beta": BETAS}, strict=strict).module()
    other = BETAS.flip(0)
    torch.testing.assert_close(program(x, beta=other), model(x, beta=other))


@pytest.mark.parametrize("response", NAMED)
def test_autocast_keeps_the_layers_low_precision_and_comes_close(response):
    case = FEED_FORWARD[4]
    model, x = randomized(case, response, torch.float32), case.batch(dtype=torch.float32)
    betas = BETAS.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(x, beta=betas)
        assert all(gate.scale.dtype == torch.float32 for gate in model.gates(betas))
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), model(x, beta=betas), rtol=0.1, atol=0.1)


def test_converting_twice_is_refused():
    model = convert(FEED_FORWARD[0].build(), RANGE)
    with pytest.raises(ConversionError, match="multi-rate already"):
        convert(model, RANGE)


def test_terms_are_asked_of_the_base():
    model = convert(FEED_FORWARD[0].build(), RANGE)
    with pytest.raises(ConversionError, match=r"Pair has no method terms\(x\)"):
        model.terms(FEED_FORWARD[0].batch(), beta=0.3)


def test_resnet_has_the_papers_parameter_counts():
    base = models.resnet(shape=(1, 28, 28), latents=32)
    model = convert(base, RANGE, response="paper")
    assert sum(p.numel() for p in base.parameters()) == 1_881_217
    assert sum(p.numel() for p in model.response.parameters()) == 3_072
    assert len(model.plan.gated) == 13
    assert {layer.name for layer in model.plan.skipped} == {"mean", "log_variance", "stem", "output"}
