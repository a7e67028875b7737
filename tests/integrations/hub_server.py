"""A stand-in for the Hugging Face Hub on this machine: the few calls that an upload and a download make."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_this_test"
ID = r"(?P<id>[\w.-]+/[\w.-]+)"


@dataclass
class Repository:
    """Files of the last commit, all that was sent of each, and what the commits were called."""

    files: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, list[bytes]] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    private: bool = False

    @property
    def head(self) -> str:
        """Hash of the last commit."""
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


class FakeHub(ThreadingHTTPServer):
    """Keeps repositories in memory; records what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def offer(self, id: str, files: dict[str, bytes]) -> None:
        """Have a repository with these files."""
        self.repositories[id] = Repository(files, commits=["first"])

    def fetched(self) -> set[str]:
        """Return the files that were downloaded."""
        found = (re.fullmatch(rf"/{ID}/resolve/[^/]+/(?P<file>.+)", p) for m, p in self.requests if m == "GET")
        return {match["file"] for match in found if match}


class Answers(BaseHTTPRequestHandler):
    """One request."""

    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def answer(self, method: str) -> None:
        """Find what was asked for and send it."""
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((method, path))
        for way, pattern, reply in WAYS:
            match = re.fullmatch(pattern, path)
            if match and way == method:
                reply(self, body, **match.groupdict())
                return
        self.send(404, {"error": f"no such call: {method} {path}"})

    def do_GET(self) -> None:  # names of http.server
        self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def do_HEAD(self) -> None:
        self.answer("HEAD")

    def send(self, status: int, content: Any, **headers: str) -> None:
        """Send JSON, or bytes."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def repository(self, id: str) -> Repository | None:
        """Return a repository, or say as the hub does that there is none, or none for whoever asks."""
        found = self.server.repositories.get(id)
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if found is None or (found.private and not allowed):
            self.send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        return found


def create(call: Answers, body: bytes) -> None:
    """Make a repository."""
    asked = json.loads(body)
    if call.headers.get("Authorization") != f"Bearer {TOKEN}":
        call.send(401, {"error": "Invalid username or password."})
        return
    id = f"{asked.get('organization') or 'me'}/{asked['name']}"
    if id in call.server.repositories:
        call.send(409, {"error": "You already created this model repo", "url": f"{call.server.url}/{id}"})
        return
    private = bool(asked.get("private")) or asked.get("visibility") == "private"
    call.server.repositories[id] = Repository(private=private)
    call.send(200, {"url": f"{call.server.url}/{id}", "name": id, "id": id})


def preupload(call: Answers, body: bytes, id: str, revision: str) -> None:
    """Say that every file goes inside the commit."""
    files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
    call.send(200, {"files": files})


def commit(call: Answers, body: bytes, id: str, revision: str) -> None:
    """Take a commit's files."""
    if call.headers.get("Authorization") != f"Bearer {TOKEN}":
        call.send(401, {"error": "Invalid username or password."})
        return
    repository = call.server.repositories[id]
    lines = [json.loads(line) for line in body.splitlines() if line.strip()]
    for line in lines:
        if line["key"] == "file":
            name, data = line["value"]["path"], base64.b64decode(line["value"]["content"])
            repository.files[name] = data
            repository.versions.setdefault(name, []).append(data)
        if line["key"] == "deletedFile":
            del repository.files[line["value"]["path"]]
    repository.commits.append(next(line["value"]["summary"] for line in lines if line["key"] == "header"))
    url = f"{call.server.url}/{id}/commit/{repository.head}"
    call.send(200, {"commitUrl": url, "commitOid": repository.head, "success": True})


def information(call: Answers, body: bytes, id: str, revision: str = "main") -> None:
    """Say which files there are."""
    repository = call.repository(id)
    if repository is None:
        return
    if revision not in ("main", repository.head):
        call.send(404, {"error": f"Invalid rev id: {revision}"}, X_Error_Code="RevisionNotFound")
        return
    siblings = [{"rfilename": name} for name in repository.files]
    call.send(
        200, {"id": id, "modelId": id, "sha": repository.head, "siblings": siblings, "private": False, "tags": []}
    )


def tree(call: Answers, body: bytes, id: str, revision: str) -> None:
    """List the files with their sizes."""
    repository = call.repository(id)
    if repository is not None:
        files = repository.files.items()
        found = [{"type": "file", "path": name, "size": len(data), "oid": sha(data)} for name, data in files]
        call.send(200, found)


def resolve(call: Answers, body: bytes, id: str, revision: str, file: str) -> None:
    """Send a file."""
    repository = call.repository(id)
    if repository is None:
        return
    if file not in repository.files:
        call.send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        return
    data = repository.files[file]
    call.send(200, data, ETag=f'"{sha(data)}"', X_Repo_Commit=repository.head)


def valid(call: Answers, body: bytes) -> None:
    """Find the metadata of a card right."""
    call.send(200, {"errors": [], "warnings": []})


def sha(data: bytes) -> str:
    """Return a file's hash."""
    return hashlib.sha1(data).hexdigest()


WAYS = (
    ("POST", "/api/repos/create", create),
    ("POST", "/api/validate-yaml", valid),
    ("POST", rf"/api/models/{ID}/preupload/(?P<revision>[^/]+)", preupload),
    ("POST", rf"/api/models/{ID}/commit/(?P<revision>[^/]+)", commit),
    ("GET", rf"/api/models/{ID}", information),
    ("GET", rf"/api/models/{ID}/revision/(?P<revision>[^/]+)", information),
    ("GET", rf"/api/models/{ID}/tree/(?P<revision>[^/]+)", tree),
    ("HEAD", rf"/{ID}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", resolve),
    ("GET", rf"/{ID}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", resolve),
)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Serve for the length of a block."""
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
