"""What text runs write, on a corpus so small that a trained model knows all its sentences."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import multirate as mr
from multirate.data.vocabulary import Vocabulary
from multirate.errors import BetaError, DataError, UsageError
from multirate.experiments.building import load_data
from multirate.experiments.run import FinishedRun, open_run, train
from multirate.experiments.sentences import Writer, interpolate, open_writer, reconstruct, sample
from multirate.experiments.spec import RunSpec
from multirate.models.decoding import END
from multirate.training import TrainConfig

SUBJECTS, VERBS, OBJECTS = ("cat", "dog"), ("sees", "hears loudly"), ("fish", "tree", "house")
pytestmark = pytest.mark.slow

CORPUS = [f"the {s} {v} a {o}" for s, v, o in itertools.product(SUBJECTS, VERBS, OBJECTS)]
OPTIONS = ("embedding=16", "hidden=32", "dropout=0.0")
CONFIG = TrainConfig(epochs=16, batch_size=16, learning_rate=2e-2, warmup_steps=10, log_every=50)
LOW = 0.01


def trained_on_corpus(folder: Path, beta: float | None) -> FinishedRun:
    text = folder / "corpus.txt"
    text.write_text("".join(f"{line}\n" for line in 20 * CORPUS))
    spec = RunSpec(data=str(text), model="lstm", model_options=OPTIONS, latents=6, beta=beta)
    train(spec, CONFIG, folder / "run", progress=False)
    return open_run(folder / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A multi-rate run; tests only read it."""
    return trained_on_corpus(tmp_path_factory.mktemp("sentences"), None)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run of a plain VAE at beta 0.01; tests only read it."""
    return trained_on_corpus(tmp_path_factory.mktemp("sentences"), LOW)


@pytest.fixture(scope="module")
def writer(run: FinishedRun) -> Writer:
    return open_writer(run, LOW)


def test_the_runs_vocabulary_is_that_of_its_text(run: FinishedRun) -> None:
    words = {word for line in CORPUS for word in line.split()}
    assert set(Vocabulary.load(run.folder / "vocabulary.json").words[4:]) == words


def test_the_writer_is_the_multi_rate_model_at_its_beta(run: FinishedRun, writer: Writer) -> None:
    x = load_data(run.spec, "test").batch(torch.arange(5))
    gated = mr.load(run.folder / "model")
    with gated.at(LOW):
        expected = gated.base(x)
    torch.testing.assert_close(writer.model(x), expected, rtol=1e-4, atol=1e-4)
    assert not any(module._forward_hooks for module in writer.model.modules())
    assert not writer.model.training


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_sentences_of_the_corpus_are_written_again_at_a_low_beta(plain: FinishedRun, method: str) -> None:
    source = load_data(plain.spec, "test")
    pairs = reconstruct(open_writer(plain, method=method), source, 20)
    assert [pair.sentence for pair in pairs] == [source.text(index) for index in range(20)]
    assert sum(pair.sentence == pair.written.text for pair in pairs) > 15
    assert all(pair.rate > 1 for pair in pairs)


def test_at_a_high_beta_sentences_are_no_longer_told_apart(run: FinishedRun) -> None:
    source = load_data(run.spec, "test")
    low, high = (reconstruct(open_writer(run, beta), source, 20) for beta in (LOW, 10.0))
    assert len({pair.written.text for pair in low}) > len({pair.written.text for pair in high}) == 1
    assert max(pair.rate for pair in high) < 0.1 < min(pair.rate for pair in low)


def test_the_log_probability_is_the_models_score_of_what_was_written(writer: Writer, run: FinishedRun) -> None:
    x = load_data(run.spec, "test").batch(torch.arange(4))
    z = writer.model.encode(x).mean
    for latent, written in zip(z, writer.write(z), strict=True):
        words = torch.tensor([writer.vocabulary.encode(written.text)])
        assert written.log_probability == pytest.approx(-writer.model.distortion(latent[None], words).item(), abs=1e-4)


def test_the_rate_is_the_one_of_terms(writer: Writer, run: FinishedRun) -> None:
    source = load_data(run.spec, "test")
    rates = torch.tensor([pair.rate for pair in reconstruct(writer, source, 6)])
    torch.testing.assert_close(rates, writer.model.terms(source.batch(torch.arange(6))).rate, rtol=1e-4, atol=1e-4)


def test_no_more_sentences_are_written_again_than_there_are(writer: Writer, run: FinishedRun) -> None:
    source = load_data(run.spec, "test")
    assert len(reconstruct(writer, source, 10_000)) == len(source)


def test_the_way_between_two_sentences_begins_and_ends_at_what_the_model_makes_of_them(writer: Writer) -> None:
    first, second = CORPUS[0], CORPUS[-1]
    way = interpolate(writer, first, second, 5)
    assert [share for share, _ in way.steps] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert way.unknown == ()
    rows = [writer.vocabulary.encode(text) for text in (first, second)]
    for row, (_, written) in zip(rows, (way.steps[0], way.steps[-1]), strict=True):
        alone = writer.write(writer.model.encode(torch.tensor([row])).mean)[0]
        assert alone.text == written.text
    assert way.steps[0][1].text != way.steps[-1][1].text


def test_the_middle_of_the_way_is_the_mean_of_both_ends(writer: Writer) -> None:
    first, second = CORPUS[0], CORPUS[-1]
    means = [writer.model.encode(torch.tensor([writer.vocabulary.encode(text)])).mean for text in (first, second)]
    middle = writer.write(0.5 * (means[0] + means[1]))[0]
    found = interpolate(writer, first, second, 3).steps[1][1]
    assert found.text == middle.text
    assert found.log_probability == pytest.approx(middle.log_probability, abs=1e-4)


def test_unknown_words_are_told_once_each_and_read_as_unknown(writer: Writer) -> None:
    way = interpolate(writer, "the zebra sees a zebra", "the <unk> hears </s> a Tree", 2)
    assert way.unknown == ("zebra", "</s>", "Tree")


def test_draws_of_the_prior_are_the_same_at_every_beta(run: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(Writer, "write", lambda self, z: seen.append(z) or [])
    for beta in (LOW, 1.0):
        sample(open_writer(run, beta, seed=4), 3)
    sample(open_writer(run, LOW, seed=5), 3)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert seen[0].shape == (3, 6)


def test_draws_are_fixed_by_the_seed_and_leave_the_global_generator_alone(run: FinishedRun) -> None:
    before = torch.get_rng_state()
    drawn = open_writer(run, 1.0, method="sample", temperature=2.0, seed=1)
    first = [written.text for written in sample(drawn, 40)]
    assert first == [written.text for written in sample(drawn, 40)]
    assert first != [written.text for written in sample(replace(drawn, seed=2), 40)]
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_at_a_low_temperature_are_the_likeliest_words(writer: Writer) -> None:
    cold = replace(writer, method="sample", temperature=1e-4)
    assert [written.text for written in sample(cold, 40)] == [written.text for written in sample(writer, 40)]


def test_many_sentences_are_written_as_one_by_one(writer: Writer) -> None:
    z = torch.randn(70, 6, generator=torch.Generator().manual_seed(0))
    beam = replace(writer, method="beam", width=3)
    together = beam.write(z)
    assert [written.text for written in together[::23]] == [beam.write(z[i : i + 1])[0].text for i in range(0, 70, 23)]


def test_no_sentence_is_longer_than_the_longest_of_training(writer: Writer) -> None:
    endless = replace(writer, model=mr.models.lstm((4,), 6, len(writer.vocabulary), 4, 4).eval())
    with torch.no_grad():
        endless.model.output.bias[END] = -100.0
    assert [len(written.text.split()) for written in sample(endless, 3)] == [4, 4, 4]


def test_a_plain_run_writes_at_its_own_beta(plain: FinishedRun) -> None:
    assert open_writer(plain).beta == open_writer(plain, LOW).beta == LOW
    with pytest.raises(UsageError, match=r"trained at beta 0\.01: it has no beta 0\.5; leave beta out"):
        open_writer(plain, 0.5)


def test_a_multi_rate_run_needs_a_beta_of_its_range(run: FinishedRun) -> None:
    with pytest.raises(UsageError, match=r"serves betas from 0\.01 to 10; say which with --beta"):
        open_writer(run)
    with pytest.raises(BetaError, match="outside the range"):
        open_writer(run, 50.0)


def test_a_run_of_images_is_refused(tmp_path: Path) -> None:
    mr.save(mr.models.mlp((1, 4, 4), 2, (8,)), tmp_path / "model")
    run = FinishedRun(tmp_path, RunSpec(data="digits", beta=1.0), {})
    with pytest.raises(UsageError, match=r"holds a mlp of digits, no text; name a run of --model lstm"):
        open_writer(run)


def test_a_lost_or_exchanged_vocabulary_is_an_error(run: FinishedRun, tmp_path: Path) -> None:
    moved = replace(run, folder=tmp_path)
    (tmp_path / "model").symlink_to(run.folder / "model")
    with pytest.raises(DataError, match=r"no file .*vocabulary\.json; put"):
        open_writer(moved, 1.0)
    Vocabulary(["a", "b"]).save(tmp_path / "vocabulary.json")
    with pytest.raises(DataError, match="has 6 words and the model 14"):
        open_writer(moved, 1.0)


def test_text_of_another_vocabulary_is_refused(writer: Writer, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("".join(f"word{i} and the rest\n" for i in range(50)))
    with pytest.raises(DataError, match="another vocabulary"):
        reconstruct(writer, mr.data.load(tmp_path / "other.txt", "test"), 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda writer: sample(writer, 0), "at least 1; got 0"),
        (lambda writer: reconstruct(writer, None, -1), "at least 1; got -1"),
        (lambda writer: interpolate(writer, "the cat", "a dog", 1), "at least 2; got 1"),
        (lambda writer: interpolate(writer, "the cat", " ", 2), "no words"),
    ],
)
def test_what_cannot_be_written_is_refused(call, message, writer: Writer) -> None:
    with pytest.raises(UsageError, match=message):
        call(writer)


def test_everything_written_has_a_place_in_json(writer: Writer) -> None:
    from dataclasses import asdict

    assert json.loads(json.dumps(asdict(interpolate(writer, CORPUS[0], CORPUS[1], 2))))["unknown"] == []
