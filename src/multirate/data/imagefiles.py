"""Where image files lie: in a folder, or in a zip archive that is never unpacked to disk."""

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from multirate.data.splits import named_splits
from multirate.data.unpacking import ZIP_UNREADABLE
from multirate.errors import DataError
from multirate.reading import open_file, read_file

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

_LIMIT = 1 << 27


class ImageFiles(Protocol):
    """Image files by number."""

    def where(self, number: int) -> str:
        """Say which file it is, for errors."""

    def stamp(self, number: int) -> tuple[str | int, ...]:
        """Return what changes when the file changes: its name, its size, and its checksum or the time of writing."""

    def stored(self, number: int) -> int:
        """Return how many bytes it takes where it is, packed."""

    def open(self, number: int) -> BinaryIO:
        """Open it for reading.

        Raises:
            DataError: if it cannot be read.
        """


@contextmanager
def image_files(path: Path) -> Iterator[tuple[ImageFiles, dict[str, list[int]]]]:
    """Open a folder or a zip archive of images.

    Subfolders ``train``, ``validation`` (or ``valid``, ``val``) and ``test`` are parts; without them all is ``train``.
    An archive may have one folder around everything. Hidden files are passed over.

    Args:
        path: the folder or archive.

    Yields:
        The files, and the numbers of each part's files in order of their path.

    Raises:
        DataError: if there are no images, or the archive is missing or corrupt.
    """
    if path.is_dir():
        folder = FolderFiles(path)
        yield folder, _filled(folder.parts, path)
        return
    with zip_files(path) as members:
        yield members, _filled(members.parts, path)


@contextmanager
def zip_files(path: Path) -> Iterator["ZipFiles"]:
    """Open a zip archive of images.

    Args:
        path: the archive.

    Yields:
        Its image files.

    Raises:
        DataError: if it is missing or corrupt.
    """
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(open_file(path))))
        except ZIP_UNREADABLE as error:
            raise DataError(
                f"{path} is missing, truncated or no zip archive ({error}); save or fetch it again"
            ) from error
        yield ZipFiles(path, archive)


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Read a member of a zip archive, and hold no more than the size that it declares, whatever was packed into it.

    Args:
        archive: the archive, open.
        member: which member.

    Returns:
        Its content.

    Raises:
        zipfile.BadZipFile: if its checksum differs or it is compressed otherwise than by deflate, which alone can be
            unpacked up to a limit; and what zipfile raises on damage.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile("it is not compressed by deflate")
    with archive.open(member) as stream:
        return stream.read(member.file_size + 1)


class FolderFiles:
    """Image files of a folder and its subfolders.

    Args:
        folder: where they are, at any depth.
    """

    def __init__(self, folder: Path) -> None:
        parts = named_splits({path.name: path for path in sorted(folder.iterdir()) if path.is_dir()})
        self.parts: dict[str, list[int]] = {}
        self._folder = folder
        self._paths: list[Path] = []
        for part, place in (parts or {"train": folder}).items():
            found = _image_paths(place)
            self.parts[part] = list(range(len(self._paths), len(self._paths) + len(found)))
            self._paths += found

    def where(self, number: int) -> str:
        """Return the file's path."""
        return str(self._paths[number])

    def stamp(self, number: int) -> tuple[str | int, ...]:
        """Return the file's path in the folder, its size and when it was written."""
        path = self._paths[number]
        state = path.stat()
        return path.relative_to(self._folder).as_posix(), state.st_size, state.st_mtime_ns

    def stored(self, number: int) -> int:
        """Return the file's size."""
        return self._paths[number].stat().st_size

    def open(self, number: int) -> BinaryIO:
        """Read the file; :class:`DataError` if it cannot be read or is over 128 MiB."""
        try:
            # In memory, for Pillow asks for as many bytes as a damaged file says that it has.
            return io.BytesIO(read_file(self._paths[number], _LIMIT))
        except OSError as error:
            raise DataError(f"cannot read {self.where(number)}: {error.strerror or error}") from error


class ZipFiles:
    """Image files of a zip archive, read in memory one at a time: the names in it are never used as paths on disk.

    Args:
        path: of the archive, for errors.
        archive: the archive, open.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        found = {member: PurePosixPath(member.filename.replace("\\", "/")).parts for member in archive.infolist()}
        self._members = sorted(
            (member for member, parts in found.items() if _is_image(parts) and not member.is_dir()),
            key=lambda member: "/".join(found[member]),
        )
        names = [found[member] for member in self._members]
        top = {parts[0]: len(parts) for parts in names}
        if len(top) == 1 and min(map(len, names)) > 1 and not named_splits(top):
            names = [parts[1:] for parts in names]
        folders: dict[str, list[int]] = {}
        for number, parts in enumerate(names):
            folders.setdefault(parts[0] if len(parts) > 1 else "", []).append(number)
        self.parts = named_splits(folders) or {"train": list(range(len(names)))}

    def numbers(self, names: Iterable[str]) -> list[int]:
        """Return the numbers of the members of these names; :class:`DataError` if one is missing."""
        known = {member.filename: number for number, member in enumerate(self._members)}
        try:
            return [known[name] for name in names]
        except KeyError as error:
            raise DataError(f"{self._path} holds no {error.args[0]}; remove it and get it again") from error

    def where(self, number: int) -> str:
        """Return the archive's path and the member's name."""
        return f"{self._path}: {self._members[number].filename}"

    def stamp(self, number: int) -> tuple[str | int, ...]:
        """Return the member's name, size and checksum."""
        member = self._members[number]
        return member.filename, member.file_size, member.CRC

    def stored(self, number: int) -> int:
        """Return the member's packed size."""
        return self._members[number].compress_size

    def open(self, number: int) -> BinaryIO:
        """Read the member; :class:`DataError` if it is corrupt, encrypted or over 128 MiB."""
        member = self._members[number]
        if member.file_size > _LIMIT:
            raise DataError(f"{self.where(number)} has {member.file_size:,} bytes, more than an image; leave it out")
        try:
            return io.BytesIO(read_member(self._archive, member))
        except ZIP_UNREADABLE as error:
            raise DataError(
                f"{self.where(number)} is truncated or corrupt ({error}); save the archive again"
            ) from error


def _filled(parts: dict[str, list[int]], path: Path) -> dict[str, list[int]]:
    if not any(parts.values()):
        raise DataError(f"{path} holds no PNG or JPEG images")
    return parts


def _is_image(parts: Sequence[str]) -> bool:
    hidden = any(part.startswith(".") for part in parts)
    return bool(parts) and not hidden and parts[-1].lower().endswith(IMAGE_SUFFIXES)


def _image_paths(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if _is_image(path.relative_to(folder).parts) and path.is_file())
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
