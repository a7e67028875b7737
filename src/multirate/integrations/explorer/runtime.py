"""onnxruntime-web, which runs the model in the page: found or downloaded once, checked, and its two files taken out."""

import hashlib
import os
import tarfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from multirate.data.download import announce, cache_folder
from multirate.data.unpacking import UNREADABLE, open_tar
from multirate.errors import DataError, UsageError
from multirate.files import write_atomic
from multirate.reading import open_file

RUNTIME_VARIABLE = "MULTIRATE_ONNXRUNTIME_WEB"
REGISTRY_VARIABLES = ("npm_config_registry", "NPM_CONFIG_REGISTRY")

# Of the page's files, the one that goes beside the runtime.
LICENSE = "runtime-license.txt"

_REGISTRY = "https://registry.npmjs.org"
_LARGEST = 64 * 2**20


@dataclass(frozen=True)
class Member:
    """A file of the package that the page needs.

    Args:
        source: its path in the package.
        sha256: checksum, in hexadecimal.
    """

    source: str
    sha256: str


@dataclass(frozen=True)
class Release:
    """A pinned version of the package.

    Args:
        version: of the package.
        checksum: of its archive, ``sha512:...`` in hexadecimal; the registry publishes the same in base64.
        members: what to take out of it, by the name in the explorer's folder. ``.js`` rather than ``.mjs``, which some
            servers do not know to be a script.
    """

    version: str
    checksum: str
    members: Mapping[str, Member]

    @property
    def archive(self) -> str:
        """Name of the archive."""
        return f"onnxruntime-web-{self.version}.tgz"


RELEASE = Release(
    version="1.30.0",
    checksum="sha512:ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61",
    members={
        "ort.js": Member(
            "dist/ort.wasm.bundle.min.mjs", "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"
        ),
        "ort-wasm-simd-threaded.wasm": Member(
            "dist/ort-wasm-simd-threaded.wasm", "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
        ),
    },
)


def find_runtime(given: str | Path | None = None, release: Release = RELEASE) -> Path:
    """Return the archive or folder of the package: as given, as the environment says, else of the cache.

    Where the cache has none, the archive is downloaded once from the npm registry, or from the one that
    ``npm_config_registry`` names.

    Args:
        given: an archive, or a folder that holds the package; else ``MULTIRATE_ONNXRUNTIME_WEB`` may name one.
        release: the version to have.

    Raises:
        UsageError: if what is given does not exist.
        DataError: if the download fails.
    """
    named = given or os.environ.get(RUNTIME_VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.exists():
            raise UsageError(f"no runtime {path}; name an archive or a folder of onnxruntime-web {release.version}")
        return path
    cached = cache_folder() / "onnxruntime-web" / release.archive
    if not cached.is_file():
        from multirate.data import transfer

        address = f"{_registry()}/onnxruntime-web/-/{release.archive}"
        announce(f"downloading onnxruntime-web {release.version} once (MIT licence, 33 MB) to {cached.parent}")
        try:
            transfer.download(address, cached, release.checksum)
        except DataError as error:
            raise DataError(
                f"{str(error).partition(';')[0]}; get {address} by hand and name it with --runtime FILE"
            ) from error
    return cached


def copy_runtime(source: Path, folder: Path, release: Release = RELEASE) -> list[Path]:
    """Write the files that the page needs, and their licence, into a folder; nothing else leaves the archive.

    Args:
        source: archive or folder of the package.
        folder: to write to; it is made.
        release: whose checksums they must have.

    Returns:
        The files.

    Raises:
        DataError: if a file is missing, is no plain file, is of another version, or cannot be written.
    """
    contents = _from_folder(source, release) if source.is_dir() else _from_archive(source, release)
    for name, member in release.members.items():
        if hashlib.sha256(contents[name]).hexdigest() != member.sha256:
            raise DataError(
                f"{member.source} in {source} is not that of onnxruntime-web {release.version}; "
                "get that version, or leave --runtime out to download it"
            )
    license_text = resources.files(__package__).joinpath("page", LICENSE).read_bytes()
    files = contents | {"LICENSE.txt": license_text}
    return [write_atomic(folder / name, content) for name, content in files.items()]


def _registry() -> str:
    named = next(filter(None, map(os.environ.get, REGISTRY_VARIABLES)), _REGISTRY)
    return named.rstrip("/")


def _from_archive(path: Path, release: Release) -> dict[str, bytes]:
    """Read the members of an archive by their exact names: whatever else it holds is not looked at."""
    kind, _, expected = release.checksum.partition(":")
    try:
        with open_file(path) as file:
            if hashlib.file_digest(file, kind).hexdigest() != expected:
                raise DataError(
                    f"{path} is not the archive of onnxruntime-web {release.version} ({release.checksum[:19]}...); "
                    "remove it, and get that version"
                )
        found: dict[str, bytes] = {}
        names = {f"package/{member.source}": name for name, member in release.members.items()}
        with ExitStack() as stack:
            archive = open_tar(path, stack)
            for member in archive:
                if member.name in names:
                    found[names[member.name]] = _read(archive, member, path)
        for source, name in names.items():
            if name not in found:
                raise DataError(f"{path} holds no {source}; get onnxruntime-web's own archive")
        return found
    except UNREADABLE as error:
        raise DataError(f"cannot read {path}: {error}; get onnxruntime-web {release.version} again") from error


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    content = archive.extractfile(member) if member.isreg() and member.size <= _LARGEST else None
    if content is None:
        raise DataError(f"{member.name} in {path} is no plain file; get onnxruntime-web's own archive")
    return content.read()


def _from_folder(path: Path, release: Release) -> dict[str, bytes]:
    """Read the members of a folder: the package's own, or one that an archive was unpacked to."""
    root = path / "package" if (path / "package").is_dir() else path
    try:
        return {name: (root / member.source).read_bytes() for name, member in release.members.items()}
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename}: {error.strerror}; name the folder of onnxruntime-web {release.version}"
        ) from error
