import json
import math

import pytest
import torch
from torch import nn

import multirate as mr
from multirate import models
from multirate.data.text import TextSource
from multirate.data.vocabulary import Vocabulary
from multirate.errors import BetaError, DataError, UsageError
from multirate.models.decoding import END, PAD, START, UNKNOWN
from multirate.seeding import seeded

V, LATENTS, EMBEDDING, HIDDEN = 11, 3, 5, 6
# Counted by hand: embedding, LSTM (four gates, two biases each), heads, stem, decoder, output.
PARAMETERS = (
    10_000 * 256
    + 4 * 256 * (256 + 256 + 2)
    + 2 * (256 * 32 + 32)
    + (32 + 1) * (256 + 32)
    + 10_000 * 256
    + 4 * 256 * ((256 + 32) + 256 + 2)
    + (256 + 1) * 10_000
)
SENTENCES = torch.tensor([[5, 6, 9, 3, 0, 0], [7, 3, 0, 0, 0, 0], [4, 8, 1, 5, 10, 3], [3, 0, 0, 0, 0, 0]])
RANGE = mr.BetaRange(0.01, 10.0)
WRONG = [
    ({"vocabulary_size": 4}, "vocabulary_size must"),
    ({"vocabulary_size": 9.0}, "vocabulary_size must"),
    ({"shape": (1, 28, 28)}, r"shape must be .*; got \(1, 28, 28\)"),
    ({"embedding": 0}, "embedding must"),
    ({"hidden": (256,)}, r"hidden must .*; got \(256,\)"),
    ({"dropout": 1.0}, "dropout must .*; got 1.0"),
    ({"dropout": True}, "dropout must"),
    ({"word_dropout": -0.1}, "word_dropout must .*; got -0.1"),
    ({"likelihood": "gaussian"}, "likelihood is categorical; got 'gaussian'"),
]


def make(seed=0, **options):
    """A small sentence VAE whose weights are far from zero, in float64 and evaluation mode."""
    chosen = {"latents": LATENTS, "vocabulary_size": V, "embedding": EMBEDDING, "hidden": HIDDEN} | options
    with seeded(seed):
        model = models.lstm((8,), **chosen).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model


