import hashlib
import os
import socket
from pathlib import Path

import pytest

from multirate.data.download import DATA_VARIABLE, RemoteFile, find, locate, search_folders, sha256_of
from multirate.errors import DataError

BODY = bytes(range(256)) * 1000
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


def put(path: Path, body: bytes = b"local") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_folders_are_tried_in_order_subfolder_first(tmp_path, cache, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "variable"))
    file = RemoteFile("f.gz", "http://127.0.0.1:9/f.gz")
    places = [tmp_path / name for name in ("given/set", "given", "variable/set", "variable", "cache/set", "cache")]
    assert search_folders(tmp_path / "given") == [tmp_path / "given", tmp_path / "variable", cache]
    assert find(file, "set", tmp_path / "given") is None
    for place in reversed(places):
        path = put(place / "f.gz")
        assert find(file, "set", tmp_path / "given") == path
        assert locate(file, "set", tmp_path / "given") == path


@pytest.mark.parametrize("checksum", [SHA256, MD5, None])
def test_a_missing_file_is_downloaded_once(server, cache, checksum):
    file = RemoteFile("f.gz", server.offer("f.gz", BODY), checksum)

    path = locate(file, "set")

    assert path == cache / "set" / "f.gz"
    assert path.read_bytes() == BODY
    assert locate(file, "set") == path
    assert server.requests == ["/f.gz"]
    assert leftovers(cache) == ["f.gz"]


def test_a_download_goes_to_the_folder_that_was_named(server, tmp_path, monkeypatch):
    file = RemoteFile("f.gz", server.offer("f.gz", BODY), SHA256)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert locate(file, "other") == tmp_path / "other" / "f.gz"
    assert locate(file, "set", tmp_path / "given") == tmp_path / "given" / "set" / "f.gz"


def test_a_download_goes_to_the_cache_where_the_folder_of_the_variable_cannot_be_written(
    server, tmp_path, cache, monkeypatch
):
    file = RemoteFile("f.gz", server.offer("f.gz", BODY), SHA256)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "shared"))
    (tmp_path / "shared").mkdir()
    monkeypatch.setattr(os, "access", lambda folder, mode: Path(folder) != tmp_path / "shared")
    assert locate(file, "set") == cache / "set" / "f.gz"


def test_a_wrong_checksum_leaves_nothing_behind(server, cache):
    file = RemoteFile("f.gz", server.offer("f.gz", BODY[:-1]), SHA256)
    with pytest.raises(
        DataError, match=r"fails its checksum .* was removed; try again, or get it by hand from http"
    ) as caught:
        locate(file, "set")
    assert "\n" not in str(caught.value)
    assert leftovers(cache) == []


@pytest.mark.parametrize("checksum", [SHA256, None])
def test_a_truncated_download_never_takes_the_name(server, cache, checksum):
    file = RemoteFile("f.gz", server.offer("f.gz", BODY[:1000], length=len(BODY)), checksum)
    with pytest.raises(DataError, match="the connection broke off"):
        locate(file, "set")
    assert find(file, "set") is None
    assert sorted(leftovers(cache)) == ["f.gz.part", "f.gz.part.json"]


def test_a_download_that_failed_can_be_repeated(server, cache):
    file = RemoteFile("f.gz", server.offer("f.gz", BODY[:1000], length=len(BODY)), SHA256)
    with pytest.raises(DataError):
        locate(file, "set")
    server.offer("f.gz", BODY)
    assert locate(file, "set").read_bytes() == BODY


def test_a_file_that_the_server_does_not_have_is_one_clear_line(server, cache):
    file = RemoteFile("f.gz", server.address + "f.gz", SHA256)
    with pytest.raises(DataError, match=r"the server answered 404\); check the network, or get it by hand") as caught:
        locate(file, "set")
    assert str(cache / "set") in str(caught.value)


def test_no_network_is_one_clear_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match=r"cannot download f.gz \(no connection to the server\)") as caught:
        locate(RemoteFile("f.gz", f"http://127.0.0.1:{port}/f.gz", SHA256), "set")
    assert "\n" not in str(caught.value)


def test_without_leave_to_download_the_places_and_the_address_are_named(server, tmp_path, cache):
    file = RemoteFile("f.gz", server.offer("f.gz", BODY), SHA256)
    with pytest.raises(DataError, match=r"set needs f.gz, which is in none of") as caught:
        locate(file, "set", tmp_path / "given", download=False)
    for words in (str(tmp_path / "given"), str(cache), file.url, "multirate data fetch set"):
        assert words in str(caught.value)
    assert server.requests == []


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    put(tmp_path / "given", b"a file, not a folder")
    file = RemoteFile("f.gz", server.offer("f.gz", BODY), SHA256)
    with pytest.raises(DataError, match=r"cannot write f.gz to .*given.*--data-dir"):
        locate(file, "set", tmp_path / "given")


def test_downloads_are_quiet_where_there_is_no_terminal(server, capfd):
    locate(RemoteFile("f.gz", server.offer("f.gz", BODY), SHA256), "set")
    out, err = capfd.readouterr()
    assert out == ""
    assert err.strip() == ""


def test_a_notice_is_printed_once_and_only_before_a_download(server, tmp_path, capfd):
    notice = "licence: CC0; source: here; about 1 MB"
    files = [RemoteFile(name, server.offer(name, BODY), SHA256, notice=notice) for name in ("a", "b", "c")]
    put(tmp_path / "a")
    locate(files[0], "set", tmp_path)
    assert capfd.readouterr() == ("", "")
    locate(files[1], "set", tmp_path)
    locate(files[2], "set", tmp_path)
    assert capfd.readouterr() == ("", "multirate: set: licence: CC0; source: here; about 1 MB\n")


@pytest.mark.parametrize("allowed", [True, False])
def test_a_file_without_a_plain_address_is_asked_of_the_user(server, tmp_path, allowed):
    file = RemoteFile("f.zip", server.offer("page.html", BODY), MD5, by_hand=True)
    with pytest.raises(DataError, match=rf"set needs f.zip \({MD5}\), which has no plain address.*by hand") as caught:
        locate(file, "set", tmp_path, download=allowed)
    assert file.url in str(caught.value)
    assert str(tmp_path / "set") in str(caught.value)
    assert server.requests == []


def test_a_terminal_shows_a_progress_bar(server, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    locate(RemoteFile("f.gz", server.offer("f.gz", BODY), SHA256), "set")
    out, err = capfd.readouterr()
    assert out == ""
    assert "f.gz" in err


def test_sha256_of_a_file(tmp_path):
    assert "sha256:" + sha256_of(put(tmp_path / "f", BODY)) == SHA256
