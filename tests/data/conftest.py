"""No network, no cache of the user's: data tests read what they made themselves, or skip."""

import gzip
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from multirate.data import download


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder in place of the user's, and no MULTIRATE_DATA."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(download, "cache_folder", lambda: folder)
    monkeypatch.delenv(download.DATA_VARIABLE, raising=False)
    return folder


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection that leaves this machine fails the test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
            raise AssertionError(f"a test went to the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


class Server:
    """A web server of this machine whose answers a test chooses: path to (status, body, announced length)."""

    def __init__(self) -> None:
        answers: dict[str, tuple[int, bytes, int]] = {}
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                status, body, length = answers.get(self.path, (404, b"", 0))
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self.answers, self.requests = answers, requests
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def offer(self, name: str, body: bytes, *, status: int = 200, length: int | None = None) -> str:
        """Answer requests for ``name``; return its address."""
        self.answers["/" + name] = (status, body, len(body) if length is None else length)
        return self.address + name

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A running :class:`Server`."""
    running = Server()
    yield running
    running.stop()


def idx_bytes(array: np.ndarray) -> bytes:
    """The idx format, written by its definition: two zeros, type 8, number of axes, sizes big-endian, bytes."""
    return (
        bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


@pytest.fixture
def write_idx(tmp_path: Path):
    """Write an array as an idx file, gzipped if its name says so; return the path."""

    def write(array: np.ndarray, name: str = "images-idx3-ubyte.gz") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = idx_bytes(array)
        path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
        return path

    return write
