"""Any bytes, and anything in the place of a file, are read or refused by an error that says which file it is."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torture.mutations import damaged, scramble
from torture.readers import Reader, readers

from multirate.errors import MultirateError

READERS = [reader for reader in readers() if reader.prepare is None]
# YAML is slow to read, and a report reads every file of a run.
SLOW = ("report", "config", "option")
every_reader = pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
every_reader_often = pytest.mark.parametrize(
    "reader",
    [
        pytest.param(reader, id=reader.name, marks=[pytest.mark.slow] if any(w in reader.name for w in SLOW) else [])
        for reader in READERS
    ],
)
FEW = settings(max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def lay(reader: Reader, folder: Path) -> Path:
    """Write the valid files beside the one that is tried; return where that one belongs."""
    for name, content in reader.beside.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def check(reader: Reader, path: Path) -> None:
    try:
        reader.read(path)
    except MultirateError as error:
        assert str(error).isprintable()
        assert str(path) in str(error) or str(path.parent) in str(error)


@every_reader
def test_a_valid_file_is_read(reader, tmp_path):
    path = lay(reader, tmp_path)
    for content in reader.seeds:
        path.write_bytes(content)
        reader.read(path)


@every_reader
@pytest.mark.parametrize("kind", ["missing", "empty", "folder", "pipe", "loop", "device"])
def test_what_is_no_file_is_refused_at_once(reader, kind, tmp_path):
    path = lay(reader, tmp_path)
    if kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.symlink_to("/dev/zero" if kind == "device" else path.name)
    check(reader, path)


@pytest.mark.slow
@every_reader_often
@FEW
@given(content=st.binary(max_size=200), seed=st.integers(0, 2**32), kind=st.sampled_from(["bytes", "blind", "format"]))
def test_any_bytes_are_read_or_refused(reader, tmp_path, content, seed, kind):
    path = lay(reader, tmp_path)
    if kind != "bytes":
        rng = random.Random(seed)
        content = damaged(scramble if kind == "blind" else reader.mutate, rng.choice(reader.seeds), rng)
    path.write_bytes(content)
    check(reader, path)
