"""The explorer's server among strangers: what it gives to whom, and that nobody can keep it busy."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from multirate.integrations.explorer import server as module
from multirate.integrations.explorer.server import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "explorer"
    folder.mkdir()
    (folder / "index.html").write_text("<title>page</title>")
    (folder / "sub").mkdir()
    (folder / "sub" / "large.bin").write_bytes(bytes(1 << 22))
    (folder / ".hidden").write_text("secret")
    (folder / "sub" / ".hidden").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "up").symlink_to(tmp_path)
    with Server(folder) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def send(server: Server, content: str | bytes, *, half_closed: bool = True) -> bytes:
    """Send bytes and return all that comes back."""
    content = content.replace("HOST", f"Host: 127.0.0.1:{server.server_port}") if isinstance(content, str) else content
    answer = b""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(content.encode("latin-1") if isinstance(content, str) else content)
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer


def status(answer: bytes) -> int:
    return int(answer[9:12])


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=20)


PATHS = [
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/..%2fsecret.txt",
    "/..%5csecret.txt",
    "/..\\secret.txt",
    "/sub/../../secret.txt",
    "/sub/%2e%2e/%2e%2e/secret.txt",
    "/%252e%252e/secret.txt",
    "//secret.txt",
    "/up/secret.txt",
    "/index.html%00",
    "/secret.txt%00.html",
    "/C:/secret.txt",
    "/c%3asecret.txt",
    "/index.html::$DATA",
    "/.hidden",
    "/%2ehidden",
    "/sub/.hidden",
    "/sub",
    "/sub/",
    "/index.html/",
    "/" + "a" * 5000,
    "/" + "a/" * 3000,
    "/%ed%b2%80",
    "/%ff%fe",
    "/%",
    "http://127.0.0.1/index.html",
    "index.html",
    "*",
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:30])
def test_it_serves_plain_files_of_its_folder_and_nothing_else(server: Server, path: str) -> None:
    answer = send(server, f"GET {path} HTTP/1.1\r\nHOST\r\nConnection: close\r\n\r\n")
    assert status(answer) == 404
    assert b"secret" not in answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("path", ["/", "/?x=1", "/index.html?a=b/../..", "/index.html#top", "/sub/../index.html"])
def test_it_serves_its_page(server: Server, path: str) -> None:
    expected = 404 if "/.." in path.partition("?")[0] else 200
    assert status(send(server, f"GET {path} HTTP/1.1\r\nHOST\r\nConnection: close\r\n\r\n")) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("HOST", 200),
        ("", 403),
        ("Host: evil.example", 403),
        ("HOST\r\nHost: evil.example", 403),
        ("Host: evil.example\r\nHOST", 403),
        ("HOST.evil.example", 403),
        ("Host: 127.0.0.1", 403),
        ("HOST\r\nContent-Length: 30", 400),
        ("HOST\r\nContent-Length: -1", 400),
        ("HOST\r\nTransfer-Encoding: chunked", 400),
    ],
)
def test_a_request_names_this_machine_once_and_has_no_body(server: Server, headers: str, expected: int) -> None:
    answer = send(
        server, f"GET /index.html HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\nGET /.hidden HTTP/1.1\r\n\r\n"
    )
    assert status(answer) == expected
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("path", ["/<script>alert(1)</script>", "/%3Cscript%3E", "/a\x01<b>"])
def test_nothing_of_a_request_comes_back(server: Server, path: str) -> None:
    for request in (
        f"GET {path} HTTP/1.1\r\nHOST\r\n\r\n",
        f"<b>{path} / HTTP/1.1\r\nHOST\r\n\r\n",
        f"GET / {path}\r\n\r\n",
    ):
        answer = send(server, request)
        assert not any(sign in answer for sign in (b"<script>", b"<b>", b"%3C", b"alert"))


def test_even_its_errors_have_the_headers_of_its_pages(server: Server) -> None:
    for request in (
        "GET /none HTTP/1.1\r\nHOST\r\n\r\n",
        "POST / HTTP/1.1\r\nHOST\r\n\r\n",
        "GET / a HTTP/1.1\r\n\r\n",
    ):
        answer = send(server, request)
        for name, value in module.HEADERS.items():
            assert f"{name}: {value}\r\n".encode() in answer


@pytest.mark.parametrize("count", [1, 40])
def test_a_request_has_a_longest_head(server: Server, count: int) -> None:
    line = "X: " + "a" * (200_000 // count)
    lines = "\r\n".join([line] * count)
    with suppress(ConnectionResetError):  # so the system answers what was not read
        assert status(send(server, f"GET / HTTP/1.1\r\nHOST\r\n{lines}\r\n\r\n", half_closed=False)) == 431
    assert status(send(server, "GET / HTTP/1.1\r\nHOST\r\nConnection: close\r\n\r\n")) == 200


def test_whoever_sends_no_whole_request_is_hung_up_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    for begin in (b"", b"GET / HTTP/1.1\r\nX: "):
        with connect(server) as connection:
            connection.sendall(begin)
            start = time.monotonic()
            with pytest.raises(OSError):
                while time.monotonic() - start < 10:
                    connection.send(b"a")  # a byte at a time is no request either
                    time.sleep(0.05)
            assert time.monotonic() - start < 5


@pytest.mark.slow
def test_a_kept_connection_has_its_patience_anew_with_each_request(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode()
    with connect(server) as connection:
        for _ in range(5):
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"</title>"):
                piece = connection.recv(1 << 16)
                assert piece
                answer += piece
            time.sleep(0.3)


def test_many_silent_connections_keep_nobody_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 8)
    before = threading.active_count()
    held = [connect(server) for _ in range(40)]
    try:
        for _ in range(5):
            start = time.monotonic()
            assert status(send(server, "GET / HTTP/1.1\r\nHOST\r\nConnection: close\r\n\r\n")) == 200
            assert time.monotonic() - start < 2
        assert threading.active_count() - before <= 9
    finally:
        for connection in held:
            connection.close()


def test_an_answer_that_is_not_read_keeps_nobody_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 4)
    request = f"GET /sub/large.bin HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode()
    held = []
    try:
        for _ in range(12):
            held.append(connect(server))
            held[-1].sendall(request)
        assert status(send(server, "GET / HTTP/1.1\r\nHOST\r\nConnection: close\r\n\r\n")) == 200
    finally:
        for connection in held:
            connection.close()


def test_closing_it_hangs_up_on_everybody(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("x")
    running = Server(tmp_path)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    with connect(running) as connection:
        connection.sendall(b"GET / HT")
        time.sleep(0.2)
        running.shutdown()
        thread.join()
        running.server_close()
        assert connection.recv(10) == b""
