"""Decoding against the enumeration of every sentence that a tiny model can write."""

import itertools
import math

import pytest
import torch

from multirate.errors import UsageError
from multirate.models import lstm
from multirate.models.decoding import END, PAD, START, UNKNOWN, Decoded, beam, greedy, sampled
from multirate.seeding import generator

VOCABULARY, LIMIT, BATCH = 6, 4, 6
# What may be written: unknown, end and two words.
WRITTEN = (UNKNOWN, END, 4, 5)
# More beginnings than there can be of that length: nothing is pruned.
EVERYTHING = len(WRITTEN) ** LIMIT
WRONG = [
    (greedy, {"limit": 0}, "limit must be"),
    (beam, {"width": 0}, "beam width must be"),
    (beam, {"limit": 0}, "limit must be"),
    (beam, {"length_power": -1.0}, "length_power must be"),
    (beam, {"length_power": math.nan}, "length_power must be"),
    (sampled, {"temperature": 0.0}, "temperature must be above 0; got 0"),
    (sampled, {"temperature": math.inf}, "temperature must be above 0"),
    (sampled, {"top_k": 0}, "top_k must be"),
]


@pytest.fixture(scope="module")
def model():
    """A tiny sentence VAE with sharp and varied choices, in float64."""
    source = torch.Generator().manual_seed(1)
    vae = lstm((LIMIT,), 2, VOCABULARY, embedding=5, hidden=7).double().eval()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.normal_(generator=source)
    return vae


@pytest.fixture(scope="module")
def z():
    return 2 * torch.randn(BATCH, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def everything(model, z):
    """Every sentence up to the limit, ended or cut there, with the log probability of each, by teacher forcing."""
    beginnings = (words for n in range(LIMIT) for words in itertools.product((UNKNOWN, 4, 5), repeat=n))
    ended = [(*words, END) for words in beginnings]
    cut = list(itertools.product((UNKNOWN, 4, 5), repeat=LIMIT))
    sentences = [*ended, *cut]
    # A cut sentence gets an end to be scored by; the end's own factor is then taken away.
    scored = [*ended, *((*words, END) for words in cut)]
    rows = torch.tensor([[*words, *[PAD] * (LIMIT + 1 - len(words))] for words in scored])
    scores = []
    with torch.no_grad():
        for latent in z:
            each = model.decode(latent.expand(len(rows), -1), rows).log_softmax(-1)
            word_scores = each.gather(-1, rows[..., None])[..., 0]
            word_scores[rows == PAD] = 0.0
            word_scores[len(ended) :, LIMIT] = 0.0
            scores.append(word_scores.sum(1))
    return sentences, torch.stack(scores)


def written(decoded: Decoded) -> list[tuple[int, ...]]:
    return [tuple(word for word in row if word != PAD) for row in decoded.words.tolist()]


def test_the_model_prefers_sentences_of_several_lengths(everything):
    sentences, scores = everything
    assert scores.exp().sum(1).max() < 1
    assert len({sentences[best] for best in scores.argmax(1).tolist()}) > 2


def test_a_beam_that_prunes_nothing_finds_the_likeliest_of_all_sentences(model, z, everything):
    sentences, scores = everything
    found = beam(model.step, model.initial_state(z), limit=LIMIT, width=EVERYTHING)
    assert written(found) == [sentences[best] for best in scores.argmax(1).tolist()]
    torch.testing.assert_close(found.log_probability, scores.max(1).values, rtol=1e-12, atol=0)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_beam_that_prunes_nothing_finds_the_best_score_by_length(model, z, everything, power):
    sentences, scores = everything
    normalized = scores / torch.tensor([float(len(sentence)) for sentence in sentences]).double().pow(power)
    found = beam(model.step, model.initial_state(z), limit=LIMIT, width=EVERYTHING, length_power=power)
    best = normalized.argmax(1)
    assert written(found) == [sentences[index] for index in best.tolist()]
    torch.testing.assert_close(found.log_probability, scores.gather(1, best[:, None])[:, 0], rtol=1e-12, atol=0)


def test_length_matters_to_the_choice(everything):
    sentences, scores = everything
    lengths = torch.tensor([float(len(sentence)) for sentence in sentences]).double()
    assert not torch.equal(scores.argmax(1), (scores / lengths).argmax(1))


def test_a_longer_sentence_may_overtake_a_finished_one_where_length_counts():
    """A chain of known chances: an end at once has 0.5; 4 has 0.4, and then 5 and the end are all but certain."""
    chances = torch.full((VOCABULARY, VOCABULARY), 1e-3, dtype=torch.float64)
    chances[START, [END, 4]] = torch.tensor([0.5, 0.4], dtype=torch.float64)
    chances[4, 5] = chances[5, END] = 0.99
    chances /= chances.sum(1, keepdim=True)

    def step(word, state):
        return chances[word].log(), state

    ended = beam(step, (torch.zeros(1, 1),), limit=LIMIT, width=2)
    longer = beam(step, (torch.zeros(1, 1),), limit=LIMIT, width=2, length_power=1.0)
    assert written(ended) == [(END,)]
    assert written(longer) == [(4, 5, END)]
    expected = (chances[START, 4] * chances[4, 5] * chances[5, END]).log()
    torch.testing.assert_close(longer.log_probability[0], expected, rtol=1e-12, atol=0)


def test_greedy_is_the_likeliest_word_at_each_place(model, z):
    found = greedy(model.step, model.initial_state(z), limit=LIMIT)
    for latent, sentence in zip(z, written(found), strict=True):
        words: list[int] = []
        while len(words) < LIMIT and END not in words:
            logits = model.decode(latent[None], torch.tensor([[*words, END]]))[0, len(words)]
            words.append(max(WRITTEN, key=lambda word: logits[word].item()))
        assert sentence == tuple(words)


def test_greedy_is_a_beam_of_one(model):
    state = model.initial_state(torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    one, narrow = greedy(model.step, state, limit=LIMIT), beam(model.step, state, limit=LIMIT, width=1)
    assert torch.equal(one.words, narrow.words)
    assert torch.equal(one.log_probability, narrow.log_probability)


def test_a_wider_beam_is_seldom_worse_and_better_somewhere(model):
    state = model.initial_state(torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    narrow, wide = (beam(model.step, state, limit=LIMIT, width=width).log_probability for width in (1, 4))
    assert (wide >= narrow - 1e-12).double().mean() > 0.9
    assert (wide > narrow + 1e-6).any()


def test_a_sentence_decodes_alone_as_in_a_batch(model, z):
    together = beam(model.step, model.initial_state(z), limit=LIMIT, width=3)
    for row in range(BATCH):
        alone = beam(model.step, model.initial_state(z[row : row + 1]), limit=LIMIT, width=3)
        assert written(alone) == [written(together)[row]]
        torch.testing.assert_close(alone.log_probability[0], together.log_probability[row], rtol=1e-12, atol=0)


def how_often(model, z, draws, **options):
    state = tuple(part.repeat_interleave(draws, 0) for part in model.initial_state(z[:1]))
    return sampled(model.step, state, limit=LIMIT, generator=generator(0, "test"), **options)


def restricted(model, z, everything, change=lambda scores: scores):
    """Return the chance of each sentence where each word is drawn among those that may be written."""
    sentences, _ = everything
    chances = []
    for sentence in sentences:
        words = [*sentence, *([] if sentence[-1] == END else [END])]
        logits = model.decode(z[:1], torch.tensor([words]))[0].detach()
        logits[:, [PAD, START]] = -math.inf
        log_p = change(logits.log_softmax(-1)).log_softmax(-1)
        chances.append(math.exp(sum(log_p[place, word].item() for place, word in enumerate(sentence))))
    return torch.tensor(chances, dtype=torch.float64)


def two_likeliest(scores):
    return scores.masked_fill(scores < scores.topk(2).values[:, -1:], -math.inf)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({}, lambda scores: scores),
        ({"temperature": 0.5}, lambda scores: scores / 0.5),
        ({"top_k": 2}, two_likeliest),
        ({"top_k": 2, "temperature": 2.0}, lambda scores: two_likeliest(scores) / 2.0),
        ({"top_k": 100}, lambda scores: scores),
    ],
)
def test_drawn_sentences_are_as_frequent_as_they_are_likely(model, z, everything, options, change):
    sentences, _ = everything
    draws = 20_000
    found = written(how_often(model, z, draws, **options))
    expected = draws * restricted(model, z, everything, change)
    assert expected.sum().item() == pytest.approx(draws)
    place = {sentence: index for index, sentence in enumerate(sentences)}
    counts = torch.bincount(torch.tensor([place[s] for s in found]), minlength=len(sentences)).double()
    assert counts[expected == 0].sum() == 0
    common = expected >= 5
    statistic = ((counts - expected).square() / expected)[common].sum().item()
    freedom = int(common.sum()) - 1
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)


