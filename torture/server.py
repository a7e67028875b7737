"""The explorer's server under load and abuse, on this machine alone: it answers right all the way, and is itself after.

A server in a process of its own serves a folder of known files. Phase by phase, clients ask it for files and for what
it must not give, send malformed, giant, random and cut requests, and hold connections open and silent while good
requests have to be answered within a second. After each phase every file is asked for again and compared, and the
server's threads and file descriptors are back to what they were; at the end its memory is.
"""

import argparse
import http.client
import random
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from torture.serving import HOST, LIMIT, PROGRAM, Found, Target, ask, check_good, in_threads, running, send
from torture.shared import record

# Bytes by which the server's memory may have grown in the end.
GROWTH = 48 << 20
# Threads that the server may have, however many connections there are.
THREADS = 160
# Seconds in which it has to hang up on whoever sends no whole request.
PATIENCE = 20.0
OUTSIDE = (
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/%2e%2e%2fsecret.txt",
    "/ort/../../secret.txt",
    "/..%5csecret.txt",
    "/%252e%252e/secret.txt",
    "//secret.txt",
    "/link.txt",
    "/away/secret.txt",
    "/secret.txt%00.html",
    "/index.html%00",
    "/C:/secret.txt",
    "/c:secret.txt",
    "/.hidden",
    "/ort",
    "/ort/",
    "/" + "a" * 5000,
    "/%ed%b2%80",
    "/%ff%fe",
    "/%",
)


