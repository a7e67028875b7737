"""The explorer's server: this machine only, one folder only, and headers that keep the page to itself."""

import http.client
import socket
import threading
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from multirate.errors import UsageError
from multirate.integrations.explorer.server import Server, open_browser

FILES = {
    "index.html": "<title>page</title>",
    "main.js": "export {};",
    "style.css": "",
    "explorer.json": "{}",
    "ort/a.wasm": "x",
    "icon.svg": "<svg/>",
    "encoder.onnx": "x",
}
TYPES = {
    "": "text/html; charset=utf-8",
    "index.html": "text/html; charset=utf-8",
    "main.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "explorer.json": "application/json",
    "ort/a.wasm": "application/wasm",
    "icon.svg": "image/svg+xml",
    "encoder.onnx": "application/octet-stream",
}
OUTSIDE = [
    "../secret.txt",
    "%2e%2e/secret.txt",
    "..%2fsecret.txt",
    "ort/../../secret.txt",
    "link.txt",
    "away/secret.txt",
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "explorer"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "away").symlink_to(tmp_path)
    with Server(folder) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", host: str | None = None) -> tuple[int, Message, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("path", "kind"), TYPES.items())
def test_files_come_with_their_type(server: Server, path: str, kind: str) -> None:
    status, headers, body = ask(server, f"/{path}")
    assert (status, headers["Content-Type"]) == (200, kind)
    assert body.decode() == FILES[path or "index.html"]


def test_every_answer_forbids_what_the_page_does_not_need(server: Server) -> None:
    for path in ("/", "/nothing", "/main.js"):
        headers = ask(server, path)[1]
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self' 'wasm-unsafe-eval';")
        assert "unsafe-inline" not in policy and "'unsafe-eval'" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.slow
@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_the_folder_is_served(server: Server, path: str) -> None:
    status, _, body = ask(server, f"/{path}")
    assert status == 404
    assert b"secret" not in body


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/ort", "/ort/", "/away/"])
def test_folders_are_not_listed(server: Server, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.slow
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_can_only_be_read(server: Server, method: str) -> None:
    assert ask(server, "/", method)[0] == 501


def test_a_head_request_has_no_body(server: Server) -> None:
    status, headers, body = ask(server, "/index.html", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(FILES["index.html"])), b"")


@pytest.mark.parametrize(("host", "status"), [("localhost", 200), ("127.0.0.1", 200), ("evil.example", 403)])
def test_a_name_of_someone_else_that_points_here_gets_nothing(server: Server, host: str, status: int) -> None:
    found, _, body = ask(server, "/explorer.json", host=f"{host}:{server.server_port}")
    assert found == status
    assert (body == b"{}") == (status == 200)


def test_it_listens_on_this_machine_only(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


def test_it_prints_nothing(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    ask(server, "/")
    ask(server, "/nothing")
    # A connection that is closed before the answer has been read.
    with socket.create_connection(("127.0.0.1", server.server_port)) as early:
        early.sendall(b"GET / HT")
    assert capfd.readouterr() == ("", "")


def test_a_taken_port_and_a_missing_folder_are_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"cannot listen on port {server.server_port}: .*leave --port out"):
        Server(tmp_path / "explorer", server.server_port)
    with pytest.raises(UsageError, match="cannot listen on port 70000"):
        Server(tmp_path / "explorer", 70000)
    with pytest.raises(UsageError, match="no folder"):
        Server(tmp_path / "nothing")


def test_ctrl_c_ends_it_and_frees_the_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(tmp_path)

    def interrupted(self: Server, poll_interval: float = 0.5) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    server.run()
    assert server.socket.fileno() == -1


@pytest.mark.parametrize(("screen", "terminal", "opened"), [(":0", True, 1), ("", True, 0), (":0", False, 0)])
def test_a_browser_is_opened_only_where_a_person_sees_it(
    monkeypatch: pytest.MonkeyPatch, screen: str, terminal: bool, opened: int
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("webbrowser.open", asked.append)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", screen)
    open_browser("http://127.0.0.1:1/")
    assert len(asked) == opened
