import gzip
import hashlib
import json

import numpy as np
import pytest
import torch

from multirate.data import load
from multirate.data.splits import choose
from multirate.data.text import TextSource, is_text
from multirate.data.vocabulary import Vocabulary
from multirate.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")
LINES = ["the cat sat", "a dog", "the dog and the cat sat and sat"]
WORDS = Vocabulary(["the", "cat", "sat", "a", "dog", "and"])
ROWS = [[4, 5, 6, 3], [7, 8, 3], [4, 8, 9, 4, 5, 6, 9, 6, 3]]


def source_of(lines=LINES, **options):
    return TextSource.from_lines(lines, WORDS, **options)


def padded(rows):
    longest = max(map(len, rows))
    return [row + [0] * (longest - len(row)) for row in rows]


@pytest.mark.parametrize("indices", [[0, 1, 2], [1], [1, 0], [2, 2, 1], [1, 1]])
def test_a_batch_is_padded_to_its_own_longest_document(indices):
    batch = source_of().batch(torch.tensor(indices))
    assert batch.dtype == torch.int64
    assert batch.tolist() == padded([ROWS[i] for i in indices])


def test_a_source_says_what_it_holds():
    source = source_of(name="mine", split="test", details={"path": "somewhere"})
    assert (len(source), source.shape, source.likelihood) == (3, (9,), "categorical")
    assert (source.name, source.split) == ("mine", "test")
    assert source.vocabulary is WORDS
    assert source.words == 4 + 3 + 9
    assert source.details == {
        "words": 16,
        "unknown": 0,
        "vocabulary_size": 10,
        "vocabulary_sha256": WORDS.checksum,
        "empty": 0,
        "truncated": 0,
        "path": "somewhere",
    }
    assert json.loads(json.dumps(source.details)) == source.details
    assert [source.text(i) for i in range(3)] == LINES


def test_only_a_categorical_model_fits():
    source = source_of()
    source.check_likelihood("categorical")
    with pytest.raises(UsageError, match="categorical data"):
        source.check_likelihood("gaussian")


def test_long_documents_are_cut_and_counted():
    source = source_of(max_words=3)
    assert source.batch(torch.arange(3)).tolist() == [[4, 5, 6, 3], [7, 8, 3, 0], [4, 8, 9, 3]]
    assert source.shape == (4,)
    assert (source.details["max_words"], source.details["truncated"]) == (3, 1)


def test_empty_lines_are_dropped_and_counted():
    source = source_of(["", LINES[0], " \t", LINES[1]])
    assert [source.text(i) for i in range(len(source))] == LINES[:2]
    assert source.details["empty"] == 2


def test_unknown_words_are_counted_and_shown_as_unknown():
    source = source_of(["the cow sat <unk>"])
    assert source.text(0) == "the <unk> sat <unk>"
    assert source.details["unknown"] == 2


def test_a_source_takes_four_bytes_a_word():
    source = source_of()
    assert source._tokens.dtype == torch.int32
    assert source._tokens.numel() == source.words


@pytest.mark.parametrize("index", [-1, 3])
def test_a_document_that_is_not_there_is_refused(index):
    with pytest.raises(UsageError, match=f"text has 3 documents for train; got index {index}"):
        source_of().text(index)


@pytest.mark.parametrize("max_words", [0, -1, 2.5, True, "3"])
def test_max_words_must_be_a_positive_integer(max_words):
    with pytest.raises(UsageError, match="max_words must be an integer of at least 1"):
        source_of(max_words=max_words)


BAD_TOKENS = {
    "no documents": ([], [0], "has no documents for train"),
    "no end": ([4, 5], [0, 2], "must end with the end token 3"),
    "two ends": ([4, 3, 3], [0, 3], "must end with the end token 3"),
    "offsets beyond": ([4, 3], [0, 3], "must end with the end token 3"),
    "first left out": ([4, 5, 3], [1, 3], "must end with the end token 3"),
    "padding": ([4, 0, 3], [0, 3], "must be numbered from 1 to 9"),
    "beyond the vocabulary": ([10, 3], [0, 2], "must be numbered from 1 to 9"),
}


