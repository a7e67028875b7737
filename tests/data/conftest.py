"""No network, no cache of the user's: data tests read what they made themselves, or skip."""

import gzip
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from multirate.data import download


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder in place of the user's, and no MULTIRATE_DATA."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(download, "cache_folder", lambda: folder)
    monkeypatch.delenv(download.DATA_VARIABLE, raising=False)
    download.announce.cache_clear()
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


class Answer(NamedTuple):
    """What a :class:`Server` answers for one path."""

    status: int
    body: bytes
    length: int | None
    ranges: bool
    headers: dict[str, str]


class Server:
    """A web server of this machine whose answers a test chooses, and which remembers what it was asked for.

    ``requests`` are the paths in order, ``ranges`` the ranges that were asked for, None for the whole, and
    ``conditions`` the versions that they were asked of.
    """

    def __init__(self) -> None:
        answers: dict[str, Answer] = {}
        requests: list[str] = []
        ranges: list[str | None] = []
        conditions: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                ranges.append(self.headers.get("Range"))
                conditions.append(self.headers.get("If-Range"))
                answer = answers.get(self.path, Answer(404, b"", 0, False, {}))
                status, start, length = answer.status, 0, answer.length
                whole = len(answer.body) if length is None else length
                wanted = self.headers.get("Range")
                condition = self.headers.get("If-Range")
                if wanted and answer.ranges and condition in (None, *answer.headers.values()):
                    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                    status = 206 if start < whole else 416
                self.send_response(status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if status == 206:
                    self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
                if length is None or length >= 0:
                    self.send_header("Content-Length", str(max(0, whole - start)))
                self.end_headers()
                self.wfile.write(answer.body[start:])

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self.answers, self.requests, self.ranges, self.conditions = answers, requests, ranges, conditions
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def offer(
        self,
        name: str,
        body: bytes,
        *,
        status: int = 200,
        length: int | None = None,
        ranges: bool = False,
        **headers: str,
    ) -> str:
        """Answer requests for ``name``; return its address.

        Args:
            name: of the file.
            body: what is sent.
            status: of the answer.
            length: that is announced, by default the true one; -1 announces none.
            ranges: whether parts are sent where they are asked for, as long as ``If-Range`` names one of the headers.
            headers: further ones, with ``_`` for ``-``.
        """
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self.answers["/" + name] = Answer(status, body, length, ranges, named)
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
