"""Serves one folder to this machine's own browser, and nothing else to nobody else."""

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.client import LineTooLong
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from multirate.errors import UsageError

HOST = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; img-src 'self'; "
    "style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


# Connections at once: more than browsers open, and few enough for a thread each.
MOST_CONNECTIONS = 128
# Bytes of a request's line and headers together.
LONGEST_HEAD = 1 << 16
# Seconds in which a request has to be complete, from the first byte or from the answer before.
PATIENCE = 10.0
# Seconds in which a client has to take some of an answer.
_SENDING = 30.0


class Server(ThreadingHTTPServer):
    """A server of one folder on 127.0.0.1.

    A connection that sends no whole request within :data:`PATIENCE` is closed. Where :data:`MOST_CONNECTIONS` are open,
    a new one takes the place of the one that has been silent longest: whoever holds connections open keeps nobody out.

    Args:
        folder: to serve.
        port: to listen on; 0 for any that is free.

    Raises:
        UsageError: if the folder is none, or the port is taken, reserved or no port.
    """

    daemon_threads = True
    request_queue_size = MOST_CONNECTIONS
    # On Windows it would let another process take the same port.
    allow_reuse_address = os.name != "nt"

    def __init__(self, folder: Path, port: int = 0) -> None:
        if not folder.is_dir():
            raise UsageError(f"no folder {folder} to serve; make it with `multirate explore RUN`")
        self._connections: dict[socket.socket, _Connection] = {}
        self._lock = threading.Lock()
        try:
            super().__init__((HOST, port), partial(_Handler, directory=str(folder.resolve())))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot listen on port {port}: {reason}; leave --port out for a free one") from error

    @property
    def url(self) -> str:
        """Address of the folder."""
        return f"http://{HOST}:{self.server_port}/"

    def mark(self, connection: socket.socket, *, waiting: bool) -> None:
        """Note that from now on a connection is waited for, or is answered."""
        with self._lock:
            if connection in self._connections:
                self._connections[connection] = _Connection(waiting)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a new connection in a thread of its own, if need be in place of the one that is silent longest."""
        with self._lock:
            if len(self._connections) >= MOST_CONNECTIONS:
                longest = min(self._connections, key=lambda each: self._connections[each].rank)
                del self._connections[longest]
                _hang_up(longest)
            self._connections[request] = _Connection(waiting=True)
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Hang up on connections whose request is overdue."""
        now = time.monotonic()
        with self._lock:
            for connection, state in self._connections.items():
                if state.waiting and now - state.since > PATIENCE:
                    _hang_up(connection)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Free the port, and hang up on everybody."""
        super().server_close()
        with self._lock:
            for connection in self._connections:
                _hang_up(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that closes a connection early is no error."""

    def run(self) -> None:
        """Serve until Ctrl-C, then free the port."""
        try:
            self.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            self.server_close()


def open_browser(url: str) -> None:
    """Open an address in the user's browser, where a person is at a screen: a text browser would take the terminal."""
    import webbrowser

    screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if screen and sys.stdout.isatty():
        webbrowser.open(url)


def _hang_up(connection: socket.socket) -> None:
    """Wake the thread that reads from a connection, or writes to it: it ends, and closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Connection:
    """Whether a connection is waited for, and since when."""

    def __init__(self, waiting: bool) -> None:
        self.waiting = waiting
        self.since = time.monotonic()

    @property
    def rank(self) -> tuple[bool, float]:
        """Place in the order in which connections are given up: first those that are waited for, the oldest first."""
        return not self.waiting, self.since


class _Head:
    """The stream of requests, from which one may read :data:`LONGEST_HEAD` bytes a request."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = LONGEST_HEAD
        self.close = stream.close

    def begin(self) -> None:
        """Begin a request."""
        self._left = LONGEST_HEAD

    def readline(self, limit: int = LONGEST_HEAD) -> bytes:
        """Read a line, or one byte too many."""
        if self._left < 0:
            raise LineTooLong("header")
        line = self._stream.readline(min(limit, self._left + 1))
        self._left -= len(line)
        return line


class _Handler(SimpleHTTPRequestHandler):
    """Answers GET and HEAD for plain files inside the folder."""

    protocol_version = "HTTP/1.1"
    server_version = "multirate"
    timeout = _SENDING
    disable_nagle_algorithm = True
    sys_version = ""
    server: Server
    extensions_map = {  # noqa: RUF012
        "": "application/octet-stream",
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".png": "image/png",
        ".svg": "image/svg+xml",
        ".txt": "text/plain; charset=utf-8",
        ".wasm": "application/wasm",
    }

    def setup(self) -> None:
        """Bound what is read of a request."""
        super().setup()
        self._head = _Head(self.rfile)
        self.rfile: Any = self._head

    def handle_one_request(self) -> None:
        """Answer one request, which has to be there in time."""
        self._head.begin()
        self.server.mark(self.connection, waiting=True)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Read the headers; then the client has been waited for long enough."""
        complete = super().parse_request()
        self.server.mark(self.connection, waiting=False)
        return complete

    def send_head(self) -> Any:
        """Send the headers of a file of the folder, or an error."""
        names = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        hosts = [host.lower() for host in self.headers.get_all("Host", [])]
        if len(hosts) != 1 or hosts[0] not in names:
            # Another site's name that was made to point here could read the answers.
            self.send_error(HTTPStatus.FORBIDDEN, explain="This address is served under 127.0.0.1 only.")
        elif "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0":
            # Nothing reads it: it would be taken for the next request.
            self.send_error(HTTPStatus.BAD_REQUEST, explain="A request has no body here.")
        elif not self._is_served():
            self.send_error(HTTPStatus.NOT_FOUND, explain="No such file.")
        else:
            return super().send_head()
        return None

    def _is_served(self) -> bool:
        """Return whether the address is of a plain file of the folder, and of none that a link leads out to."""
        words = unquote(self.path.partition("?")[0].partition("#")[0], errors="replace")
        if not words.startswith("/") or any(sign in words for sign in "\0\\:") or "/." in words:
            return False
        root = Path(self.directory)
        try:
            path = Path(self.translate_path(self.path))
            path = (path / "index.html" if path == root else path).resolve()
            return path.is_relative_to(root) and path.is_file()
        except (OSError, ValueError):  # a name that no file can have
            return False

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with an error, in which nothing of the request is repeated."""
        super().send_error(code, None, explain)

    def end_headers(self) -> None:
        """Add the headers that keep the page to itself."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing: the terminal is the user's."""