@pytest.mark.parametrize(("tokens", "offsets", "message"), BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_tokens_that_are_no_documents_are_refused(tokens, offsets, message):
    with pytest.raises(DataError, match=message):
        TextSource(np.array(tokens, dtype=np.int32), np.array(offsets, dtype=np.int64), WORDS)


MANY = [f"w{i} common w{i % 7} end{i}" for i in range(40)]


def write(path, lines, *, end="\n"):
    content = "".join(line + end for line in lines).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)
    return path


def texts(source):
    return [source.text(i) for i in range(len(source))]


@pytest.mark.parametrize("name", ["my.txt", "my.txt.gz", "my.TXT"])
def test_a_file_is_cut_into_splits_and_the_vocabulary_is_that_of_train(tmp_path, name):
    path = write(tmp_path / name, MANY)
    kept = [MANY[i] for i in choose("train", {"train": 40}, "")[1]]
    for split in SPLITS:
        source = load(path, split)
        _, indices = choose(split, {"train": 40}, "")
        assert source.vocabulary == Vocabulary.build(kept)
        expected = [source.vocabulary.decode(source.vocabulary.encode(MANY[i])) for i in indices]
        assert texts(source) == expected
        assert (source.name, source.split) == ("my", split)
        assert source.details["split_seed"] == 0
        assert source.details["sha256"] == hashlib.sha256("".join(f"{line}\n" for line in MANY).encode()).hexdigest()
    assert all("<unk>" in text for text in texts(load(path, "test")))
    assert not any("<unk>" in text for text in texts(load(path, "train")))


@pytest.mark.parametrize(
    "names", [("train", "valid", "test"), ("train", "val", "test"), ("train", "validation", "test")]
)
def test_a_folder_of_files_has_their_splits(tmp_path, names):
    contents = {"train": MANY[:30], "validation": MANY[30:34], "test": [*MANY[34:], ""]}
    for name, lines in zip(names, contents.values(), strict=True):
        write(tmp_path / f"{name}.txt{'.gz' if name == 'test' else ''}", lines)
    words = Vocabulary.build(MANY[:30])
    for split, lines in contents.items():
        source = load(str(tmp_path), split)
        assert texts(source) == [words.decode(words.encode(line)) for line in lines if line]
        assert source.vocabulary == words
        assert "split_seed" not in source.details
        assert source.details["empty"] == (split == "test")


def test_a_folder_without_validation_has_it_cut_from_train(tmp_path):
    write(tmp_path / "train.txt", MANY[:30])
    write(tmp_path / "test.txt", MANY[30:])
    train, validation, test = (load(tmp_path, split) for split in SPLITS)
    assert (len(train), len(validation), len(test)) == (27, 3, 10)
    assert train.vocabulary == validation.vocabulary == test.vocabulary == Vocabulary.build(texts(train))
    assert sorted(texts(train)) == sorted(MANY[i] for i in choose("train", {"train": 30, "test": 10}, "")[1])


def test_a_plain_file_goes_before_a_gzipped_one_of_its_name(tmp_path):
    write(tmp_path / "train.txt", MANY)
    write(tmp_path / "train.txt.gz", ["other"])
    assert "common" in load(tmp_path, "train").vocabulary


def test_line_ends_of_windows_a_mark_at_the_start_and_a_missing_last_newline_do_not_matter(tmp_path):
    path = tmp_path / "my.txt"
    plain = texts(load(write(path, MANY), "train"))
    assert texts(load(write(path, MANY, end="\r\n"), "train")) == plain
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(MANY).encode())
    assert texts(load(path, "train")) == plain


def test_options_shape_the_text_and_are_recorded(tmp_path):
    path = write(tmp_path / "my.txt", MANY)
    source = load(path, "train", max_words=2, vocabulary_size=8, min_count=2)
    assert source.shape == (3,)
    assert len(source.vocabulary) == 8
    assert source.details["truncated"] == len(source) == 32
    assert source.details["vocabulary_size"] == 8
    every = load(path, "train", min_count=2).vocabulary
    assert "common" in every
    assert "end3" not in every


