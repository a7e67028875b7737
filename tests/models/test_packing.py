import pytest
import torch

from multirate.data import vocabulary
from multirate.errors import DataError, UsageError
from multirate.models import decoding
from multirate.models.packing import like, pack

VOCABULARY = 9
SENTENCES = torch.tensor([[5, 6, 3, 0, 0], [7, 3, 0, 0, 0], [4, 8, 1, 5, 3], [3, 0, 0, 0, 0]])
NOT_ENCODED = [
    ("no end", [[5, 6, 7]]),
    ("all padding", [[5, 3], [0, 0]]),
    ("padding before the end", [[5, 0, 3]]),
    ("a word after the end", [[5, 3, 7]]),
    ("padding within, a word after", [[5, 0, 3, 7]]),
    ("two ends", [[5, 3, 3]]),
]
NOT_SENTENCES = [
    ("int32", torch.ones(2, 3, dtype=torch.int32), "int32"),
    ("floating", torch.ones(2, 3), "float32"),
    ("one sentence alone", torch.ones(3, dtype=torch.int64), r"int64 \[3\]"),
    ("an empty batch", torch.ones(0, 3, dtype=torch.int64), r"\[0, 3\]"),
    ("a word too many", torch.tensor([[9, 3]]), "words 0 to 8; got 9"),
    ("a negative word", torch.tensor([[-1, 3]]), "words 0 to 8; got -1"),
]


def test_special_words_are_those_of_the_vocabulary():
    for name in ("PAD", "UNKNOWN", "START", "END"):
        assert getattr(decoding, name) == getattr(vocabulary, name)


def test_the_words_are_the_batch_without_its_padding():
    packed = pack(SENTENCES, VOCABULARY)
    assert packed.lengths.tolist() == [3, 2, 5, 1]
    assert sorted(packed.words.data.tolist()) == sorted(SENTENCES[SENTENCES != 0].tolist())
    assert torch.equal(packed.padded(packed.words.data), SENTENCES)
    assert torch.equal(packed.padded(packed.words.data, 7)[:, :5], SENTENCES)


def test_the_input_of_each_word_is_the_one_before_it_and_never_an_end():
    packed = pack(SENTENCES, VOCABULARY)
    assert 3 not in packed.inputs.data
    expected = [[2, 5, 6, 0, 0], [2, 7, 0, 0, 0], [2, 4, 8, 1, 5], [2, 0, 0, 0, 0]]
    assert packed.padded(packed.inputs.data).tolist() == expected


def test_each_word_knows_its_sentence():
    packed = pack(SENTENCES, VOCABULARY)
    assert torch.equal(SENTENCES[packed.rows].eq(packed.words.data[:, None]).any(1), torch.ones(11).bool())
    assert packed.rows.bincount().tolist() == [3, 2, 5, 1]
    by_sentence = packed.padded(10.0 + packed.rows, 5)
    assert torch.equal(by_sentence, torch.where(SENTENCES != 0, 10.0 + torch.arange(4.0)[:, None], 0.0))


def test_other_values_of_the_words_keep_the_layout():
    packed = pack(SENTENCES, VOCABULARY)
    values = torch.randn(11, 2)
    other = like(packed.words, values)
    assert torch.equal(other.batch_sizes, packed.words.batch_sizes)
    assert packed.padded(other.data).shape == (4, 5, 2)


@pytest.mark.parametrize("x", [case[1] for case in NOT_ENCODED], ids=[case[0] for case in NOT_ENCODED])
def test_what_is_not_words_an_end_and_padding_is_refused(x):
    with pytest.raises(DataError, match=rf"sentence {len(x) - 1} of the batch.*Vocabulary.encode"):
        pack(torch.tensor(x), VOCABULARY)


@pytest.mark.parametrize(("x", "found"), [case[1:] for case in NOT_SENTENCES], ids=[case[0] for case in NOT_SENTENCES])
def test_what_is_no_batch_of_known_words_is_refused(x, found):
    with pytest.raises(UsageError, match=found):
        pack(x, VOCABULARY)
