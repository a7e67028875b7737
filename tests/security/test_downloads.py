"""Downloads: https alone, also after being sent on; checksums of every file; nothing endless; nothing altered kept."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from multirate.data import transfer
from multirate.data.catalog import DATA_SETS
from multirate.errors import DataError
from multirate.integrations.explorer import runtime

BODY = b"what was asked for" * 100
SHA = "sha256:" + hashlib.sha256(BODY).hexdigest()

# Files of which their publishers, and those who pass them on, have only ever stated an MD5. No second file of a given
# MD5 is known to have been made: it tells an altered copy apart, not what its own publisher may have prepared.
MD5_ALONE = {"dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz", "yahoo-answer-100k.tar.gz"}

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def offer() -> Iterator[Callable[[Answer], str]]:
    """Serve one answer on this machine; returns its address."""
    running: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}/file.bin"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def sends_on(address: str, status: int = 302) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Location", address)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def body(content: bytes = BODY, length: int | None = None) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content) if length is None else length))
        request.end_headers()
        request.wfile.write(content)

    return answer


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    with suppress(OSError):
        for _ in range(1000):
            request.wfile.write(bytes(1 << 16))


def nothing_is_left(target: Path) -> None:
    assert not target.exists()
    assert not target.parent.exists() or [path.name for path in target.parent.iterdir()] == []


def test_every_address_is_of_https_and_every_file_has_a_checksum() -> None:
    seen = []
    for entry in DATA_SETS.values():
        for file in entry.files:
            seen.append(file.name)
            assert file.url.startswith("https://"), file.url
            assert file.checksum is not None
            kind, _, digits = file.checksum.partition(":")
            assert kind == ("md5" if file.name in MD5_ALONE else "sha256"), file.name
            assert len(digits) == hashlib.new(kind).digest_size * 2 and int(digits, 16)
    assert len(seen) > 15 and set(seen) >= MD5_ALONE
    assert runtime._REGISTRY.startswith("https://") and runtime.RELEASE.checksum.startswith("sha512:")


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/file.bin",
        "ftp://example.org/file.bin",
        "file:///etc/passwd",
        "http://127.0.0.1.example.org/file.bin",
        "http://localhost:80@example.org/file.bin",
        "data:text/plain,x",
    ],
)
def test_nothing_but_https_is_spoken(tmp_path: Path, address: str) -> None:
    target = tmp_path / "new" / "file.bin"
    with pytest.raises(DataError, match="is not of https"):
        transfer.download(address, target, SHA)
    nothing_is_left(target)


@pytest.mark.parametrize("address", ["http://example.org/file.bin", "file:///etc/passwd", "ftp://example.org/x"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nobody_is_followed_away_from_https(
    tmp_path: Path, offer: Callable[[Answer], str], address: str, status: int
) -> None:
    target = tmp_path / "new" / "file.bin"
    with pytest.raises(DataError, match="is not of https"):
        transfer.download(offer(sends_on(address, status)), target, SHA)
    nothing_is_left(target)


def test_https_is_not_followed_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    session = transfer._session("https://example.org/file.bin")
    assert session.get_adapter("https://elsewhere.org/file.bin")
    with pytest.raises(requests.exceptions.InvalidSchema):
        session.get_adapter("http://127.0.0.1:8080/secret")


def test_a_redirect_within_this_machine_works(tmp_path: Path, offer: Callable[[Answer], str]) -> None:
    address = offer(sends_on(offer(body())))
    assert transfer.download(address, tmp_path / "file.bin", SHA).read_bytes() == BODY


def test_certificates_are_checked() -> None:
    assert transfer._session("https://example.org/").verify is True


@pytest.mark.parametrize("length", [None, len(BODY) + 1])
def test_an_altered_file_is_removed(tmp_path: Path, offer: Callable[[Answer], str], length: int | None) -> None:
    target = tmp_path / "new" / "file.bin"
    with pytest.raises(DataError, match=r"fails its checksum .* and was removed"):
        transfer.download(offer(body(BODY[:-1] + b"!" + b"?" * (length is not None))), target, SHA)
    nothing_is_left(target)


def test_more_than_any_file_has_is_refused_before_it_is_read(tmp_path: Path, offer: Callable[[Answer], str]) -> None:
    target = tmp_path / "new" / "file.bin"
    with pytest.raises(DataError, match="is larger than"):
        transfer.download(offer(body(length=1 << 40)), target, SHA)
    nothing_is_left(target)


def test_an_endless_answer_ends(
    tmp_path: Path, offer: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_LARGEST", 1 << 20)
    target = tmp_path / "new" / "file.bin"
    with pytest.raises(DataError, match=r"is larger than 1.0 MB"):
        transfer.download(offer(endless), target, SHA)
    nothing_is_left(target)


def test_the_runtime_that_an_environment_names_has_to_be_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.tgz"
    other.write_bytes(b"anything")
    monkeypatch.setenv(runtime.RUNTIME_VARIABLE, str(other))
    with pytest.raises(DataError, match="is not the archive of onnxruntime-web"):
        runtime.copy_runtime(runtime.find_runtime(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_registry_that_an_environment_names_is_of_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(runtime.RUNTIME_VARIABLE, raising=False)
    monkeypatch.setattr(runtime, "cache_folder", lambda: tmp_path)
    monkeypatch.setenv("npm_config_registry", "http://registry.example.org")
    with pytest.raises(DataError, match=r"is not of https"):
        runtime.find_runtime()
