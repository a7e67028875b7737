"""``multirate data``."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from multirate.cli.shared import Screen, Shared, SharedOptions
from multirate.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Options:
    """List the data sets, describe one, or make sure that its files are there.

    Example: multirate data describe mnist
    """

    action: Annotated[Literal["list", "describe", "fetch"], tyro.conf.Positional] = "list"
    """What to do."""
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """Data set to describe or to fetch; nothing for list."""
    data_dir: str | None = None
    """Folder of the original files, tried before MULTIRATE_DATA and the cache; downloads go there."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """List, describe or fetch."""
    screen = Screen(options.shared)
    if options.action == "list":
        if options.name is not None:
            raise UsageError(f"list takes no name; for one data set: multirate data describe {options.name}")
        _list(screen)
    elif options.name is None:
        raise UsageError(f"say which data set: multirate data {options.action} NAME")
    elif options.action == "describe":
        _describe(screen, options.name, options.data_dir)
    else:
        from multirate.data.catalog import fetch

        paths = [str(path) for path in fetch(options.name, options.data_dir)]
        screen.say("\n".join(paths) or f"{options.name} comes with a package; nothing to fetch")
        screen.result({"name": options.name, "files": paths})


def _list(screen: Screen) -> None:
    from multirate.data.names import DATA_NAMES

    width = max(map(len, DATA_NAMES))
    for name, description in DATA_NAMES.items():
        screen.say(f"{name.ljust(width)}  {description}")
    screen.say(
        "or the path of a .npz, .npy, .safetensors or .pt file, of a folder or .zip archive of images, or of a .txt"
    )
    screen.say("file of one document a line; or hf:USER/NAME for a data set of the Hugging Face Hub")
    screen.result(DATA_NAMES)


def _describe(screen: Screen, name: str, data_dir: str | None) -> None:
    from multirate.data.catalog import describe

    about = describe(name, data_dir)
    shown: dict[str, Any] = {key: value for key, value in about.items() if key not in ("files", "without_files")}
    shown["shape"] = "x".join(map(str, shown["shape"]))
    shown["examples"] = ", ".join(f"{split} {count:,}" for split, count in shown["examples"].items())
    shown["ready"] = _readiness(about)
    for key, value in shown.items():
        screen.say(f"{key:<12} {value}")
    for file in about["files"]:
        screen.say(f"  {file['name']}: {_state(file)}")
    screen.result(about)


def _readiness(about: dict[str, Any]) -> str:
    missing = [file for file in about["files"] if file["path"] is None]
    if about["ready"]:
        replaced = missing and about["without_files"]
        return f"yes: {about['without_files']}; the published file is optional" if replaced else "yes"
    if any(file["verified"] is False for file in about["files"]):
        return f"no: a file is not the published one; remove it and run `multirate data fetch {about['name']}`"
    if all(file.get("by_hand") for file in missing):
        return "no: get the missing files by hand"
    return f"no: run `multirate data fetch {about['name']}`"


def _state(file: dict[str, Any]) -> str:
    if file["path"] is None:
        missing = "missing" if file["needed"] else "missing, not needed"
        return f"{missing}: get it by hand from {file['url']}" if file.get("by_hand") else missing
    return f"{file['path']} (its checksum is another one)" if file["verified"] is False else str(file["path"])
