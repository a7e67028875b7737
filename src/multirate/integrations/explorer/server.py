"""Serves one folder to this machine's own browser, and nothing else to nobody else."""

import os
import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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


class Server(ThreadingHTTPServer):
    """A server of one folder on 127.0.0.1.

    Args:
        folder: to serve.
        port: to listen on; 0 for any that is free.

    Raises:
        UsageError: if the folder is none, or the port is taken, reserved or no port.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        if not folder.is_dir():
            raise UsageError(f"no folder {folder} to serve; make it with `multirate explore RUN`")
        try:
            super().__init__((HOST, port), partial(_Handler, directory=str(folder.resolve())))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot listen on port {port}: {reason}; leave --port out for a free one") from error

    @property
    def url(self) -> str:
        """Address of the folder."""
        return f"http://{HOST}:{self.server_port}/"

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


class _Handler(SimpleHTTPRequestHandler):
    """Answers GET and HEAD for plain files inside the folder."""

    protocol_version = "HTTP/1.1"
    server_version = "multirate"
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

    def send_head(self) -> Any:
        """Send the headers of a file of the folder, or an error."""
        names = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        if self.headers.get("Host", "").lower() not in names:
            # Another site's name that was made to point here could read the answers.
            self.send_error(HTTPStatus.FORBIDDEN, "this address is served under 127.0.0.1 only")
            return None
        root, path = Path(self.directory), Path(self.translate_path(self.path).replace("\0", ""))
        path = (path / "index.html" if path == root else path).resolve()
        if "%00" in self.path or not path.is_relative_to(root) or not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND, "no such file")
            return None
        return super().send_head()

    def end_headers(self) -> None:
        """Add the headers that keep the page to itself."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing: the terminal is the user's."""