def test_a_saved_vocabulary_is_used_for_all_splits(tmp_path):
    path = write(tmp_path / "my.txt", MANY)
    saved = Vocabulary(["common"]).save(tmp_path / "vocabulary.json")
    for split in SPLITS:
        source = load(path, split, vocabulary=str(saved))
        assert source.vocabulary == Vocabulary(["common"])
        assert texts(source)[0] == "<unk> common <unk> <unk>"


@pytest.mark.parametrize("options", [{"vocabulary_size": 9}, {"min_count": 2}])
def test_a_saved_vocabulary_is_not_cut(tmp_path, options):
    path = write(tmp_path / "my.txt", MANY)
    with pytest.raises(UsageError, match=r"vocabulary=w.json is complete: leave vocabulary_size and min_count out"):
        load(path, vocabulary="w.json", **options)


ZIPPED = gzip.compress("\n".join(MANY).encode(), mtime=0)
BAD_FILES = {
    "empty": ("my.txt", b"", "my.txt holds no text"),
    "blank": ("my.txt", b"\n \n\t\n", "my.txt holds no text"),
    "binary": ("my.txt", b"abc\0\x01" * 9, "my.txt is a binary file"),
    "not UTF-8": ("my.txt", b"good\nb\xe4d\n", r"my.txt, line 2: not UTF-8 \(invalid continuation byte\)"),
    "a picture": ("my.txt", b"\x89PNG\r\n\x1a\n", "my.txt, line 1: not UTF-8"),
    "cut gzip": ("my.txt.gz", ZIPPED[: len(ZIPPED) // 2], "my.txt.gz is missing, truncated or corrupt"),
    "damaged gzip": ("my.txt.gz", ZIPPED[:60] + b"\0\0\0" + ZIPPED[63:], "my.txt.gz is missing, truncated or corrupt"),
    "too few": ("my.txt", b"a\nb\n\nc\n", "has 3 examples, too few to cut"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_one_clear_error(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        load(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("vocabulary", [5, True, ["a"]])
def test_a_vocabulary_that_is_no_path_is_refused(tmp_path, vocabulary):
    (tmp_path / "mine.txt").write_text("a b\n" * 20)
    with pytest.raises(UsageError, match="vocabulary is the path of a saved vocabulary; got"):
        load(tmp_path / "mine.txt", vocabulary=vocabulary)


def test_an_unknown_option_is_refused_with_those_for_text(tmp_path):
    with pytest.raises(
        UsageError, match=r"unknown option 'size'.*choose from max_words, vocabulary_size, min_count, voc"
    ):
        load(write(tmp_path / "my.txt", MANY), size=3)


def test_a_missing_text_is_a_missing_path(tmp_path):
    with pytest.raises(DataError, match=r"no file or folder .*my.txt"):
        load(tmp_path / "my.txt")


def test_folders_of_other_things_are_no_text(tmp_path):
    assert not is_text(tmp_path)
    (tmp_path / "train.txt").mkdir()
    write(tmp_path / "readme.txt", MANY)
    assert not is_text(tmp_path)
    assert is_text(tmp_path / "readme.txt")
    assert not is_text(tmp_path / "readme.md")


def test_a_folder_of_images_may_have_lists_of_its_files_beside_them(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train.txt").write_text("train/0.png\n" * 20)
    assert not is_text(tmp_path)
    (tmp_path / "train").rmdir()
    assert is_text(tmp_path)


def test_empty_lines_do_not_move_the_cuts(tmp_path):
    plain = write(tmp_path / "plain.txt", MANY)
    gaps = write(
        tmp_path / "gaps.txt", [line for pair in zip(["", " ", "\t", ""] * 10, MANY, strict=True) for line in pair]
    )
    for split in SPLITS:
        assert texts(load(gaps, split)) == texts(load(plain, split))
    assert load(gaps, "train").details["empty"] == 40
