"""Canonical files: looked up on disk, else downloaded and verified. All network access of multirate's data is here."""

import gzip
import hashlib
import os
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from multirate.errors import DataError

DATA_VARIABLE = "MULTIRATE_DATA"

_CHUNK = 1 << 16
_TIMEOUT = 30.0


@dataclass(frozen=True)
class RemoteFile:
    """A file that its publisher offers for download.

    Args:
        name: as the publisher calls it.
        url: the canonical address, or the mirror that its readers use.
        checksum: ``sha256:...`` or ``md5:...`` of the published file; None where none was published.
        content: sha256 of what the file holds unzipped, where a copy that was compressed again is as good.
    """

    name: str
    url: str
    checksum: str | None = None
    content: str | None = None


def cache_folder() -> Path:
    """Return the user's cache folder for multirate; it need not exist."""
    import pooch

    return Path(pooch.os_cache("multirate"))


def search_folders(data_dir: str | Path | None = None) -> list[Path]:
    """Return the folders in which files are looked up, in order: ``data_dir``, ``MULTIRATE_DATA``, the cache.

    Args:
        data_dir: the user's folder, if one was named.
    """
    folders = [data_dir, os.environ.get(DATA_VARIABLE), cache_folder()]
    return list(dict.fromkeys(Path(folder).expanduser() for folder in folders if folder))


def find(file: RemoteFile, name: str, data_dir: str | Path | None = None) -> Path | None:
    """Return where ``file`` lies on disk, or None; no network.

    Args:
        file: what to look for.
        name: of the data set: each folder's subfolder of that name is tried before the folder itself.
        data_dir: the user's folder, if one was named.
    """
    candidates = (place / file.name for folder in search_folders(data_dir) for place in (folder / name, folder))
    return next((path for path in candidates if path.is_file()), None)


def locate(file: RemoteFile, name: str, data_dir: str | Path | None = None, *, download: bool = True) -> Path:
    """Return the path of a file, downloading it if it is not on disk.

    A download is kept only if it is whole and its checksum is right. Files found on disk are not tested here: their
    readers do it, by content.

    Args:
        file: what to look for.
        name: of the data set, also its subfolder.
        data_dir: the user's folder, if one was named; it is then also where a download goes. Else that is
            ``MULTIRATE_DATA`` if it can be written, else the cache.
        download: whether the network may be used.

    Returns:
        The path of an existing file.

    Raises:
        DataError: if it is not there and may not, or cannot, be downloaded.
    """
    found = find(file, name, data_dir)
    if found is not None:
        return found
    if not download:
        places = ", ".join(str(folder) for folder in search_folders(data_dir))
        raise DataError(
            f"{name} needs {file.name}, which is in none of {places}; run `multirate data fetch {name}` to download "
            f"it, or get it from {file.url} and put it into one of these folders"
        )
    return _download(file, _target(data_dir) / name)


def verify(file: RemoteFile, path: Path) -> bool | None:
    """Return whether a file on disk is the published one, or holds the same; None if no checksum was published.

    Args:
        file: what was published.
        path: the file on disk.

    Raises:
        DataError: if it cannot be read.
    """
    if file.checksum is None:
        return None
    kind, _, expected = file.checksum.partition(":")
    try:
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, kind).hexdigest() == expected:
                return True
        if file.content is None:
            return False
        with path.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
        digest = hashlib.sha256()
        with gzip.open(path, "rb") if zipped else path.open("rb") as content:
            while chunk := cast(BinaryIO, content).read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest() == file.content
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error


def sha256_of(path: Path) -> str:
    """Return the sha256 checksum of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _target(data_dir: str | Path | None) -> Path:
    if data_dir is not None:
        return Path(data_dir).expanduser()
    return next(folder for folder in search_folders() if os.access(folder, os.W_OK) or folder == cache_folder())


def _download(file: RemoteFile, folder: Path) -> Path:
    import pooch
    import requests

    remedy = f"get it by hand from {file.url} and put it into {folder}"
    level = pooch.get_logger().level
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pooch.get_logger().setLevel("WARNING")
        path = Path(pooch.retrieve(file.url, file.checksum, file.name, folder, downloader=_stream))
        path.chmod(0o644)
    except requests.RequestException as error:
        reason = _reason(error)
        raise DataError(f"cannot download {file.name} ({reason}); check the network, or {remedy}") from error
    except ValueError as error:
        raise DataError(
            f"{file.name} as downloaded fails its checksum ({file.checksum}) and was removed; try again, or {remedy}"
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot write {file.name} to {folder}: {error.strerror or error}; name another folder with --data-dir"
        ) from error
    finally:
        pooch.get_logger().setLevel(level)
    return path


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server does not answer"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return "no connection to the server" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _stream(url: str, target: str | IO[bytes], _: object) -> None:
    """Write what is at ``url`` to a file, with a progress bar on standard error if that is a terminal.

    It stands in for pooch's own downloader, which leaves the connection open when something goes wrong.
    """
    import requests
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        response = stack.enter_context(requests.get(url, stream=True, timeout=_TIMEOUT))
        response.raise_for_status()
        file = stack.enter_context(Path(target).open("wb")) if isinstance(target, str) else target
        progress = stack.enter_context(Progress(*columns, console=console, disable=not console.is_terminal))
        size = response.headers.get("Content-Length", "")
        task = progress.add_task(url.rpartition("/")[2], total=int(size) if size.isdigit() else None)
        for chunk in response.iter_content(_CHUNK):
            file.write(chunk)
            progress.advance(task, len(chunk))