def load(target: Target, size: int, seed: int) -> None:
    """Good requests from eight threads, one in ten of them for what must not be given."""

    def work(generator: random.Random, number: int) -> None:
        if number % 10:
            check_good(target, "load", generator.choice(list(target.files)), 2 * LIMIT)
            return
        path = OUTSIDE[number // 10 % len(OUTSIDE)]
        try:
            status, body, _ = ask(target, path)
        except (OSError, http.client.HTTPException) as error:
            target.found.fail(f"outside: {path[:60]} was not answered: {error!r}")
            return
        target.found.count("outside", status)
        if status != 404 or b"secret" in body:
            target.found.fail(f"outside: {path[:60]} came as {status}")

    in_threads(size, work, seed)


def malformed(target: Target, size: int, seed: int) -> None:
    """Requests that are none, too long, or ask for what there is not."""
    host = f"Host: {HOST}:{target.port}\r\n"
    requests = {
        "no version": b"GET /index.html\r\n\r\n",
        "bad version": b"GET / HTTP/x.y\r\n\r\n",
        "version 2": b"GET / HTTP/2.0\r\n\r\n",
        "no words": b"\r\n\r\n",
        "one word": b"GET\r\n\r\n",
        "many words": b"GET / a b c HTTP/1.1\r\n\r\n",
        "no host": b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "other host": b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "two hosts": f"GET / HTTP/1.1\r\n{host}Host: evil.example\r\n\r\n".encode(),
        "no colon": f"GET / HTTP/1.1\r\n{host}what\r\nConnection: close\r\n\r\n".encode(),
        "folded": f"GET / HTTP/1.1\r\n{host}X: a\r\n b\r\nConnection: close\r\n\r\n".encode(),
        "long line": b"GET /" + b"a" * (1 << 18) + b" HTTP/1.1\r\n\r\n",
        "long header": f"GET / HTTP/1.1\r\n{host}X: ".encode() + b"a" * (1 << 18) + b"\r\n\r\n",
        "many headers": f"GET / HTTP/1.1\r\n{host}".encode() + b"X: y\r\n" * 500 + b"\r\n",
        "large headers": f"GET / HTTP/1.1\r\n{host}".encode() + (b"X: " + b"y" * 60000 + b"\r\n") * 50 + b"\r\n",
        "body": f"GET / HTTP/1.1\r\n{host}Content-Length: 30\r\n\r\nGET /explorer.json HTTP/1.1\r\n\r\n".encode(),
        "chunks": f"GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        "post": f"POST / HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello".encode(),
        "connect": f"CONNECT evil.example:443 HTTP/1.1\r\n{host}\r\n".encode(),
        "absolute": f"GET http://evil.example/ HTTP/1.1\r\n{host}\r\n".encode(),
        "script": f"GET /<script>alert(1)</script> HTTP/1.1\r\n{host}Connection: close\r\n\r\n".encode(),
        "bad range": f"GET /main.js HTTP/1.1\r\n{host}Range: bytes=9-1,-,5-x\r\nConnection: close\r\n\r\n".encode(),
        "bad date": f"GET / HTTP/1.1\r\n{host}If-Modified-Since: never\r\nConnection: close\r\n\r\n".encode(),
        "zeros": bytes(5000),
    }

    def work(generator: random.Random, number: int) -> None:
        name, content = list(requests.items())[number % len(requests)]
        answer = send(target, content, name, half_closed=generator.random() < 0.5)
        if b"<script>" in answer:
            target.found.fail(f"{name}: the request came back as HTML")
        if answer[9:12] == b"200" and name in (
            "other host",
            "two hosts",
            "body",
            "chunks",
            "post",
            "connect",
            "no host",
        ):
            target.found.fail(f"{name}: it was answered")

    in_threads(size, work, seed)


def noise(target: Target, size: int, seed: int) -> None:
    """Random bytes, and good requests with some bytes changed or cut."""
    good = f"GET /main.js HTTP/1.1\r\nHost: {HOST}:{target.port}\r\nConnection: close\r\n\r\n".encode()

    def work(generator: random.Random, number: int) -> None:
        if number % 2:
            content = bytearray(good[: generator.randint(1, len(good))])
            for _ in range(generator.randint(0, 6)):
                content[generator.randrange(len(content))] = generator.randrange(256)
        else:
            content = bytearray(generator.randbytes(generator.randint(1, 3000)) + b"\r\n\r\n")
        send(target, bytes(content), "noise", half_closed=True)

    in_threads(size, work, seed)


def pipelined(target: Target, size: int, seed: int) -> None:
    """Many requests sent at once down one connection: each is answered, in order."""
    host = f"Host: {HOST}:{target.port}\r\n"

    def work(generator: random.Random, number: int) -> None:
        paths = [generator.choice(["/index.html", "/main.js", "/explorer.json", "/none"]) for _ in range(20)]
        sent = "".join(f"GET {path} HTTP/1.1\r\n{host}\r\n" for path in paths if path != "/none")
        answer = send(target, f"{sent}GET /none HTTP/1.1\r\n{host}\r\n".encode(), "pipelined")
        wanted = sum(path != "/none" for path in paths)
        if (answer.count(b"HTTP/1.1 200"), answer.count(b"HTTP/1.1 404")) != (wanted, 1):
            target.found.fail(f"pipelined: {answer.count(b'HTTP/1.1 200')} of {wanted} were answered")

    in_threads(size, work, seed)


def silent(target: Target, size: int, seed: int, seconds: float = 3.0) -> None:
    """Connections that are held open, silent or a byte at a time, or that read nothing, while good ones are served."""
    generator = random.Random(seed)
    large = f"GET /ort/large.wasm HTTP/1.1\r\nHost: {HOST}:{target.port}\r\n\r\n".encode()
    with ExitStack() as stack:
        held = []
        for number in range(size):
            connection = stack.enter_context(target.connect())
            with suppress(OSError):
                connection.sendall(
                    large * 3 if number % 4 == 0 else b"GET / HTTP/1.1\r\nX-a: " if number % 4 < 3 else b""
                )
            held.append(connection)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            check_good(target, "beside silent ones", generator.choice(list(target.files)))
            for connection in generator.sample(held, len(held) // 4):
                with suppress(OSError):
                    connection.send(b"a")
        if target.threads() > THREADS:
            target.found.fail(f"{target.threads()} threads while {size} connections are held open")
        until = time.monotonic() + PATIENCE
        for number, connection in enumerate(held):
            if number % 4:
                target.found.count("held open", hung_up(connection, until))
        if target.found.counts["held open: still open"]:
            target.found.fail("silent connections were never hung up on")


def hung_up(connection: socket.socket, until: float) -> str:
    """Wait until the server hangs up on a connection that never sends a whole request."""
    connection.settimeout(max(0.01, until - time.monotonic()))
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return "still open"
    except OSError:
        return "cut off"
    return "closed"


def settled(target: Target, name: str, threads: int, descriptors: int, patience: float = 60.0) -> None:
    """Check every file, and wait until the server has no more threads and descriptors than at the start."""
    for path in target.files:
        check_good(target, f"after {name}", path)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if target.threads() <= threads and target.descriptors() <= descriptors:
            return
        time.sleep(0.1)
    target.found.fail(
        f"after {name}: {target.threads()} threads and {target.descriptors()} descriptors, at the start {threads} and "
        f"{descriptors}"
    )


PHASES: dict[str, tuple[Callable[[Target, int, int], None], float]] = {
    "load": (load, 1.0),
    "malformed": (malformed, 0.1),
    "noise": (noise, 0.4),
    "pipelined": (pipelined, 0.02),
    "silent": (silent, 0.04),
}


def run(requests: int, seed: int, program: str = PROGRAM, names: tuple[str, ...] = tuple(PHASES)) -> dict[str, Any]:
    """Run the phases against one server.

    Args:
        requests: of the load; the other phases have their share of it.
        seed: of all that is random.
        program: that serves the folder that it is given and prints its port.
        names: of the phases.

    Returns:
        What was found, as JSON.
    """
    found, phases = Found(), {}
    with running(found, program) as target:
        for path in target.files:
            check_good(target, "before", path)
        time.sleep(0.2)
        threads, descriptors, memory = target.threads(), target.descriptors(), target.memory()
        for name in names:
            work, share = PHASES[name]
            start = time.perf_counter()
            work(target, max(1, round(requests * share)), seed)
            seconds = time.perf_counter() - start
            settled(target, name, threads, descriptors)
            phases[name] = {"seconds": round(seconds, 1), "memory": target.memory()}
            print(f"{name}: {seconds:.1f} s, {len(found.failures)} failures so far", flush=True)
        if target.memory() - memory > GROWTH:
            found.fail(f"memory grew from {memory:,} to {target.memory():,} bytes")
    return {
        "answers": dict(sorted(found.counts.items())),
        "requests": sum(found.counts.values()),
        "slowest_good_request_seconds": round(found.slowest, 3),
        "phases": phases,
        "threads_at_start": threads,
        "descriptors_at_start": descriptors,
        "memory_at_start": memory,
        "failures": found.failures,
    }


def main() -> int:
    """Run the harness from the command line."""
    parser = argparse.ArgumentParser(prog="python -m torture.server", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=5000, help="of the load; the other phases have their share")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    options = parser.parse_args()
    found = run(options.requests, options.seed)
    path = record("server", vars(options), found)
    print(f"{found['requests']} requests, {len(found['failures'])} failures; wrote {path}")
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
