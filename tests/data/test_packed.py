import pickle

import numpy as np
import pytest
import torch

from multirate.data.packed import PackedSource
from multirate.data.rows import RowFile

SHAPES = [(1, 64, 64), (3, 5), (8,), (1,), (2, 3, 5)]


@pytest.fixture
def source(tmp_path):
    """A source of bits that lie packed in a file."""

    def made(shape, bits, rows=None):
        np.save(tmp_path / "bits.npy", np.packbits(bits.reshape(len(bits), -1), axis=1))
        rows = np.arange(len(bits)) if rows is None else rows
        return PackedSource(
            RowFile(tmp_path / "bits.npy"), rows, shape, name="made", split="test", details={"made": True}
        )

    return made


@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_is_the_bits_that_were_packed(source, shape):
    bits = np.random.default_rng(0).random((7, *shape)) < 0.5
    indices = torch.tensor([3, 0, 6, 3])
    batch = source(shape, bits).batch(indices)
    assert (batch.dtype, batch.shape) == (torch.float32, (4, *shape))
    np.testing.assert_array_equal(batch.numpy(), bits[indices.numpy()])


def test_rows_choose_the_examples_and_their_order(source):
    bits = np.random.default_rng(1).random((9, 5)) < 0.5
    chosen = source((5,), bits, np.array([8, 2, 5]))
    assert len(chosen) == 3
    np.testing.assert_array_equal(chosen.batch(torch.tensor([2, 0])).numpy(), bits[[5, 8]])


def test_a_batch_may_be_written_to_and_leaves_the_next_one_as_it_was(source):
    bits = np.eye(8, dtype=bool)
    made = source((8,), bits)
    made.batch(torch.arange(8)).fill_(7)
    np.testing.assert_array_equal(made.batch(torch.arange(8)).numpy(), bits)


def test_packed_bits_are_bernoulli_and_say_how_they_are_kept(source):
    made = source((5,), np.zeros((2, 5), dtype=bool))
    assert (made.likelihood, made.value_range) == ("bernoulli", (0, 1))
    assert made.details == {"made": True, "storage": "packed bits"}
    made.check_likelihood("bernoulli")


def test_a_copy_for_another_process_reads_the_same(source):
    bits = np.random.default_rng(2).random((9, 5)) < 0.5
    again = pickle.loads(pickle.dumps(source((5,), bits)))
    np.testing.assert_array_equal(again.batch(torch.arange(9)).numpy(), bits)
