import collections
import hashlib
import os
import re
import shutil
import time

import numpy as np
import pytest

from multirate.data.mapped import Survey
from multirate.data.prepared import prepared_rows
from multirate.errors import DataError

SHAPE = (50, 3, 4, 5)
VALUES = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
KEY = [{"size": 4}, ["a.png", 7]]


class Chunks:
    """Gives the values in pieces of 7 and counts how often it was asked to."""

    def __init__(self, fail_after=None):
        self.calls = 0
        self.fail_after = fail_after

    def __call__(self):
        self.calls += 1
        for start in range(0, len(VALUES), 7):
            if start == self.fail_after:
                raise KeyboardInterrupt
            yield VALUES[start : start + 7]


def names(cache):
    return sorted(path.name for path in cache.rglob("*.*"))


def test_values_are_made_once_and_then_read_from_the_cache(cache):
    chunks = Chunks()
    for _ in range(3):
        file, digest, survey = prepared_rows("faces", KEY, SHAPE, chunks)
        np.testing.assert_array_equal(file.read(np.arange(50)), VALUES, strict=True)
        assert digest == hashlib.sha256(VALUES.tobytes()).hexdigest()
        assert survey == Survey.of(VALUES)
    assert chunks.calls == 1
    assert [name.partition("-")[0] for name in names(cache)] == ["faces", "faces"]


def test_another_key_or_shape_is_made_anew(cache):
    chunks = Chunks()
    prepared_rows("faces", KEY, SHAPE, chunks)
    prepared_rows("faces", [*KEY, 1], SHAPE, chunks)
    prepared_rows("faces", KEY, (*SHAPE[:2], 5, 4), lambda: (v.transpose(0, 1, 3, 2) for v in chunks()))
    assert chunks.calls == 3
    assert len(names(cache)) == 6


DAMAGE = {
    "cut": (".npy", lambda content: content[:-1]),
    "empty": (".npy", lambda content: b""),
    "no array": (".npy", lambda content: b"text" * 100),
    "another shape": (".npy", lambda content: content.replace(b"50, 3", b"50, 1")),
    "no record": (".json", lambda content: b""),
    "another record": (".json", lambda content: b"[1]"),
    "an incomplete record": (".json", lambda content: b'{"sha256": ""}'),
    "no checksum": (".json", lambda content: re.sub(rb"[0-9a-f]{64}", b"abc", content)),
    "a range beyond bytes": (".json", lambda content: content.replace(b'"high": 255.0', b'"high": 1e9')),
    "a range of text": (".json", lambda content: content.replace(b'"low": 0.0', b'"low": "0"')),
    "nesting without end": (".json", lambda content: b"[" * 100_000),
    "columns first": (".npy", lambda content: content.replace(b"False", b"True ")),
}


@pytest.mark.parametrize(("suffix", "change"), DAMAGE.values(), ids=DAMAGE.keys())
def test_what_is_damaged_is_made_anew(cache, suffix, change):
    chunks = Chunks()
    prepared_rows("faces", KEY, SHAPE, chunks)
    path = next(cache.rglob(f"*{suffix}"))
    content = path.read_bytes()
    path.write_bytes(change(content))
    file, _, _ = prepared_rows("faces", KEY, SHAPE, chunks)
    np.testing.assert_array_equal(file.read(np.arange(50)), VALUES)
    assert chunks.calls == 2
    assert path.read_bytes() == content


def test_an_interruption_leaves_nothing(cache):
    with pytest.raises(KeyboardInterrupt):
        prepared_rows("faces", KEY, SHAPE, Chunks(fail_after=28))
    assert names(cache) == []


def test_what_a_killed_process_left_is_removed_once_it_is_old(cache):
    prepared_rows("faces", KEY, SHAPE, Chunks())
    path = next(cache.rglob("*.npy"))
    path.unlink()
    old, new, other = (path.with_name(name) for name in (f".{path.name}.1-1", f".{path.name}.1-2", ".other.npy.1-1"))
    for left, age in ((old, 2 * 3600), (new, 60), (other, 2 * 3600)):
        left.write_bytes(b"half")
        os.utime(left, (time.time() - age,) * 2)
    prepared_rows("faces", KEY, SHAPE, Chunks())
    assert [left.exists() for left in (old, new, other)] == [False, True, True]


def test_pieces_that_do_not_add_up_leave_nothing(cache):
    with pytest.raises(ValueError, match="the pieces do not add up"):
        prepared_rows("faces", KEY, (60, *SHAPE[1:]), Chunks())
    assert names(cache) == []


def test_a_disk_without_room_is_said_before_anything_is_written(cache, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    chunks = Chunks()
    with pytest.raises(
        DataError, match=r"preparing faces needs 0.0 MB in .*prepared, where 0.0 MB are free; free some"
    ):
        prepared_rows("faces", KEY, SHAPE, chunks)
    assert (chunks.calls, names(cache)) == (0, [])


def test_a_cache_that_cannot_be_written_is_one_clear_error(cache):
    cache.write_bytes(b"a file, not a folder")
    with pytest.raises(DataError, match=r"cannot write .*faces-.*set XDG_CACHE_HOME to another folder") as caught:
        prepared_rows("faces", KEY, SHAPE, Chunks())
    assert "\n" not in str(caught.value)