def multi_rate(**options):
    """The same, multi-rate, with gates that differ from where they start."""
    model = mr.convert(make(**options), RANGE)
    with seeded(1), torch.no_grad():
        for parameter in model.response.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def latents(rows=4):
    return torch.randn(rows, LATENTS, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def noisy(model, x, **options):
    with seeded(3):
        return model.terms(x, **options)


def lstm_cell(layer, x, hidden, cell):
    """One step of an LSTM by its equations, gates in torch's order: input, forget, candidate, output."""
    w_x, w_h = layer.weight_ih_l0, layer.weight_hh_l0
    gates = w_x @ x + layer.bias_ih_l0 + w_h @ hidden + layer.bias_hh_l0
    into, forget, candidate, out = gates.reshape(4, -1)
    cell = forget.sigmoid() * cell + into.sigmoid() * candidate.tanh()
    return out.sigmoid() * cell.tanh(), cell


@torch.no_grad()
def slow_posterior(model, sentence):
    hidden = cell = torch.zeros(HIDDEN, dtype=torch.float64)
    for word in sentence:
        hidden, cell = lstm_cell(model.encoder.lstm, model.encoder.embedding.weight[word], hidden, cell)
    mean = model.mean.weight @ hidden + model.mean.bias
    return mean, model.log_variance.weight @ hidden + model.log_variance.bias


@torch.no_grad()
def slow_distortion(model, z, sentence):
    features = model.stem.weight @ z + model.stem.bias
    cell, part = features[:HIDDEN], features[HIDDEN:]
    hidden, before, nats = cell.tanh(), START, 0.0
    for word in sentence:
        inputs = torch.cat([model.decoder.embedding.weight[before], part])
        hidden, cell = lstm_cell(model.decoder.lstm, inputs, hidden, cell)
        logits = (model.output.weight @ hidden + model.output.bias).tolist()
        top = max(logits)
        nats += top + math.log(sum(math.exp(logit - top) for logit in logits)) - logits[word]
        before = word
    return nats


def sentence_of(row):
    return [word for word in SENTENCES[row].tolist() if word != PAD]


def test_the_number_of_parameters_is_the_one_counted_by_hand():
    assert sum(parameter.numel() for parameter in models.lstm().parameters()) == PARAMETERS == 8_801_392


def test_the_posterior_equals_a_slow_loop_over_each_sentence_alone():
    model = make()
    posterior = model.encode(SENTENCES)
    for row in range(len(SENTENCES)):
        mean, log_variance = slow_posterior(model, sentence_of(row))
        torch.testing.assert_close(posterior.mean[row], mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(posterior.variance[row].log(), log_variance, rtol=1e-10, atol=1e-12)


def test_the_distortion_equals_a_slow_loop_over_each_sentence_alone():
    model, z = make(), latents()
    found = model.distortion(z, SENTENCES)
    for row in range(len(SENTENCES)):
        assert found[row].item() == pytest.approx(slow_distortion(model, z[row], sentence_of(row)), rel=1e-12)


def test_large_batches_are_scored_in_pieces_that_give_the_same(monkeypatch):
    model, z = make(), latents()
    whole = model.distortion(z, SENTENCES)
    monkeypatch.setattr("multirate.models.lstm_vae._LOGITS_AT_ONCE", 2 * V)
    torch.testing.assert_close(model.distortion(z, SENTENCES), whole, rtol=1e-14, atol=0)


def test_terms_are_those_of_the_posterior_and_its_sample():
    model = make()
    terms = noisy(model, SENTENCES)
    posterior = torch.distributions.Normal(*(getattr(model.encode(SENTENCES), part) for part in ("mean", "stddev")))
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(terms.latent_rate, kl, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(terms.rate, kl.sum(1), rtol=1e-10, atol=1e-12)
    assert torch.equal(terms.posterior.mean, posterior.mean)
    torch.testing.assert_close((0.5 * terms.posterior.log_variance).exp(), posterior.stddev)
    assert torch.equal(terms.distortion, model.distortion(terms.posterior.sample, SENTENCES))
    assert terms.dimensions.tolist() == [4, 2, 6, 1]


def test_the_sample_is_drawn_from_the_global_generator():
    model = make()
    posterior = model.encode(SENTENCES)
    with seeded(3):
        expected = posterior.rsample()
    assert torch.equal(noisy(model, SENTENCES).posterior.sample, expected)


@pytest.mark.parametrize("length", [6, 7, 40])
def test_padding_and_neighbours_change_nothing(length):
    model, z = make(), latents()
    batch = torch.zeros(len(SENTENCES), length, dtype=torch.int64)
    batch[:, : SENTENCES.shape[1]] = SENTENCES
    mean, distortion = model.encode(batch).mean, model.distortion(z, batch)
    for row in range(len(SENTENCES)):
        alone = torch.tensor([sentence_of(row)])
        torch.testing.assert_close(model.encode(alone).mean[0], mean[row], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(model.distortion(z[row : row + 1], alone)[0], distortion[row], rtol=1e-12, atol=0)


def test_logits_are_those_that_the_distortion_sums_and_zero_at_padding():
    model, z = make(), latents()
    logits = model.decode(z, SENTENCES)
    assert logits.shape == (*SENTENCES.shape, V)
    assert logits[SENTENCES == PAD].abs().sum() == 0
    nats = -logits.log_softmax(-1).gather(-1, SENTENCES[..., None])[..., 0].masked_fill(SENTENCES == PAD, 0.0)
    torch.testing.assert_close(nats.sum(1), model.distortion(z, SENTENCES), rtol=1e-12, atol=0)


@pytest.mark.parametrize("place", range(5))
def test_a_logit_does_not_depend_on_its_own_word_or_later_ones(place):
    model, z = make(), latents(1)
    first = torch.tensor([[4, 8, 1, 5, 10, 3]])
    other = first.clone()
    other[0, place:-1] = torch.tensor([9, 7, 6, 4, 9])[place:]
    before, after = model.decode(z, first)[0], model.decode(z, other)[0]
    assert torch.equal(before[: place + 1], after[: place + 1])
    assert not torch.isclose(before[place + 1], after[place + 1]).any()


def test_the_latents_reach_every_step_and_the_first_state():
    model, z = make(), latents(1)
    with torch.no_grad():
        model.stem.weight[:HIDDEN] = 0.0
    steps_only = model.decode(z, SENTENCES[2:3]) - model.decode(-z, SENTENCES[2:3])
    assert (steps_only.abs().amax(-1) > 1e-6).all()
    model = make()
    with torch.no_grad():
        model.stem.weight[HIDDEN:] = 0.0
    state_only = model.decode(z, SENTENCES[2:3]) - model.decode(-z, SENTENCES[2:3])
    assert state_only[0, 0].abs().max() > 1e-3


def test_steps_give_the_logits_of_teacher_forcing():
    model, z = make(), latents(1)
    sentence = SENTENCES[2:3]
    state, before = model.initial_state(z), torch.tensor([START])
    for place, word in enumerate(sentence[0]):
        logits, state = model.step(before, state)
        torch.testing.assert_close(logits, model.decode(z, sentence)[:, place], rtol=1e-12, atol=1e-12)
        before = word[None]


def test_dropout_acts_in_training_alone_and_on_the_decoder_alone():
    model, z = make(dropout=0.5), latents()
    assert torch.equal(model.decode(z, SENTENCES), model.decode(z, SENTENCES))
    still = model.encode(SENTENCES).mean
    model.train()
    assert not torch.equal(model.decode(z, SENTENCES), model.decode(z, SENTENCES))
    assert torch.equal(model.encode(SENTENCES).mean, still)
    model.decoder.dropout.p = 0.0
    assert torch.equal(model.decode(z, SENTENCES), model.decode(z, SENTENCES))


def test_dropped_inputs_and_outputs_are_scaled_up_and_half_are_gone():
    model = make(dropout=0.5, hidden=50, embedding=40).train()
    seen = {}
    model.decoder.lstm.register_forward_pre_hook(lambda _, args: seen.update(inputs=args[0].data))
    model.output.register_forward_pre_hook(lambda _, args: seen.update(outputs=args[0]))
    model.decode(latents(), SENTENCES)
    words, part = seen["inputs"][:, :40], seen["inputs"][:, 40:]
    for values in (words, seen["outputs"]):
        assert (values == 0).double().mean().item() == pytest.approx(0.5, abs=0.1)
    assert (part != 0).all()
    table = model.decoder.embedding.weight
    kept = words[0] != 0
    assert torch.equal(words[0, kept], 2 * table[START, kept])


@pytest.mark.parametrize(("training", "expected"), [(True, 0.3), (False, 0.0)])
def test_word_dropout_replaces_input_words_by_unknown_in_training(training, expected):
    model = make(word_dropout=0.3).train(training)
    x = torch.full((200, 6), 7)
    x[:, -1] = END
    seen = []
    model.decoder.embedding.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.decode(latents(200), x)
    assert (seen[0] == START).sum() == 200
    words = seen[0][seen[0] != START]
    assert (words == UNKNOWN).double().mean().item() == pytest.approx(expected, abs=0.05)
    assert set(words.unique().tolist()) <= {UNKNOWN, 7}


def test_forward_is_the_decoding_of_the_posteriors_mean():
    model = make()
    assert torch.equal(model(SENTENCES), model.decode(model.encode(SENTENCES).mean, SENTENCES))


def test_posterior_means_tell_sentences_apart_from_the_start():
    """At a spread far below the posterior's width of 1 the decoder learns to write without the latents first."""
    words = torch.randint(END + 1, 1000, (64, 20), generator=torch.Generator().manual_seed(0))
    words[:, -1] = END
    with seeded(0):
        model = models.lstm((20,), 32, 1000).eval()
    assert 0.08 < model.encode(words).mean.std(0).mean() < 0.3


def test_the_step_part_of_the_stem_starts_as_the_latents_themselves():
    z = latents()
    with seeded(0):
        model = models.lstm((8,), LATENTS, V, EMBEDDING, HIDDEN).double()
    assert torch.equal(model.initial_state(z)[2], z)


def test_every_parameter_gets_a_gradient():
    model = make().train()
    model.terms(SENTENCES).objective(1.0).mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_terms_under_autocast_keep_full_precision():
    model = make().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = model.terms(SENTENCES)
    assert terms.rate.dtype == terms.distortion.dtype == torch.float32


def test_the_plan_gates_both_lstms_by_their_weights_and_the_latents():
    plan = mr.plan(make())
    recurrent = {layer.name: layer.channels for layer in plan.gated if layer.recurrent}
    assert recurrent == {"encoder.lstm": 4 * HIDDEN, "decoder.lstm": 4 * HIDDEN}
    gates = {layer.name: layer.gate for layer in plan.gated if layer.side == "latent"}
    assert gates == {"mean": "latent mean", "log_variance": "latent log-variance", "stem": "latent input"}
    assert plan.one_beta
    assert plan.missing == ()
    assert plan.latents == LATENTS


def test_beta_changes_the_posterior_and_the_distortion_through_the_recurrent_weights():
    model = multi_rate()
    low, high = (noisy(model, SENTENCES, beta=beta) for beta in (0.02, 5.0))
    assert not torch.isclose(low.distortion, high.distortion).any()
    assert not torch.isclose(low.rate, high.rate).any()
    with model.at(0.02):
        weights = model.base.decoder.lstm._flat_weights[1].clone()
    gate = model.gates(0.02)[1].scale
    assert not torch.allclose(gate, torch.ones_like(gate))
    assert torch.equal(weights, model.base.decoder.lstm.weight_hh_l0)


@pytest.mark.parametrize("beta", [0.01, 0.3, 10.0])
def test_folded_equals_multi_rate_in_float64(beta):
    model = multi_rate(dropout=0.5)
    plain, z = mr.fold(model, beta), latents()
    gated, folded = noisy(model, SENTENCES, beta=beta), noisy(plain, SENTENCES)
    for part in ("rate", "distortion", "latent_rate"):
        torch.testing.assert_close(getattr(gated, part), getattr(folded, part), rtol=1e-11, atol=1e-12)
    with model.at(beta):
        step = model.base.step(torch.tensor([5] * 4), model.base.initial_state(z))[0]
        torch.testing.assert_close(model.base.decode(z, SENTENCES), plain.decode(z, SENTENCES), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(step, plain.step(torch.tensor([5] * 4), plain.initial_state(z))[0])
    assert plain.state_dict().keys() == make().state_dict().keys()


@pytest.mark.parametrize("beta", [0.05, 2.0])
def test_preserve_at_starts_from_the_plain_model(beta):
    plain = make()
    model = mr.convert(plain, RANGE, preserve_at=beta)
    for part in ("rate", "distortion"):
        pair = (getattr(noisy(model, SENTENCES, beta=beta), part), getattr(noisy(plain, SENTENCES), part))
        torch.testing.assert_close(*pair, rtol=1e-10, atol=1e-10)


def test_the_latents_gates_cut_all_that_the_decoder_knows_of_them():
    model = multi_rate()

    def change(beta):
        with torch.no_grad(), model.at(beta):
            return (model.base.distortion(latents(), SENTENCES) - model.base.distortion(-latents(), SENTENCES)).abs()

    with torch.no_grad():
        model.response.thresholds.fill_(5.0)
    assert (change(0.01) > 0.01).all()
    with torch.no_grad():
        model.response.thresholds.fill_(-5.0)
    assert (change(10.0) < 0.005).all()
    assert noisy(model, SENTENCES, beta=10.0).rate.abs().max() < 1e-5


def test_one_beta_an_example_is_refused():
    with pytest.raises(BetaError, match="gates its weights, one beta a call; got 4"):
        multi_rate().terms(SENTENCES, beta=torch.full((4,), 0.5, dtype=torch.float64))


def test_after_a_refused_batch_the_weights_are_the_layers_own():
    model = multi_rate()
    with pytest.raises(DataError, match="end token"):
        model.terms(torch.tensor([[5, 6]]), beta=0.5)
    lstm = model.base.encoder.lstm
    assert all(lstm._flat_weights[index] is getattr(lstm, name) for index, name in enumerate(lstm._flat_weights_names))


@pytest.mark.parametrize("gated", [False, True])
def test_a_saved_model_comes_back_bit_for_bit(gated, tmp_path):
    model = multi_rate(word_dropout=0.1) if gated else make(dropout=0.25)
    mr.save(model, tmp_path)
    twin = mr.load(tmp_path)
    at = {"beta": 0.7} if gated else {}
    assert torch.equal(noisy(twin, SENTENCES, **at).distortion, noisy(model, SENTENCES, **at).distortion)
    base, twin_base = (m.base if gated else m for m in (model, twin))
    assert type(twin_base) is models.LSTMVAE
    assert twin_base.options == base.options
    assert json.loads(json.dumps(base.options)) == base.options


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_a_wrong_option_is_refused_with_its_value(options, message):
    with pytest.raises(UsageError, match=message):
        models.build("lstm", **options)


def test_latents_of_another_shape_are_refused():
    with pytest.raises(UsageError, match=r"latents must be \[4, 3\]; got \[2, 3\]"):
        make().decode(latents(2), SENTENCES)


@pytest.mark.parametrize("method", ["terms", "encode", "forward"])
def test_floating_data_are_refused(method):
    with pytest.raises(UsageError, match="int64"):
        getattr(make(), method)(SENTENCES.double())


def synthetic_sentences(count=240):
    """Sentences of one subject, one verb repeated and one object: what one latent vector can hold."""
    words = ["the", "cat", "dog", "bird", "sees", "hears", "a", "fish", "tree"]
    source = torch.Generator().manual_seed(0)
    lines = []
    for subject, verb, thing, times in torch.randint(0, 2, (count, 4), generator=source).tolist():
        lines.append(f"the {words[1 + subject]}{f' {words[4 + verb]}' * (1 + times)} a {words[7 + thing]}")
    return TextSource.from_lines(lines, Vocabulary(words))


def fitted(gated):
    source = synthetic_sentences()
    with seeded(0):
        model: nn.Module = models.lstm(source.shape, 4, len(source.vocabulary), 16, 32, dropout=0.1)
        model = mr.convert(model, RANGE) if gated else model
    options = {} if gated else {"beta": 0.1}
    return mr.fit(model, source, epochs=4, batch_size=16, learning_rate=5e-3, log_every=15, progress=False, **options)


@pytest.mark.slow
@pytest.mark.parametrize("gated", [False, True])
def test_training_lowers_the_loss_and_repeats_itself(gated):
    run, again = fitted(gated), fitted(gated)
    assert run.history[-1]["distortion"] < 0.5 * run.history[0]["distortion"]
    assert [line["loss"] for line in run.history] == [line["loss"] for line in again.history]
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


@pytest.mark.slow
def test_one_pass_over_penn_treebank_sentences_lowers_the_loss_and_orders_the_rates(data_dir):
    source = mr.data.load("ptb", "test", data_dir=str(data_dir), download=False, vocabulary_size=1000, max_words=12)
    with seeded(0):
        model = mr.convert(models.lstm(source.shape, 8, len(source.vocabulary), 64, 64), RANGE)
    run = mr.fit(model, source, epochs=1, batch_size=32, learning_rate=3e-3, log_every=39, progress=False)
    assert run.history[-1]["loss"] < 0.9 * run.history[0]["loss"]
    low, high = mr.evaluate(model, source, [0.01, 10.0], examples=500, progress=False).points
    assert low["rate"] > 10 * high["rate"]
    assert low["perplexity"] < 1000