def test_draws_are_fixed_by_the_generator_and_leave_the_global_one_alone(model, z):
    before = torch.get_rng_state()
    first, second = how_often(model, z, 50), how_often(model, z, 50)
    assert torch.equal(first.words, second.words)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("how", ["greedy", "sampled", "beam"])
def test_the_log_probability_is_the_score_of_the_sentence_by_teacher_forcing(model, how):
    z = 2 * torch.randn(80, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    state = model.initial_state(z)
    options = {"generator": generator(1), "temperature": 0.7} if how == "sampled" else {}
    decoded = {"greedy": greedy, "sampled": sampled, "beam": beam}[how](model.step, state, limit=9, **options)
    ended = (decoded.words == END).any(1)
    assert ended.sum() > 10
    scores = -model.distortion(z[ended], decoded.words[ended])
    torch.testing.assert_close(decoded.log_probability[ended], scores, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("how", [greedy, beam])
def test_nothing_is_written_after_the_end_nor_a_word_that_never_may_be(model, how):
    z = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    words = how(model.step, model.initial_state(z), limit=7, never=[UNKNOWN]).words
    assert words.dtype == torch.int64
    assert words.shape[1] <= 7
    assert set(words.unique().tolist()) <= {PAD, END, 4, 5}
    for row in words.tolist():
        assert not any(row[row.index(END) + 1 :]) if END in row else PAD not in row
    assert (words[:, -1] != PAD).any()


@pytest.mark.parametrize(("how", "options", "message"), WRONG)
def test_an_option_that_cannot_be_right_is_refused(model, z, how, options, message):
    needed = {"limit": LIMIT} | ({"generator": generator(0)} if how is sampled else {})
    with pytest.raises(UsageError, match=message):
        how(model.step, model.initial_state(z), **needed | options)


def test_draws_at_the_smallest_temperature_are_the_likeliest_words(model, z):
    cold = sampled(model.step, model.initial_state(z), limit=LIMIT, generator=generator(0), temperature=1e-320)
    assert torch.equal(cold.words, greedy(model.step, model.initial_state(z), limit=LIMIT).words)
