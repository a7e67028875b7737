"""One file over HTTP: there whole or not at all, and gone on with where it broke off. All network access is here."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from multirate.data.progress import progress_bar
from multirate.data.space import check_space, megabytes
from multirate.errors import DataError
from multirate.files import read_json, write_json

if TYPE_CHECKING:
    from requests import Response, Session
    from requests.adapters import BaseAdapter

_CHUNK = 1 << 16
_TIMEOUT = 30.0
# No file of the catalogue has as many bytes; whatever sends more is not sending that file.
_LARGEST = 1 << 30


def download(url: str, target: Path, checksum: str | None = None) -> Path:
    """Download a file; a later call goes on where an earlier one was cut off, killed or interrupted.

    What has arrived lies in ``NAME.part`` beside the target, and what the server said of it in ``NAME.part.json``. The
    rest is asked for with ``Range`` and ``If-Range``. A server that does not know ranges, or has another file by now,
    sends everything again. Without a checksum and a validator of the server nothing would tell two versions apart, and
    the download starts over. The checksum is taken of the whole file. Processes that want the same file wait for the
    first, where the system has file locks.

    Nothing but https is spoken, also where a server sends on to another address; plain http only within this machine.

    Args:
        url: where it is.
        target: the file to write; its folder is made.
        checksum: ``sha256:...`` or ``md5:...`` of the whole file, None if it is not known.

    Returns:
        The target.

    Raises:
        DataError: if the address or one that it leads to is not of https, the file has more than 1 GiB, the server or
            the network fails, the disk has no room, the folder cannot be written, or the
            checksum differs: then what arrived is removed.
    """
    import requests
    from urllib3.exceptions import HTTPError

    part = target.with_name(f"{target.name}.part")
    note = target.with_name(f"{target.name}.part.json")
    remedy = f"get it by hand from {url} and put it into {target.parent}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part):
            if not target.is_file():
                _receive(url, part, note, verifiable=checksum is not None)
                _check(part, note, target.name, checksum, remedy)
                part.replace(target)
            note.unlink(missing_ok=True)
    except (requests.RequestException, HTTPError) as error:
        kept = part.stat().st_size if part.is_file() else 0
        again = f"run the same command again to go on after {megabytes(kept)}" if kept else "check the network"
        raise DataError(f"cannot download {target.name} ({_reason(error)}); {again}, or {remedy}") from error
    except OSError as error:
        raise DataError(
            f"cannot write {target.name} to {target.parent}: {error.strerror or error}; "
            "name another folder with --data-dir"
        ) from error
    return target


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Wait for other processes that download the same file, where the system has file locks; leave no empty part."""
    with ExitStack() as stack:
        _lock(part, stack)
        try:
            yield
        finally:
            with suppress(OSError):
                if part.stat().st_size == 0:
                    part.unlink()


def _lock(part: Path, stack: ExitStack) -> None:
    try:
        import fcntl
    except ImportError:
        return
    while True:
        file = stack.enter_context(part.open("ab"))
        fcntl.flock(file, fcntl.LOCK_EX)
        # What was waited for may have been renamed or removed in the meantime: then this locks nothing.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), part.stat()):
                return
        file.close()


def _receive(url: str, part: Path, note: Path, *, verifiable: bool) -> None:
    """Append to ``part`` what is missing from it."""
    known = _read_note(note)
    have = part.stat().st_size if part.is_file() else 0
    size = known.get("size")
    if known.get("url") != url or not (verifiable or known.get("validator")):
        have = 0
    if have and have == size:
        return
    for start in dict.fromkeys((have, 0)):
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if known.get("validator"):
                headers["If-Range"] = known["validator"]
        with _session(url) as session, session.get(url, stream=True, timeout=_TIMEOUT, headers=headers) as response:
            if start and (response.status_code == 416 or _is_another_range(response, start, known)):
                continue
            response.raise_for_status()
            with part.open("ab") as file:
                _store(response, file, start if response.status_code == 206 else 0, url, note)
        return


def _session(url: str) -> "Session":
    """Return a session that goes to addresses of https alone, or within this machine if it begins there."""
    import requests

    inside = _is_this_machine(url)

    class Guarded(requests.Session):
        def get_adapter(self, url: str | bytes) -> "BaseAdapter":
            address = url if isinstance(url, str) else url.decode()
            if not (urlsplit(address).scheme == "https" or (inside and _is_this_machine(address))):
                raise requests.exceptions.InvalidSchema(address)
            return super().get_adapter(address)

    return Guarded()


def _is_this_machine(url: str) -> bool:
    return urlsplit(url).scheme == "http" and urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _is_another_range(response: "Response", start: int, known: dict[str, Any]) -> bool:
    """Return whether a partial answer does not fit what is there already."""
    if response.status_code != 206:
        return False
    span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    same_size = known.get("size") is None or total in ("*", str(known["size"]))
    same_version = not known.get("validator") or _validator(response) in ("", known["validator"])
    return not (span.startswith(f"{start}-") and same_size and same_version)


def _store(response: "Response", file: BinaryIO, start: int, url: str, note: Path) -> None:
    """Write the body of an answer behind the first ``start`` bytes of a file."""
    from requests.exceptions import ChunkedEncodingError

    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    name = url.rpartition("/")[2]
    _check_size(total or 0, name)
    if total is not None:
        check_space(note.parent, total - start, f"downloading {name}", "name another folder with --data-dir")
    file.truncate(start)
    write_json(note, {"url": url, "size": total, "validator": _validator(response)})
    with progress_bar(name, total, done=start, in_bytes=True) as advance:
        # Bytes as they are published: some servers declare a .gz file to be an encoding, which would be undone.
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            if file.tell() + len(chunk) > _LARGEST:
                file.truncate(0)
                note.unlink(missing_ok=True)
            _check_size(file.tell() + len(chunk), name)
            file.write(chunk)
            advance(len(chunk))
    file.flush()
    os.fsync(file.fileno())
    if total is not None and file.seek(0, os.SEEK_END) != total:
        raise ChunkedEncodingError("the body is shorter than announced")


def _check_size(size: int, name: str) -> None:
    if size > _LARGEST:
        raise DataError(f"{name} is larger than {megabytes(_LARGEST)}, and so not what was asked for; get it by hand")


def _validator(response: "Response") -> str:
    """Return what tells this version of the file from others, or nothing: a strong tag, else its date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _read_note(note: Path) -> dict[str, Any]:
    with suppress(DataError):
        known = read_json(note)
        if isinstance(known, dict):
            return known
    return {}


def _check(part: Path, note: Path, name: str, checksum: str | None, remedy: str) -> None:
    if checksum is None:
        return
    kind, _, expected = checksum.partition(":")
    with part.open("rb") as file:
        if hashlib.file_digest(file, kind).hexdigest() == expected:
            return
    for leftover in (part, note):
        leftover.unlink(missing_ok=True)
    raise DataError(f"{name} as downloaded fails its checksum ({checksum}) and was removed; try again, or {remedy}")


def _reason(error: Exception) -> str:
    import requests
    from urllib3.exceptions import ProtocolError, TimeoutError

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout | TimeoutError):
        return "the server does not answer"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | ProtocolError):
        return "the connection broke off"
    if isinstance(error, requests.exceptions.InvalidSchema):
        return f"{str(error)[:200]} is not of https"
    return "no connection to the server" if isinstance(error, requests.ConnectionError) else type(error).__name__
