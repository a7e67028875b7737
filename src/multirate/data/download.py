"""Canonical files: looked up on disk, else downloaded and verified."""

import gzip
import hashlib
import os
import sys
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from multirate.data.unpacking import open_unzipped
from multirate.errors import DataError
from multirate.reading import open_file

DATA_VARIABLE = "MULTIRATE_DATA"

_CHUNK = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file that its publisher offers for download.

    Args:
        name: as the publisher calls it.
        url: the canonical address, or the mirror that its readers use; with ``by_hand`` a page that leads there.
        checksum: ``sha256:...`` or ``md5:...`` of the published file; None where none was published.
        content: sha256 of what the file holds unzipped, where a copy that was compressed again is as good.
        by_hand: no plain address is published: a person has to fetch the file with a browser.
        notice: licence and source, told before a download.
    """

    name: str
    url: str
    checksum: str | None = None
    content: str | None = None
    by_hand: bool = False
    notice: str = ""


def cache_folder() -> Path:
    """Return the user's cache folder for multirate; it need not exist."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("multirate"))


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

    A download gets its name only once it is whole and its checksum is right
    (:func:`~multirate.data.transfer.download`); before it starts, the file's notice is printed once. Files found on
    disk are not tested here: their readers do it, by content.

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
    folder = _target(data_dir) / name
    if file.by_hand:
        published = f" ({file.checksum})" if file.checksum else ""
        raise DataError(
            f"{name} needs {file.name}{published}, which has no plain address to download it from: get it by hand "
            f"from {file.url} and put it into {folder}"
        )
    if not download:
        places = ", ".join(str(folder) for folder in search_folders(data_dir))
        raise DataError(
            f"{name} needs {file.name}, which is in none of {places}; run `multirate data fetch {name}` to download "
            f"it, or get it from {file.url} and put it into one of these folders"
        )
    from multirate.data import transfer

    if file.notice:
        announce(f"{name}: {file.notice}")
    return transfer.download(file.url, folder / file.name, file.checksum)


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
        with open_file(path) as stream:
            if hashlib.file_digest(stream, kind).hexdigest() == expected:
                return True
        if file.content is None:
            return False
        digest = hashlib.sha256()
        with ExitStack() as stack:
            content = open_unzipped(path, stack)
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest() == file.content
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error


def sha256_of(path: Path) -> str:
    """Return the sha256 checksum of a file, in hexadecimal."""
    with open_file(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _target(data_dir: str | Path | None) -> Path:
    if data_dir is not None:
        return Path(data_dir).expanduser()
    return next(folder for folder in search_folders() if os.access(folder, os.W_OK) or folder == cache_folder())


@cache
def announce(notice: str) -> None:
    """Print what a user should know before a download, on standard error, once in a process."""
    print(f"multirate: {notice}", file=sys.stderr)
