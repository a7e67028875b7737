"""The runtime of the explorer's page: where it is looked for, what is checked, and what leaves its archive."""

import base64
import gzip
import os
import tarfile
from pathlib import Path

import pytest

from explorer_cases import PACKAGE, SCRIPT, WASM, pack, release_of
from multirate.data import transfer
from multirate.errors import DataError, UsageError
from multirate.integrations.explorer import runtime
from multirate.integrations.explorer.runtime import RELEASE, RUNTIME_VARIABLE, copy_runtime, find_runtime

# As the npm registry publishes it for onnxruntime-web 1.30.0.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
SCRIPT_NAME = "package/dist/ort.wasm.bundle.min.mjs"
NAMES = {"ort.js", "ort-wasm-simd-threaded.wasm", "LICENSE.txt"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the user's, and an empty cache."""
    for name in (RUNTIME_VARIABLE, *runtime.REGISTRY_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(runtime, "cache_folder", lambda: tmp_path / "cache")


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def everything(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def test_the_pinned_checksum_is_the_one_that_the_registry_publishes() -> None:
    assert RELEASE.checksum == f"sha512:{base64.b64decode(INTEGRITY).hex()}"
    assert RELEASE.archive == "onnxruntime-web-1.30.0.tgz"


def test_only_two_files_and_their_licence_leave_the_archive(tmp_path: Path) -> None:
    archive = pack(tmp_path / "web.tgz", PACKAGE)
    written = copy_runtime(archive, tmp_path / "out" / "ort", release_of(archive))
    assert {path.name for path in written} == NAMES == {path.name for path in (tmp_path / "out" / "ort").iterdir()}
    assert (tmp_path / "out" / "ort" / "ort.js").read_bytes() == SCRIPT
    assert (tmp_path / "out" / "ort" / "ort-wasm-simd-threaded.wasm").read_bytes() == WASM
    assert "MIT License" in (tmp_path / "out" / "ort" / "LICENSE.txt").read_text()


@pytest.mark.parametrize("inside", ["package", "."])
def test_a_folder_of_the_package_serves_as_well(tmp_path: Path, inside: str) -> None:
    for name, content in PACKAGE.items():
        path = tmp_path / "web" / inside / name.removeprefix("package/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    release = release_of(pack(tmp_path / "web.tgz", PACKAGE))
    copy_runtime(tmp_path / "web", tmp_path / "out", release)
    assert (tmp_path / "out" / "ort.js").read_bytes() == SCRIPT


def test_another_archive_is_refused_by_its_checksum_and_nothing_is_written(tmp_path: Path) -> None:
    archive = pack(tmp_path / "web.tgz", PACKAGE)
    release = release_of(archive)
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"web.tgz is not the archive of onnxruntime-web 9.9.9"):
        copy_runtime(archive, tmp_path / "out", release)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_version_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    archive = pack(tmp_path / "web.tgz", PACKAGE)
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "web", filter="data")
    with pytest.raises(DataError, match=r"ort.wasm.bundle.min.mjs in .* is not that of onnxruntime-web 9.9.9"):
        copy_runtime(tmp_path / "web", tmp_path / "out", release_of(archive, script=b"another"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../escaped.txt", "/escaped.txt", "package/../../escaped.txt"])
def test_names_that_lead_outside_are_never_written(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "web.tgz", {name: b"escaped", **PACKAGE})
    before = everything(tmp_path)
    copy_runtime(archive, tmp_path / "a" / "out", release_of(archive))
    added = everything(tmp_path) - before
    assert {path for path in added if path.parts[0] != "a"} == set()
    assert not Path("/escaped.txt").exists()


@pytest.mark.parametrize(
    "entry", [link(SCRIPT_NAME, "/etc/passwd"), link(SCRIPT_NAME, "package/package.json", tarfile.LNKTYPE)]
)
def test_a_link_in_the_place_of_a_file_is_refused(tmp_path: Path, entry: tarfile.TarInfo) -> None:
    archive = pack(tmp_path / "web.tgz", {**PACKAGE, SCRIPT_NAME: entry})
    with pytest.raises(DataError, match="is no plain file"):
        copy_runtime(archive, tmp_path / "out", release_of(archive))
    assert not (tmp_path / "out").exists()


def test_an_archive_without_the_files_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path / "web.tgz", {"package/package.json": b"{}"})
    with pytest.raises(DataError, match=f"holds no {SCRIPT_NAME}"):
        copy_runtime(archive, tmp_path / "out", release_of(archive))


def test_a_damaged_archive_and_an_empty_folder_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "web.tgz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"cannot read .*web.tgz"):
        copy_runtime(tmp_path / "web.tgz", tmp_path / "out", release_of(tmp_path / "web.tgz"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="No such file"):
        copy_runtime(tmp_path / "empty", tmp_path / "out", release_of(tmp_path / "web.tgz"))


def test_what_is_given_comes_first_then_the_environment_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / name for name in ("given.tgz", "named.tgz")]
    cached = tmp_path / "cache" / "onnxruntime-web" / RELEASE.archive
    cached.parent.mkdir(parents=True)
    for path in (*places, cached):
        path.write_bytes(b"")
    assert find_runtime() == cached
    monkeypatch.setenv(RUNTIME_VARIABLE, str(places[1]))
    assert find_runtime() == places[1]
    assert find_runtime(places[0]) == places[0]
    with pytest.raises(UsageError, match=r"no runtime .*nothing.tgz; name an archive or a folder"):
        find_runtime(tmp_path / "nothing.tgz")


@pytest.mark.parametrize(
    ("variable", "named", "registry"),
    [
        (None, "", "https://registry.npmjs.org"),
        ("npm_config_registry", "https://npm.example/mirror/", "https://npm.example/mirror"),
        ("NPM_CONFIG_REGISTRY", "https://npm.example", "https://npm.example"),
    ],
)
def test_it_is_downloaded_once_from_the_registry_that_npm_is_set_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, named: str, registry: str
) -> None:
    asked: list[tuple[str, Path, str | None]] = []

    def download(url: str, target: Path, checksum: str | None = None) -> Path:
        asked.append((url, target, checksum))
        target.parent.mkdir(parents=True)
        target.write_bytes(b"")
        return target

    monkeypatch.setattr(transfer, "download", download)
    if variable is not None:
        monkeypatch.setenv(variable, named)
    target = tmp_path / "cache" / "onnxruntime-web" / RELEASE.archive
    assert find_runtime() == find_runtime() == target
    assert asked == [(f"{registry}/onnxruntime-web/-/{RELEASE.archive}", target, RELEASE.checksum)]


def test_a_download_that_fails_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object) -> Path:
        raise DataError("cannot download it (no connection to the server); check the network, or --data-dir")

    monkeypatch.setattr(transfer, "download", download)
    with pytest.raises(DataError, match=r"no connection to the server\); get https://.*\.tgz by hand and name it with"):
        find_runtime()


@pytest.mark.parametrize("size", [b"\x80" + b"\x7f" * 11, b"\xff" * 12, b"77777777777\0"])
def test_an_archive_whose_member_says_it_is_endless_is_one_line(tmp_path: Path, size: bytes) -> None:
    block = bytearray(tarfile.TarInfo("package/other").tobuf())
    block[124:136] = size
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "web.tgz").write_bytes(gzip.compress(bytes(block) + bytes(1024)))
    with pytest.raises(DataError, match=r"web\.tgz"):
        copy_runtime(tmp_path / "web.tgz", tmp_path / "out", release_of(tmp_path / "web.tgz"))


def test_a_pipe_in_the_place_of_the_archive_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "web.tgz")
    with pytest.raises(DataError, match="no plain file"):
        copy_runtime(tmp_path / "web.tgz", tmp_path / "out")
