import hashlib
import json

import numpy as np
import pytest
import torch

from multirate.data.vocabulary import END, PAD, START, UNKNOWN, Vocabulary
from multirate.errors import DataError, UsageError

LINES = ["b a c", "c b  d\tb", "", "e <unk> a <s> </s> <pad>"]
WORDS = ("<pad>", "<unk>", "<s>", "</s>", "b", "a", "c", "d", "e")


def test_specials_come_first_then_words_by_count_and_first_occurrence():
    vocabulary = Vocabulary.build(LINES)
    assert (PAD, UNKNOWN, START, END) == (0, 1, 2, 3)
    assert vocabulary.words == WORDS
    assert len(vocabulary) == 9


def test_order_of_lines_decides_between_equally_frequent_words_alone():
    assert Vocabulary.build(["x y", "y x z z z"]).words[4:] == ("z", "x", "y")
    assert Vocabulary.build(["y x z z z", "x y"]).words[4:] == ("z", "y", "x")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 6}, ("b", "a")),
        ({"size": 100}, ("b", "a", "c", "d", "e")),
        ({"min_count": 2}, ("b", "a", "c")),
        ({"min_count": 3}, ("b",)),
        ({"size": 5, "min_count": 2}, ("b",)),
    ],
)
def test_size_and_min_count_keep_the_most_frequent_words(options, words):
    assert Vocabulary.build(LINES, **options).words[4:] == words


BAD_OPTIONS = {
    "size of specials alone": ({"size": 4}, UsageError, "size must be an integer of at least 5; got 4"),
    "size no integer": ({"size": "many"}, UsageError, "size must be an integer of at least 5; got 'many'"),
    "size true": ({"size": True}, UsageError, "got True"),
    "min_count 0": ({"min_count": 0}, UsageError, "min_count must be an integer of at least 1; got 0"),
    "nothing left": ({"min_count": 4}, DataError, "no word comes 4 times in the training text; .*lower min_count"),
}


@pytest.mark.parametrize(("options", "error", "message"), BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
def test_options_that_cannot_be_right_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Vocabulary.build(LINES, **options)


def test_encoding_ends_with_the_end_and_reads_strange_words_and_specials_as_unknown():
    vocabulary = Vocabulary.build(LINES)
    assert vocabulary.encode(" a  e never\n") == [5, 8, 1, 3]
    assert vocabulary.encode("<unk> <pad> <s> </s> b") == [1, 1, 1, 1, 4, 3]
    assert vocabulary.encode("") == [3]


@pytest.mark.parametrize("kind", [list, torch.tensor, np.array, tuple, iter])
def test_decoding_stops_at_the_end_and_drops_padding_and_start(kind):
    vocabulary = Vocabulary.build(LINES)
    assert vocabulary.decode(kind([2, 4, 1, 0, 5, 3, 6, 6])) == "b <unk> a"
    assert vocabulary.decode(kind([3])) == ""
    assert vocabulary.decode(kind([5, 6])) == "a c"


def test_decoding_undoes_encoding():
    vocabulary = Vocabulary.build(LINES)
    assert vocabulary.decode(vocabulary.encode("d c b a <unk>")) == "d c b a <unk>"


@pytest.mark.parametrize("number", [-1, 9])
def test_a_number_outside_the_vocabulary_is_refused(number):
    with pytest.raises(DataError, match=rf"{number} is not in a vocabulary of 9 words"):
        Vocabulary.build(LINES).decode([4, number])


def test_a_saved_vocabulary_is_json_and_comes_back_equal(tmp_path):
    vocabulary = Vocabulary.build(["naïve 日本 \x1b[0m ¿"])
    path = vocabulary.save(tmp_path / "new" / "vocabulary.json")
    words = [*WORDS[:4], "naïve", "日本", "\x1b[0m", "¿"]
    assert json.loads(path.read_bytes()) == {"schema": "multirate.vocabulary/1", "words": words}
    again = Vocabulary.load(path)
    assert again == vocabulary
    assert hash(again) == hash(vocabulary)
    assert again.encode("日本 x") == [5, 1, 3]
    assert again.checksum == hashlib.sha256("".join(f"{word}\n" for word in words).encode()).hexdigest()


def test_vocabularies_are_equal_if_their_words_are():
    first, second = Vocabulary(["a", "b"]), Vocabulary(["b", "a"])
    assert first == Vocabulary(["a", "b"])
    assert first != second
    assert first.checksum != second.checksum
    assert first != ("a", "b")
    assert "a" in first
    assert "c" not in first


SPECIALS = ["<pad>", "<unk>", "<s>", "</s>"]
BAD_WORDS = {
    "no specials": (["a", "b"], "words must begin with <pad>, <unk>, <s>, </s>"),
    "none": ([], "words must begin with"),
    "cut in the specials": (["<pad>", "<unk>"], "words must begin with"),
    "specials in another order": (["<unk>", "<pad>", "<s>", "</s>"], "words must begin with"),
    "a word twice": ([*SPECIALS, "a", "b", "a"], "v.json: the word 'a' is in the vocabulary twice; keep it once"),
    "a special twice": ([*SPECIALS, "a", "<unk>"], "the word '<unk>' is in the vocabulary twice"),
    "two words in one": ([*SPECIALS, "a b"], "v.json: 'a b' is no word"),
    "an empty word": ([*SPECIALS, "a", "", "b"], "'' is no word"),
    "numbers": ([*SPECIALS, 1], "words must be a list of strings"),
    "a string": ("<pad>", "words must be a list of strings"),
}


@pytest.mark.parametrize(("words", "message"), BAD_WORDS.values(), ids=BAD_WORDS.keys())
def test_a_file_of_bad_words_is_one_clear_error(tmp_path, words, message):
    path = tmp_path / "v.json"
    path.write_text(json.dumps({"schema": "multirate.vocabulary/1", "words": words}))
    with pytest.raises(DataError, match=message):
        Vocabulary.load(path)


BAD_FILES = {
    "no JSON": (b"<pad>\n<unk>\n", "cannot read .*v.json as JSON"),
    "empty": (b"", "cannot read .*v.json as JSON"),
    "not UTF-8": (b"\xff", "cannot read .*v.json as JSON"),
    "a list": (b"[]", r"v.json is no vocabulary of multirate \(schema multirate.vocabulary/1\)"),
    "another schema": (b'{"schema": "multirate.curve/1", "words": []}', "is no vocabulary"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_of_something_else_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "v.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        Vocabulary.load(path)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match=r"no file .*v.json; check the path"):
        Vocabulary.load(tmp_path / "v.json")
