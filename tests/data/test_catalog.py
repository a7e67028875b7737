import gzip
import hashlib
import subprocess
import sys

import pytest

from multirate.data.catalog import DATA_SETS, DataSet, describe, fetch
from multirate.data.download import RemoteFile, verify
from multirate.data.loading import _LOADERS
from multirate.data.names import DATA_NAMES
from multirate.errors import DataError, UsageError


def test_every_name_has_a_description_an_entry_and_a_loader():
    assert list(DATA_NAMES) == list(DATA_SETS) == list(_LOADERS)
    assert all("\n" not in line and len(line) < 100 for line in DATA_NAMES.values())


def test_checksums_are_complete():
    for entry in DATA_SETS.values():
        for file in entry.files:
            assert file.by_hand or file.url.endswith("/" + file.name)
            assert file.by_hand <= (file.checksum is not None)
            if file.checksum is not None:
                kind, digest = file.checksum.split(":")
                assert len(digest) == {"sha256": 64, "md5": 32}[kind]


def test_describe_says_what_is_there_and_what_is_missing(tmp_path):
    (tmp_path / "mnist").mkdir()
    path = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(b"12345")

    said = describe("mnist", tmp_path)

    assert (said["name"], said["ready"], said["shape"]) == ("mnist", False, [1, 28, 28])
    assert said["examples"] == {"train": 50_000, "validation": 10_000, "test": 10_000}
    found = {file["name"]: (file["path"], file["bytes"]) for file in said["files"]}
    assert found.pop(path.name) == (str(path), 5)
    assert set(found.values()) == {(None, None)}


def test_digits_need_no_files():
    assert describe("digits")["ready"]
    assert fetch("digits") == []


def test_dsprites_is_ready_without_its_file_but_not_with_a_damaged_one(tmp_path):
    said = describe("dsprites", tmp_path)
    assert (said["ready"], said["without_files"]) == (True, "drawn here in seconds")
    assert [(file["path"], file["needed"]) for file in said["files"]] == [(None, False)]
    (tmp_path / said["files"][0]["name"]).write_bytes(b"damaged")
    assert not describe("dsprites", tmp_path)["ready"]


def test_fetch_downloads_what_is_missing(server, tmp_path, monkeypatch):
    files = tuple(RemoteFile(name, server.offer(name, name.encode())) for name in ("a", "b"))
    monkeypatch.setitem(DATA_SETS, "made", DataSet("none", "here", (1,), {}, files))
    monkeypatch.setitem(DATA_NAMES, "made", "two files")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a").write_text("a")

    assert fetch("made", tmp_path) == [tmp_path / "made" / "a", tmp_path / "made" / "b"]
    assert server.requests == ["/b"]
    assert describe("made", tmp_path)["ready"]


@pytest.mark.parametrize("ask", [describe, fetch])
def test_an_unknown_name_is_refused_with_the_choices(ask):
    with pytest.raises(UsageError, match="unknown data set 'minst'; choose one of digits, mnist"):
        ask("minst")


def test_names_and_descriptions_need_no_torch():
    code = (
        "import sys; from multirate.data import names, describe; describe('mnist'); "
        "print([m for m in ('torch', 'scipy', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_that_fails_its_checksum_is_not_ready_and_not_fetched(tmp_path, monkeypatch):
    good = "sha256:" + hashlib.sha256(b"good").hexdigest()
    files = (RemoteFile("a", "http://127.0.0.1:1/a", good),)
    monkeypatch.setitem(DATA_SETS, "made", DataSet("none", "here", (1,), {}, files))
    monkeypatch.setitem(DATA_NAMES, "made", "one file")
    path = tmp_path / "made" / "a"
    path.parent.mkdir()
    path.write_bytes(b"bad")
    said = describe("made", tmp_path)
    assert (said["ready"], said["files"][0]["verified"]) == (False, False)
    with pytest.raises(DataError, match=r"a fails its checksum \(sha256:.*remove it and fetch it again"):
        fetch("made", tmp_path)
    path.write_bytes(b"good")
    said = describe("made", tmp_path)
    assert (said["ready"], said["files"][0]["verified"]) == (True, True)
    assert fetch("made", tmp_path) == [path]


@pytest.mark.parametrize(
    ("stored", "verified"),
    [
        (gzip.compress(b"good", 1, mtime=0), True),
        (b"good", True),
        (gzip.compress(b"bad", mtime=0), False),
        (b"\x1f\x8bcut", False),
    ],
)
def test_a_copy_that_was_compressed_again_is_as_good(tmp_path, stored, verified):
    published = hashlib.sha256(gzip.compress(b"good", 9, mtime=1)).hexdigest()
    file = RemoteFile("a.gz", "http://127.0.0.1:1/a.gz", f"sha256:{published}", hashlib.sha256(b"good").hexdigest())
    (tmp_path / "a.gz").write_bytes(stored)
    assert verify(file, tmp_path / "a.gz") is verified


def test_real_mnist_is_verified(data_dir):
    assert describe("mnist", data_dir)["ready"]
