import collections
import hashlib
import json
import os
import shutil
import sys
import threading

import pytest

from multirate.data import transfer
from multirate.data.transfer import download
from multirate.errors import DataError

BODY = bytes(range(256)) * 2000
OTHER = BODY[::-1]
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()
TAG = '"one"'
CUT = 200_000
DATE = "Tue, 24 Nov 2020 10:00:00 GMT"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "f.bin"


def files(target):
    return sorted(path.name for path in target.parent.iterdir())


def cut_off(server, target, checksum=MD5, body=BODY, **headers):
    """Start a download whose connection breaks off after CUT bytes; return its address."""
    url = server.offer("f.bin", body[:CUT], length=len(body), **headers)
    with pytest.raises(
        DataError, match=r"the connection broke off\); run the same command again to go on after 0.2 MB"
    ):
        download(url, target, checksum)
    assert target.with_name("f.bin.part").read_bytes() == body[:CUT]
    assert not target.exists()
    return url


@pytest.mark.parametrize("headers", [{"ETag": TAG}, {"Last_Modified": DATE}, {}], ids=["tag", "date", "neither"])
def test_a_download_that_was_cut_asks_only_for_the_rest(server, target, headers):
    url = cut_off(server, target, **headers)
    server.offer("f.bin", BODY, ranges=True, **headers)

    assert download(url, target, MD5) == target

    assert target.read_bytes() == BODY
    assert server.ranges == [None, f"bytes={CUT}-"]
    assert server.conditions == [None, next(iter(headers.values()), None)]
    assert files(target) == ["f.bin"]


def test_a_part_that_is_longer_than_the_file_is_not_used(server, target):
    url = cut_off(server, target, ETag=TAG)
    with target.with_name("f.bin.part").open("ab") as file:
        file.write(bytes(len(BODY)))
    server.offer("f.bin", BODY, ranges=True, ETag=TAG)
    assert download(url, target, MD5).read_bytes() == BODY


def test_a_body_shorter_than_announced_is_noticed_whoever_reads_it(target, monkeypatch):
    class Response:
        status_code, headers = 200, {"Content-Length": str(len(BODY))}

        def __enter__(self):
            self.raw = self
            return self

        def __exit__(self, *_):
            return None

        def raise_for_status(self):
            return None

        def stream(self, *_, **__):
            yield BODY[:CUT]

    monkeypatch.setattr("requests.Session.get", lambda *_, **__: Response())
    with pytest.raises(DataError, match="the connection broke off"):
        download("http://127.0.0.1:9/f.bin", target)
    assert files(target) == ["f.bin.part", "f.bin.part.json"]


def test_it_can_be_cut_many_times(server, target):
    url = cut_off(server, target, ETag=TAG)
    for end in (300_000, 400_000, len(BODY)):
        server.offer("f.bin", BODY[:end], length=len(BODY), ranges=True, ETag=TAG)
        if end < len(BODY):
            with pytest.raises(DataError, match="broke off"):
                download(url, target, MD5)
    assert download(url, target, MD5).read_bytes() == BODY
    assert server.ranges == [None, "bytes=200000-", "bytes=300000-", "bytes=400000-"]


def test_a_server_without_ranges_sends_everything_again(server, target):
    url = cut_off(server, target, ETag=TAG)
    server.offer("f.bin", BODY, ETag=TAG)
    assert download(url, target, MD5).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={CUT}-"]


