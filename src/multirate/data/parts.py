"""Files that lie on disk under one of several names: as published, renamed, gzipped, or in an archive."""

import hashlib
import itertools
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from multirate.data.download import search_folders
from multirate.data.unpacking import UNREADABLE, open_tar, open_unzipped, text_allowance
from multirate.errors import DataError

_CHUNK = 1 << 16


@dataclass(frozen=True)
class PartFile:
    """A file on disk, plain or gzipped, or a member of a tar archive, which is read where it is.

    Args:
        path: of the file or archive.
        member: name of the file in the archive.
    """

    path: Path
    member: str | None = None

    def open(self, stack: ExitStack) -> BinaryIO:
        """Return the unzipped content as a stream that ``stack`` closes.

        Args:
            stack: to which everything that is opened belongs.

        Raises:
            DataError: if the archive has no such member; what the operating system, gzip and tar raise is left as it is
                (``UNREADABLE``), here and in reading.
        """
        if self.member is None:
            return open_unzipped(self.path, stack, text_allowance)
        archive = open_tar(self.path, stack)
        wanted = next((m for m in archive if m.isfile() and m.name.removeprefix("./") == self.member), None)
        opened = archive.extractfile(wanted) if wanted is not None else None
        if opened is None:
            raise DataError(f"{self.path} holds no file {self.member}; remove it and get it again")
        return cast(BinaryIO, stack.enter_context(opened))

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}: {self.member}"


@dataclass(frozen=True)
class Part:
    """One file of a data set.

    Args:
        names: under which it may lie in a data folder, relative to it.
        md5: of its content, unzipped.
        archive: name of an archive that holds it.
        member: its name there.
        needed: whether the data set cannot be used without it.
    """

    names: tuple[str, ...]
    md5: str
    archive: str
    member: str
    needed: bool = True


def text_part(*stems: str, md5: str, archive: str, member: str, needed: bool = True) -> Part:
    """Return a part that is a text file, plain or gzipped, of one of these names without their ending."""
    names = tuple(f"{stem}.txt{end}" for stem in stems for end in ("", ".gz"))
    return Part((*names, member), md5, archive, member, needed)


def find_part(part: Part, name: str, data_dir: str | Path | None = None) -> PartFile | None:
    """Return where a part lies on disk, as a file or in its archive, or None; no network.

    Args:
        part: what to look for.
        name: of the data set.
        data_dir: the user's folder, if one was named.
    """
    places = (place for folder in search_folders(data_dir) for place in (folder / name, folder))
    for place, known in itertools.product(places, (*part.names, part.archive)):
        if (place / known).is_file():
            return PartFile(place / known, part.member if known == part.archive else None)
    return None


def verify_part(part: Part, file: PartFile) -> bool:
    """Return whether a file holds what was published.

    Args:
        part: what was published.
        file: what is on disk.

    Raises:
        DataError: if it cannot be read.
    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with ExitStack() as stack:
            stream = file.open(stack)
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except PermissionError as error:
        raise DataError(f"cannot read {file}: {error.strerror}; check its permissions") from error
    except (*UNREADABLE, DataError):
        return False
    return digest.hexdigest() == part.md5
