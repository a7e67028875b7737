"""A server of the explorer in a process of its own, clients that ask it, and what they found."""

import hashlib
import http.client
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
# Seconds for a good request, also while others do their worst.
LIMIT = 1.0
PROGRAM = (
    "import sys; from pathlib import Path; from multirate.integrations.explorer.server import Server\n"
    "server = Server(Path(sys.argv[1])); print(server.server_port, flush=True); server.run()"
)
_CLIENTS = 8


@dataclass
class Found:
    """Counts of what was answered, and what went wrong, in words.

    Args:
        counts: by kind and answer.
        failures: in words.
        slowest: seconds of the slowest good request.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, answer: object) -> None:
        """Count one answer."""
        with self.lock:
            self.counts[f"{kind}: {answer}"] += 1

    def fail(self, what: str) -> None:
        """Note a failure."""
        with self.lock:
            self.failures.append(what)


@dataclass(frozen=True)
class Target:
    """A server that runs.

    Args:
        port: that it listens on.
        process: number of its process.
        files: by path, their bytes.
        found: what is found of it.
    """

    port: int
    process: int
    files: dict[str, bytes]
    found: Found

    def connect(self, timeout: float = 5.0) -> socket.socket:
        """Open a connection."""
        return socket.create_connection((HOST, self.port), timeout)

    def threads(self) -> int:
        """Return how many threads the server has."""
        return len(list(Path(f"/proc/{self.process}/task").iterdir()))

    def descriptors(self) -> int:
        """Return how many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.process}/fd").iterdir()))

    def memory(self) -> int:
        """Return the bytes that it has resident."""
        return int(Path(f"/proc/{self.process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def write_folder(place: Path) -> dict[str, bytes]:
    """Write a folder to serve, beside it a secret that links in it lead to; return what may be had."""
    folder = place / "explorer"
    (folder / "ort").mkdir(parents=True)
    files = {
        "/index.html": b"<title>page</title>",
        "/main.js": b"export {};" * 500,
        "/explorer.json": b"{}",
        "/ort/large.wasm": random.Random(0).randbytes(1 << 20),
    }
    for path, content in files.items():
        (folder / path[1:]).write_bytes(content)
    for secret in (place / "secret.txt", folder / ".hidden"):
        secret.write_bytes(b"secret")
    (folder / "link.txt").symlink_to(place / "secret.txt")
    (folder / "away").symlink_to(place)
    return files | {"/": files["/index.html"]}


@contextmanager
def running(found: Found, program: str = PROGRAM) -> Iterator[Target]:
    """Start a server, and end it."""
    with tempfile.TemporaryDirectory() as place:
        files = write_folder(Path(place))
        words = [sys.executable, "-c", program, str(Path(place) / "explorer")]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stderr is not None
            try:
                yield Target(int(process.stdout.readline()), process.pid, files, found)
                if process.poll() is not None:
                    found.fail(f"the server ended by itself: {process.returncode}")
            finally:
                process.kill()
                said = process.stderr.read()
            if said:
                found.fail(f"the server printed: {said[:500]}")


def ask(target: Target, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes, float]:
    """Ask for a path; return status, body and seconds."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection(HOST, target.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), time.perf_counter() - start
    finally:
        connection.close()


def check_good(target: Target, kind: str, path: str, limit: float = LIMIT) -> None:
    """Ask for a file; it has to come whole and in time."""
    try:
        status, body, seconds = ask(target, path)
    except (OSError, http.client.HTTPException) as error:
        target.found.fail(f"{kind}: {path} was not answered: {error!r}")
        return
    target.found.count(kind, status)
    with target.found.lock:
        target.found.slowest = max(target.found.slowest, seconds)
    if status != 200 or body != target.files[path]:
        target.found.fail(f"{kind}: {path} came as {status}, {hashlib.sha256(body).hexdigest()[:12]}")
    if seconds > limit:
        target.found.fail(f"{kind}: {path} took {seconds:.2f} s")


def in_threads(count: int, work: Callable[[random.Random, int], None], seed: int) -> None:
    """Do work in threads, which share the numbers from 0 to count."""
    numbers = iter(range(count))
    lock = threading.Lock()

    def one(which: int) -> None:
        generator = random.Random(f"{seed} {which}")
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            work(generator, number)

    threads = [threading.Thread(target=one, args=(which,)) for which in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def send(target: Target, content: bytes, kind: str, *, half_closed: bool = False) -> bytes:
    """Send bytes, and return all that comes back; whatever happens to the connection is counted."""
    answer = b""
    try:
        with target.connect() as connection:
            connection.sendall(content)
            if half_closed:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                answer += piece
    except TimeoutError:
        target.found.count(kind, "still open")
        return answer
    except OSError:
        target.found.count(kind, "cut off")
        return answer
    target.found.count(kind, answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.") else "closed")
    if b"secret" in answer.partition(b"\r\n\r\n")[2]:
        target.found.fail(f"{kind}: the secret came out for {content[:80]!r}")
    return answer
