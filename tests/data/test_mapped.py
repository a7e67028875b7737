import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from multirate.data import load
from multirate.data.mapped import MappedSource, Survey, source_of
from multirate.data.rows import RowFile
from multirate.data.source import TensorSource
from multirate.data.splits import choose
from multirate.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")
GENERATOR = np.random.default_rng(0)
N = 60
BYTES = GENERATOR.integers(0, 256, (N, 5, 4, 3), dtype=np.uint8)
BITS = GENERATOR.integers(0, 2, (N, 1, 5, 4))
UNIT = GENERATOR.random((N, 7))

# every kind of array that a file can hold, and the scale it is given
ARRAYS = {
    "bytes": (BYTES, None),
    "bytes 0 and 1": (BITS.astype(np.uint8), None),
    "bytes 0 and 255": (BITS.astype(np.uint8) * 255, None),
    "bytes 0 and 254": (BITS.astype(np.uint8) * 254, None),
    "bytes all 255": (np.full((N, 3), 255, dtype=np.uint8), None),
    "bytes all 0": (np.zeros((N, 3), dtype=np.uint8), None),
    "bytes 0 to 16 by 16": ((BITS * 16).astype(np.uint8), 16),
    "bytes as they are": (BYTES, 1),
    "booleans": (BITS.astype(bool), None),
    "booleans, halved": (BITS.astype(bool), 2),
    "floats": (UNIT.astype(np.float32), None),
    "floats, scaled": (UNIT.astype(np.float32) * 9, 9.0),
    "double floats": (UNIT, None),
    "half floats": (UNIT.astype(np.float16), None),
    "negative floats": (UNIT - 5, None),
    "floats 0 and 1": (BITS.astype(np.float32), None),
    "floats 0 and 255": (BITS.astype(np.float32) * 255, 255),
    "big-endian floats": (UNIT.astype(">f4"), None),
    "floats all 0, halved": (np.zeros((N, 3), dtype=np.float32), 2),
    "integers": (BITS * 1000, None),
    "integers 0 and 1": (BITS, None),
    "no channel": (BYTES[..., 0], None),
    "channels in front": (BYTES.transpose(0, 3, 1, 2).copy(), None),
}


def write(folder, array, name="mine.npy"):
    np.save(folder / name, array)
    return folder / name


def all_of(source):
    return source.batch(torch.arange(len(source)))


@pytest.mark.parametrize(("array", "scale"), ARRAYS.values(), ids=ARRAYS.keys())
def test_a_mapped_file_equals_the_same_file_in_memory(tmp_path, array, scale):
    path = write(tmp_path, array)
    for split in SPLITS:
        options = {"scale": scale}
        held = load(path, split, **options)
        mapped = load(path, split, memory_limit=0, **options)
        assert (type(held), type(mapped)) == (TensorSource, MappedSource)
        order = torch.tensor([2, 0, len(held) - 1, 2])
        assert torch.equal(held.batch(order), mapped.batch(order))
        assert mapped.batch(order).dtype == torch.float32
        assert torch.equal(all_of(held), all_of(mapped))
        for name in ("shape", "name", "split", "likelihood"):
            assert getattr(held, name) == getattr(mapped, name)
        assert held.value_range == pytest.approx(mapped.value_range, rel=1e-6)
        assert len(held) == len(mapped)
        assert mapped.details == {**held.details, "storage": "mapped"}


def test_a_batch_is_a_copy_and_the_file_is_left_as_it_was(tmp_path):
    path = write(tmp_path, BYTES)
    content = path.read_bytes()
    source = load(path, memory_limit=0)
    first = source.batch(torch.arange(3)).clone()
    source.batch(torch.arange(3)).zero_()
    assert torch.equal(source.batch(torch.arange(3)), first)
    assert path.read_bytes() == content


@pytest.mark.parametrize(("limit", "kind"), [(0.0029, MappedSource), (0.00296, TensorSource)])
def test_a_split_is_mapped_above_the_limit_in_megabytes(tmp_path, limit, kind):
    path = write(tmp_path, GENERATOR.integers(0, 256, (100, 37), dtype=np.uint8))
    assert len(load(path)) * 37 == 2960
    assert type(load(path, memory_limit=limit)) is kind


def test_what_was_surveyed_is_not_read_again(tmp_path):
    file = RowFile(write(tmp_path, BYTES))
    source = MappedSource(file, survey=Survey(0, 200, False))
    assert source.value_range == (0, 200 / 255)


def test_a_survey_of_parts_is_that_of_the_whole():
    parts = [np.array(p, dtype=np.uint8) for p in ([[0, 255]], [[0, 0]], [[255, 255]], [[0, 1]], [[7, 9]])]
    for first in parts:
        for second in parts:
            whole = Survey.of(np.concatenate([first, second]))
            assert Survey.joined([Survey.of(first), Survey.of(second)]) == whole
            assert whole.two == (len(np.unique(np.concatenate([first, second]))) <= 2)


