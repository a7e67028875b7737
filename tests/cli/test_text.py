"""``multirate text``: what it prints, and options that do not go together."""

import json
import os
from pathlib import Path

import pytest

import multirate as mr
from multirate.cli.main import main
from multirate.cli.names import COMMANDS
from multirate.data.vocabulary import Vocabulary

LINES = [f"the {subject} sees a {thing}" for subject in ("cat", "dog") for thing in ("fish", "tree", "house")]
TRAIN = ["--model", "lstm", "--latents", "3", "--epochs", "2", "--batch-size", "16"]
TRAIN += ["--model-options", "embedding=4", "hidden=8"]
USELESS = [
    ([], "one of --reconstruct N, --sample N, --interpolate"),
    (["--sample", "2", "--reconstruct", "2"], "one of --reconstruct"),
    (["--sample", "2", "--steps", "3"], "--steps 3 goes with --interpolate only"),
    (["--sample", "2", "--beam", "3"], "--beam 3 goes with --decoding beam only"),
    (["--sample", "2", "--temperature", "0.5"], "--temperature 0.5 goes with --decoding sample only"),
    (["--sample", "2", "--split", "test"], "--split test goes with --reconstruct only"),
    (["--sample", "2", "--data", "ptb"], "--data ptb goes with --reconstruct only"),
    (["--sample", "2", "--data-dir", "here"], "--data-dir here goes with --reconstruct only"),
    (["--sample", "0"], "must be at least 1; got 0"),
    (["--sample", "1", "--decoding", "beam", "--beam", "0"], "beam width must be"),
    (["--sample", "1", "--decoding", "sample", "--temperature", "0"], "temperature must be above 0"),
    (["--interpolate", "the cat", "the dog", "--steps", "1"], "must be at least 2; got 1"),
]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multi-rate text run, and the text beside it; tests only read them."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "lines.txt").write_text("".join(f"{line}\n" for line in 20 * LINES))
    assert main(["train", "--data", str(folder / "lines.txt"), *TRAIN, "--out", str(folder / "run")]) == 0
    return folder


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict, str]:
    """Run the command twice: return its JSON, and what it prints for people."""
    capsys.readouterr()
    assert main(["text", *words, "--json"]) == 0
    as_json = json.loads(capsys.readouterr().out)
    assert main(["text", *words]) == 0
    return as_json, capsys.readouterr().out


def test_reconstructions_stand_below_their_sentences(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, shown = printed(capsys, str(texts / "run"), "--beta", "0.1", "--reconstruct", "3", "--split", "validation")
    assert (found["beta"], found["decoding"], found["split"]) == (0.1, "greedy", "validation")
    assert len(found["reconstructions"]) == 3
    for pair in found["reconstructions"]:
        assert pair["sentence"] in LINES
        assert pair["written"]["log_probability"] < 0 < pair["rate"]
        assert f"  {pair['sentence']}\n> {pair['written']['text']}\n" in shown


def test_another_text_is_read_with_the_vocabulary_of_the_run(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.txt").write_text("the zebra sees a tree\n" * 40)
    other = ["--reconstruct", "1", "--data", str(tmp_path / "other.txt")]
    found, _ = printed(capsys, str(texts / "run"), "--beta", "1", *other)
    assert found["reconstructions"][0]["sentence"] == "the <unk> sees a tree"


@pytest.mark.slow
@pytest.mark.parametrize("decoding", [["greedy"], ["beam", "--beam", "2"], ["sample", "--temperature", "0.5"]])
def test_samples_are_fixed_by_the_seed(decoding: list[str], texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(texts / "run"), "--beta", "0.1", "--sample", "4", "--decoding", *decoding, "--seed", "3"]
    first, shown = printed(capsys, *words)
    assert first == printed(capsys, *words)[0]
    assert shown == f"beta 0.1, decoding {decoding[0]}\n" + "".join(f"{s['text']}\n" for s in first["samples"])
    assert first["seed"] == 3


def test_the_way_between_two_sentences_has_seven_steps_and_names_unknown_words(
    texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = ["--interpolate", "the cat sees a zebra", "the dog sees a tree"]
    found, shown = printed(capsys, str(texts / "run"), "--beta", "0.1", *ends)
    assert found["unknown"] == ["zebra"]
    assert "not in the vocabulary, read as <unk>: zebra\n" in shown
    assert [round(step["share"], 2) for step in found["steps"]] == [0, 0.17, 0.33, 0.5, 0.67, 0.83, 1]
    assert f"0.50  {found['steps'][3]['text']}\n" in shown
    assert len(printed(capsys, str(texts / "run"), "--beta", "0.1", *ends, "--steps", "2")[0]["steps"]) == 2


@pytest.mark.parametrize(("words", "message"), USELESS)
def test_options_that_would_do_nothing_are_refused(
    words: list[str], message: str, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["text", str(texts / "run"), "--beta", "0.1", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_run_of_images_is_an_error(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["text", str(trained), "--beta", "0.1", "--sample", "2"]) == 2
    assert "no text; name a run of --model lstm" in capsys.readouterr().err


def test_a_folder_without_a_run_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["text", str(tmp_path), "--beta", "0.1", "--sample", "2"]) == 1
    assert "holds no run" in capsys.readouterr().err


def test_the_command_is_listed() -> None:
    assert "text" in COMMANDS


def test_a_folded_text_model_keeps_its_vocabulary(texts: Path, tmp_path: Path) -> None:
    assert main(["fold", str(texts / "run"), "--beta", "0.1", "--out", str(tmp_path / "plain")]) == 0
    kept = Vocabulary.load(tmp_path / "plain" / "vocabulary.json")
    assert kept == Vocabulary.load(texts / "run" / "vocabulary.json")
    assert mr.load(tmp_path / "plain").vocabulary_size == len(kept)


@pytest.mark.slow
def test_a_report_writes_the_sentences_again_only_where_the_curve_is_newer(texts: Path) -> None:
    run = texts / "run"
    assert main(["evaluate", str(run), "--betas", "2"]) == 0
    written = (run / "sentences.json").stat().st_mtime_ns
    assert main(["report", str(run)]) == 0
    assert (run / "sentences.json").stat().st_mtime_ns == written
    os.utime(run / "curve.json")
    assert main(["report", str(run)]) == 0
    assert (run / "sentences.json").stat().st_mtime_ns > written
