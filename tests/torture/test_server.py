"""The harness of the server finds what a careless server does, and nothing in ours."""

import pytest
from torture.server import run
from torture.serving import PROGRAM

# Python's own server of a folder: it follows links out of it, and answers to any name.
CARELESS = """
import os, sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        pass

os.chdir(sys.argv[1])
server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
# Ours with room for four connections only.
FEW = PROGRAM.replace("server = ", "server_module.MOST_CONNECTIONS = 4; server = ")
MODULE = "import multirate.integrations.explorer.server as server_module; "


@pytest.mark.torture
def test_nothing_is_found_in_ours() -> None:
    found = run(300, 1)
    assert found["failures"] == []
    assert found["answers"]["outside: 404"] == 30 and found["answers"]["load: 200"] == 270


@pytest.mark.torture
def test_good_requests_are_answered_however_many_others_hold_connections() -> None:
    found = run(500, 1, MODULE + FEW, ("silent",))
    assert found["failures"] == []
    assert found["answers"].get("held open: closed", 0) + found["answers"].get("held open: cut off", 0) == 15


@pytest.mark.torture
def test_a_server_that_hangs_up_on_nobody_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torture.server.PATIENCE", 1.0)
    found = run(50, 1, CARELESS, ("silent",))
    assert "silent connections were never hung up on" in found["failures"]


@pytest.mark.torture
def test_a_careless_server_is_found_out() -> None:
    found = run(240, 1, CARELESS, ("load", "malformed"))
    words = "\n".join(found["failures"])
    assert "outside: /link.txt came as 200" in words
    assert "other host: it was answered" in words
    assert "two hosts: it was answered" in words