def test_labels_follow_their_examples(tmp_path):
    file = RowFile(write(tmp_path, BYTES))
    labels = torch.arange(3)
    source = source_of(file, np.array([5, 1, 3]), memory_limit=0, name="mine", labels=labels)
    assert torch.equal(source.batch(torch.tensor([1])), torch.from_numpy(BYTES[1:2]).float() / 255)
    assert source.labels is labels
    with pytest.raises(DataError, match=r"3 examples but labels of shape \[2\]"):
        MappedSource(file, np.array([5, 1, 3]), labels=labels[:2])


def poisoned(value):
    array = UNIT.copy()
    array[np.arange(30, 60)] = value
    return array


BAD = {
    "NaN": (poisoned(np.nan), {}, "hold NaN, infinity or numbers too large .* the first at index"),
    "infinity": (poisoned(np.inf).astype(np.float32), {}, "hold NaN, infinity"),
    "too large": (poisoned(1e300), {}, "too large for float32"),
    "Fortran order": (np.asfortranarray(UNIT), {}, r"column by column .* save it with numpy.ascontiguousarray"),
    "one axis": (UNIT[:, 0], {}, r"array 'x' has shape \[60\]"),
    "no values": (UNIT[:, :0], {}, "at least one number an example"),
    "complex": (UNIT.astype(complex), {}, "an array of complex128 is no data"),
    "text": (np.array([["a"] * 5] * N), {}, "is no data"),
    "objects": (np.array([[{}] * 5] * N, dtype=object), {}, "Python objects, which are never loaded"),
    "too few": (UNIT[:9], {}, "9 examples, too few to cut"),
    "bernoulli": (BYTES, {"likelihood": "bernoulli", "scale": 1}, r"needs values in \[0, 1\]; got 0 to 25"),
    "key": (UNIT, {"key": "y"}, "has no array 'y'"),
}


@pytest.mark.parametrize(("array", "options", "message"), BAD.values(), ids=BAD.keys())
def test_arrays_that_are_no_data_are_refused(tmp_path, array, options, message):
    path = write(tmp_path, array)
    with pytest.raises(DataError, match=message) as caught:
        load(path, **{"memory_limit": 0, **options})
    assert "mine" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_small_file_in_fortran_order_is_read_into_memory(tmp_path):
    path = write(tmp_path, np.asfortranarray(UNIT.astype(np.float32)))
    assert torch.equal(all_of(load(path)), all_of(load(write(tmp_path, UNIT.astype(np.float32), "c.npy"))))


@pytest.mark.parametrize("keep", [0, 0.01, 0.9, 0.9999])
def test_a_truncated_file_is_one_clear_error(tmp_path, keep):
    path = write(tmp_path, UNIT)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(DataError, match="truncated") as caught:
        load(path, memory_limit=0)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("limit", [-1, "1", True, None, float("nan")])
def test_a_limit_that_is_no_number_of_megabytes_is_refused(tmp_path, limit):
    with pytest.raises(UsageError, match="memory_limit is a number of megabytes"):
        load(write(tmp_path, UNIT), memory_limit=limit)


@pytest.mark.parametrize("scale", [0, -1, "2", True, float("nan")])
def test_a_scale_that_is_no_positive_number_is_refused(tmp_path, scale):
    with pytest.raises(UsageError, match="scale"):
        load(write(tmp_path, UNIT), scale=scale, memory_limit=0)


# The peak of the resident set is read from the kernel's record of this program alone: what getrusage gives may be that
# of the process that started it.
PEAK = """
import sys, torch, numpy as np
from multirate.data import load

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

small, path = sys.argv[1:]
load(small, memory_limit=0).batch(torch.arange(4))
before, total = peak(), 0.0
source = load(path, memory_limit=1)
for indices in torch.randperm(len(source), generator=torch.Generator().manual_seed(0)).split(128):
    total += float(source.batch(indices)[:, 0, 0, :8].double().sum())
mapped = peak() - before
held = bytearray(open(path, "rb").read())
print(type(source).__name__, total * source.details["scale"], mapped, peak() - before)
"""


@pytest.mark.slow
def test_a_set_that_is_mapped_needs_only_a_little_of_its_size_in_memory(tmp_path):
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of the resident set is read from /proc")
    path, count = tmp_path / "large.npy", 26_000
    values = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 3, 64, 64))
    marks = np.arange(count * 8).reshape(count, 8) % 251
    values[:, 0, 0, :8] = marks
    values.flush()
    del values
    megabytes = path.stat().st_size / 2**20
    small = write(tmp_path, GENERATOR.integers(0, 256, (20, 3, 64, 64), dtype=np.uint8), "small.npy")

    command = [sys.executable, "-c", PEAK, str(small), str(path)]
    kind, total, mapped, held = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    _, train = choose("train", {"train": count}, "")
    assert kind == "MappedSource"
    assert float(total) == pytest.approx(marks[train].sum(), rel=1e-6)
    assert megabytes > 300
    assert float(mapped) < 0.15 * megabytes
    assert float(held) > megabytes
