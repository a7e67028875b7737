import os
import pickle
import tracemalloc

import numpy as np
import pytest

from multirate.data import rows as rows_module
from multirate.data.rows import RowFile
from multirate.errors import DataError

ARRAY = np.random.default_rng(0).integers(0, 256, (1000, 3, 5), dtype=np.uint8)

ROWS = {
    "all": np.arange(1000),
    "one": np.array([7]),
    "the last": np.array([999]),
    "close together": np.array([5, 3, 9, 3]),
    "far apart": np.array([900, 3, 999, 0, 3]),
    "many, far apart": np.arange(0, 1000, 83)[::-1],
    "backwards": np.arange(999, -1, -1),
}


@pytest.fixture(params=[True, False], ids=["pread", "seek"])
def file(tmp_path, request, monkeypatch):
    if not request.param:
        monkeypatch.delattr(os, "pread", raising=False)
    np.save(tmp_path / "mine.npy", ARRAY)
    return RowFile(tmp_path / "mine.npy")


@pytest.mark.parametrize("block", [1, 100, 1 << 22])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
def test_rows_are_those_of_the_array(file, rows, block, monkeypatch):
    monkeypatch.setattr("multirate.data.rows._BLOCK", block)
    values = file.read(rows)
    np.testing.assert_array_equal(values, ARRAY[rows], strict=True)
    assert values.flags.writeable
    assert (file.shape, file.dtype, file.row_bytes, len(file), file.is_by_rows) == (
        (1000, 3, 5),
        np.uint8,
        15,
        1000,
        True,
    )


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
def test_a_system_that_reads_less_than_asked_for_is_asked_again(file, rows, monkeypatch):
    whole = rows_module._read_at
    monkeypatch.setattr(
        rows_module, "_read_at", lambda descriptor, size, offset: whole(descriptor, min(size, 7), offset)
    )
    np.testing.assert_array_equal(file.read(rows), ARRAY[rows], strict=True)


@pytest.mark.parametrize("rows", [ROWS["the last"], ROWS["far apart"], ROWS["all"]])
def test_a_file_that_is_cut_while_it_is_in_use_is_one_clear_error(file, rows):
    os.truncate(file.path, file.path.stat().st_size - 1)
    with pytest.raises(DataError, match=r"mine.npy became shorter while it was read"):
        file.read(rows)


def test_a_copy_for_another_process_reads_the_same(file):
    again = pickle.loads(pickle.dumps(file))
    np.testing.assert_array_equal(again.read(ROWS["far apart"]), ARRAY[ROWS["far apart"]])


def test_an_open_file_is_closed_with_its_last_user(tmp_path):
    np.save(tmp_path / "mine.npy", ARRAY)
    descriptor = RowFile(tmp_path / "mine.npy")._descriptor
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_columns_first_are_told_apart(tmp_path):
    np.save(tmp_path / "mine.npy", np.asfortranarray(ARRAY))
    assert not RowFile(tmp_path / "mine.npy").is_by_rows


def test_an_archive_of_arrays_is_no_array(tmp_path):
    np.savez(tmp_path / "mine.npz", ARRAY)
    with pytest.raises(ValueError, match="no array, or several"):
        RowFile(tmp_path / "mine.npz")


def test_reading_needs_little_more_memory_than_what_is_returned(tmp_path):
    np.save(tmp_path / "large.npy", np.zeros((64, 1 << 20), dtype=np.uint8))
    large = RowFile(tmp_path / "large.npy")
    tracemalloc.start()
    large.read(np.arange(64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.25 * (64 << 20)


def test_no_rows_are_an_empty_array(file):
    assert file.read(np.arange(0)).shape == (0, 3, 5)