SEEN = {"ranges": True, "ETag": '"two"'}
NOT_SEEN = {"ranges": True, "ETag": '"two"', "X_Old": TAG}
NO_TAG = {"ranges": True}
CHANGED = {
    "the server sees that the tag is old, longer": (SEEN, BODY + b"longer"),
    "the server sees that the tag is old, as long": (SEEN, BODY),
    "the server gives a range of the new file, longer": (NOT_SEEN, BODY + b"longer"),
    "the server gives a range of the new file, as long": (NOT_SEEN, BODY),
    "no tag, longer": (NO_TAG, BODY + b"longer"),
    "no tag, shorter": (NO_TAG, BODY[: 2 * CUT]),
    "no tag, shorter than what is there": (NO_TAG, BODY[: CUT // 2]),
}


@pytest.mark.parametrize(("answer", "new"), CHANGED.values(), ids=CHANGED.keys())
def test_a_file_that_changed_on_the_server_is_sent_whole(server, target, answer, new):
    url = cut_off(server, target, body=OTHER, **({"ETag": TAG} if "ETag" in answer else {}))
    server.offer("f.bin", new, **answer)
    assert download(url, target, "md5:" + hashlib.md5(new).hexdigest()).read_bytes() == new


@pytest.mark.parametrize("headers", [{}, {"ETag": f"W/{TAG}"}], ids=["no tag", "a weak tag"])
def test_without_checksum_and_tag_nothing_is_joined(server, target, headers):
    url = cut_off(server, target, checksum=None, **headers)
    server.offer("f.bin", BODY, ranges=True, **headers)
    assert download(url, target).read_bytes() == BODY
    assert server.ranges == [None, None]


def test_a_part_of_another_address_is_not_used(server, target):
    cut_off(server, target, ETag=TAG)
    assert download(server.offer("g.bin", BODY, ranges=True, ETag=TAG), target, MD5).read_bytes() == BODY
    assert server.ranges == [None, None]


@pytest.mark.parametrize("note", [None, b"", b"[1]", b"{}"])
def test_a_part_without_a_readable_note_is_not_used(server, target, note):
    url = cut_off(server, target, ETag=TAG)
    place = target.with_name("f.bin.part.json")
    place.unlink() if note is None else place.write_bytes(note)
    server.offer("f.bin", BODY, ranges=True, ETag=TAG)
    assert download(url, target, MD5).read_bytes() == BODY


def test_a_part_that_is_whole_already_is_not_asked_for_again(server, target):
    url = server.offer("f.bin", BODY)
    target.parent.mkdir()
    target.with_name("f.bin.part").write_bytes(BODY)
    target.with_name("f.bin.part.json").write_text(json.dumps({"url": url, "size": len(BODY), "validator": ""}))
    assert download(url, target, MD5).read_bytes() == BODY
    assert server.requests == []


@pytest.mark.parametrize("begun", [False, True])
def test_a_wrong_checksum_removes_what_arrived(server, target, begun):
    url = cut_off(server, target, body=OTHER) if begun else server.offer("f.bin", OTHER)
    server.offer("f.bin", OTHER, ranges=True)
    with pytest.raises(
        DataError, match=r"f.bin as downloaded fails its checksum \(md5:.*\) and was removed; try again"
    ):
        download(url, target, MD5)
    assert files(target) == []


def test_a_body_of_unknown_length_is_taken_to_its_end(server, target):
    assert download(server.offer("f.bin", BODY, length=-1), target, MD5).read_bytes() == BODY


def test_bytes_are_kept_as_published_where_a_server_calls_them_encoded(server, target):
    url = server.offer("f.bin", BODY, Content_Encoding="gzip")
    assert download(url, target, MD5).read_bytes() == BODY


def test_a_disk_without_room_is_said_before_anything_is_written(server, target, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, len(BODY)))
    with pytest.raises(
        DataError, match=r"f.bin needs 0.5 MB in .*new, where 0.5 MB are free; free some space, or name"
    ):
        download(server.offer("f.bin", BODY), target, MD5)
    assert files(target) == []


def test_room_is_asked_for_the_rest_alone(server, target, monkeypatch):
    url = cut_off(server, target)
    server.offer("f.bin", BODY, ranges=True)
    asked = []
    monkeypatch.setattr(transfer, "check_space", lambda folder, needed, *_: asked.append(needed))
    download(url, target, MD5)
    assert asked == [len(BODY) - CUT]


def test_an_interruption_leaves_the_part(server, target, monkeypatch):
    url = server.offer("f.bin", BODY, ranges=True)
    bar = transfer.progress_bar

    def interrupted(*arguments, **options):
        class Bar:
            def __enter__(self):
                return self.advance

            def __exit__(self, *_):
                return None

            def advance(self, count):
                raise KeyboardInterrupt

        return Bar()

    monkeypatch.setattr(transfer, "progress_bar", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download(url, target, MD5)
    kept = target.with_name("f.bin.part").stat().st_size
    assert 0 < kept < len(BODY)
    monkeypatch.setattr(transfer, "progress_bar", bar)
    assert download(url, target, MD5).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={kept}-"]


def test_two_that_want_the_same_file_download_it_once(server, target):
    pytest.importorskip("fcntl")
    url = server.offer("f.bin", BODY)
    threads = [threading.Thread(target=download, args=(url, target, MD5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == BODY
    assert server.requests == ["/f.bin"]
    assert files(target) == ["f.bin"]


def test_an_error_of_the_server_leaves_what_was_there(server, target):
    url = cut_off(server, target)
    server.offer("f.bin", b"later", status=503)
    with pytest.raises(DataError, match=r"the server answered 503\); run the same command again to go on after 0.2 MB"):
        download(url, target, MD5)
    server.offer("f.bin", BODY, ranges=True)
    assert download(url, target, MD5).read_bytes() == BODY


def test_a_lock_on_a_part_that_was_renamed_in_the_meantime_is_taken_again(target, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    target.parent.mkdir()
    part = target.with_name("f.bin.part")
    waited = []

    def lock(file, kind):
        if not waited:
            part.rename(target)
        waited.append(os.fstat(file.fileno()).st_ino)

    monkeypatch.setattr(fcntl, "flock", lock)
    part.write_bytes(BODY)
    assert download("http://127.0.0.1:9/f.bin", target, MD5).read_bytes() == BODY
    assert len(set(waited)) == len(waited) == 2
    assert files(target) == ["f.bin"]


@pytest.mark.parametrize("locks", [True, False])
def test_no_connection_is_one_clear_error_and_leaves_nothing(target, monkeypatch, locks):
    if not locks:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(DataError, match=r"cannot download f.bin \(no connection to the server\); check the network"):
        download("http://127.0.0.1:9/f.bin", target, MD5)
    assert files(target) == []
