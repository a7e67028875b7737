import hashlib
import json

import pytest

from multirate.cli.main import main
from multirate.data import DATA_NAMES, download, transfer
from multirate.data.catalog import DATA_SETS, DataSet
from multirate.data.download import RemoteFile

BODY = b"content"
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


@pytest.fixture(autouse=True)
def made(tmp_path, monkeypatch):
    """A data set of two files, one of which a person has to fetch, in place of the real ones; no cache, no network."""
    files = (
        RemoteFile("plain.bin", "http://127.0.0.1:9/plain.bin", MD5),
        RemoteFile("asked.bin", "https://page.example/", MD5, by_hand=True),
    )
    entry = DataSet("CC0", "nowhere", (1,), {"train": 3}, files, megabytes=1.5)
    monkeypatch.setitem(DATA_SETS, "made", entry)
    monkeypatch.setitem(DATA_NAMES, "made", "two files")
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv(download.DATA_VARIABLE, raising=False)
    download.announce.cache_clear()


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Let every download succeed; return what was asked for."""
    asked = []

    def put(url, target, checksum):
        asked.append(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(BODY)
        return target

    monkeypatch.setattr(transfer, "download", put)
    return asked


def test_the_list_names_every_data_set_and_what_else_can_be_read(capsys):
    assert main(["data"]) == 0
    lines = capsys.readouterr().out
    for word in (*DATA_NAMES, ".npy", ".zip", ".txt", "hf:USER/NAME"):
        assert word in lines
    assert all(len(line) < 120 for line in lines.splitlines())


def test_describe_says_what_is_missing_and_where_to_get_it(tmp_path, capsys):
    (tmp_path / "plain.bin").write_bytes(b"other")
    assert main(["data", "describe", "made", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out
    assert "ready        no: a file is not the published one; remove it and run `multirate data fetch made`" in lines
    assert "plain.bin (its checksum is another one)" in lines
    assert "asked.bin: missing: get it by hand from https://page.example/" in lines


READY = {
    "nothing": ((), "no: run `multirate data fetch made`"),
    "all but what is fetched by hand": (("plain.bin",), "no: get the missing files by hand"),
    "all": (("plain.bin", "asked.bin"), "yes"),
}


@pytest.mark.parametrize(("there", "said"), READY.values(), ids=READY.keys())
def test_describe_says_what_to_do_next(tmp_path, capsys, there, said):
    for name in there:
        (tmp_path / name).write_bytes(BODY)
    assert main(["data", "describe", "made", "--data-dir", str(tmp_path)]) == 0
    assert f"ready        {said}\n" in capsys.readouterr().out


def test_describe_says_that_dsprites_can_do_without_its_file(tmp_path, capsys):
    assert main(["data", "describe", "dsprites", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out
    assert "ready        yes: drawn here in seconds; the published file is optional\n" in lines
    assert ".npz: missing, not needed\n" in lines


def test_a_name_for_the_list_is_refused_rather_than_passed_over(capsys):
    assert main(["data", "list", "mnist"]) == 2
    assert "list takes no name; for one data set: multirate data describe mnist" in capsys.readouterr().err


def test_fetch_prints_licence_source_and_size_once_and_says_what_is_to_be_done_by_hand(tmp_path, fetched, capsys):
    assert main(["data", "fetch", "made", "--data-dir", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    notice, error = said.err.splitlines()
    assert notice == "multirate: made: licence: CC0; source: nowhere; about 1.5 MB"
    assert error.startswith(f"multirate: error: made needs asked.bin ({MD5}), which has no plain address")
    assert f"put it into {tmp_path / 'made'}" in error
    assert fetched == ["http://127.0.0.1:9/plain.bin"]


def test_fetch_prints_json_alone_on_standard_output(tmp_path, fetched, capsys):
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "asked.bin").write_bytes(BODY)
    assert main(["data", "fetch", "made", "--data-dir", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    files = [str(folder / name) for name in ("plain.bin", "asked.bin")]
    assert json.loads(said.out) == {"name": "made", "files": files}
    assert said.err.startswith("multirate: made: licence: CC0")


def test_an_interrupted_fetch_says_to_run_it_again(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "download", interrupted)
    assert main(["data", "fetch", "made", "--data-dir", str(tmp_path)]) == 130
    assert "interrupted; run the same command again" in capsys.readouterr().err
