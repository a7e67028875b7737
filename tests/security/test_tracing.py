"""Files from strangers are read while Python itself watches: nothing is unpickled, run, written or connected to.

Each case is read in a process of its own, with an audit hook that records what the interpreter does on its way.
"""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import multirate as mr
from multirate.curve import Curve, point
from multirate.files import write_json

WATCHER = """
import importlib, json, os, sys, traceback
cases = json.loads(sys.argv[1])
for name in sorted({part.strip() for imports, _ in cases.values() for part in imports.split(",")}):
    globals()[name.partition(".")[0]] = importlib.import_module(name.partition(".")[0])
    importlib.import_module(name)
import multirate.errors
seen, watching = [], False
EVENTS = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen",
          "socket.connect", "socket.getaddrinfo", "socket.bind", "ctypes.dlopen", "os.remove", "os.rename",
          "os.mkdir", "shutil.rmtree", "marshal.loads")

def importing():
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False

def watch(event, arguments):
    if not watching:
        return
    if event == "open":
        path, mode, flags = arguments
        if any(sign in str(mode or "") for sign in "wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            seen.append(f"open {path}")
    elif event == "import" and arguments[0].partition(".")[0] in ("evil_module", "antigravity"):
        seen.append(f"import {arguments[0]}")
    elif event == "exec" and not importing():
        seen.append(f"exec {getattr(arguments[0], 'co_filename', '?')}")
    elif event in EVENTS and not importing():
        seen.append(f"{event} {arguments!r:.80}")

sys.addaudithook(watch)
found = {}
for case, (_, statement) in cases.items():
    code = compile(statement, "statement", "eval")
    seen.clear()
    outcome = "read"
    try:
        # The first event is that of this statement itself.
        watching = True
        eval(code)
    except multirate.errors.MultirateError as error:
        outcome = f"{type(error).__name__}: {error}"
    except BaseException as error:
        outcome = "FOREIGN " + traceback.format_exc()
    watching = False
    found[case] = {"outcome": outcome, "seen": [line for line in seen if line != "exec statement"]}
print(json.dumps(found))
"""


class Payload:
    """What unpickles to the making of a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.target), "w")


class Command(Payload):
    """What unpickles to a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:  # type: ignore[override]
        return os.system, (f"touch '{self.target}'",)


def watched(cases: dict[str, tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Evaluate statements in a process of its own, and return the outcome of each and what the hook saw."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCHER, json.dumps(cases)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def as_torch_file(path: Path, content: object) -> None:
    """Write a file as torch.save does, around any pickle."""
    torch.save({"step": 1}, path)
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, old in members.items():
            archive.writestr(name, pickle.dumps(content, 2) if name.endswith("data.pkl") else old)


def evil(folder: Path) -> dict[str, Path]:
    """Write a stranger's files, each with a payload that would make ``folder/made``."""
    made = folder / "made"
    paths = {}
    for name, payload in (("open", Payload(made)), ("system", Command(made))):
        paths[f"weights-{name}"] = folder / f"{name}.pt"
        as_torch_file(paths[f"weights-{name}"], {"state_dict": {"a": payload}})
        paths[f"checkpoint-{name}"] = folder / f"run-{name}" / "checkpoints" / "step-000000001.pt"
        paths[f"checkpoint-{name}"].parent.mkdir(parents=True)
        as_torch_file(paths[f"checkpoint-{name}"], {"step": payload})
        paths[f"bare-{name}"] = folder / f"bare-{name}.pt"
        paths[f"bare-{name}"].write_bytes(pickle.dumps(payload))
        paths[f"npy-{name}"] = folder / f"{name}.npy"
        np.save(paths[f"npy-{name}"], np.array([payload], dtype=object), allow_pickle=True)
        paths[f"npz-{name}"] = folder / f"{name}.npz"
        np.savez(paths[f"npz-{name}"], allow_pickle=True, x=np.array([payload], dtype=object))
    return paths


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a stranger's files."""
    folder = tmp_path_factory.mktemp("stranger")
    evil(folder)
    torch.manual_seed(0)
    model = mr.convert(mr.models.mlp(shape=(1, 4, 4), latents=2, hidden=(3,)), mr.BetaRange(0.1, 1.0))
    for name, change in {
        "good": {},
        "module": {"model": "os:system", "class": "os.system"},
        "import": {"model": "evil_module", "class": "evil_module.Network"},
        "path": {"model": "../../evil_module"},
        "gate": {"multirate": {"gated": [{"type": "os.system"}], "beta_range": {}}},
        "options": {"options": {"__class__": "os.system"}},
    }.items():
        model.save(folder / name)
        description = json.loads((folder / name / "model.json").read_text())
        write_json(folder / name / "model.json", description | change)
    curve = Curve("x", "mlp", "toys", "test", 9, (point(0.1, 3.0, 5.0), point(1.0, 1.0, 6.0)))
    curve.save(folder / "curve.json")
    hostile = curve.to_dict() | {"label": "__import__('os').system('true')", "details": {"py/object": "os.system"}}
    write_json(folder / "hostile.json", hostile)
    (folder / "config.yaml").write_text("data: !!python/object/apply:os.system ['touch made']\n")
    (folder / "tag.yaml").write_text("!!python/name:os.system ''\n")
    (folder / "lines.txt").write_text("a b\nb c\n" * 20)
    return folder


READ = {
    "good model": ("multirate, multirate.loading", "multirate.loading.load('{0}/good')", "read"),
    "model of a module": ("multirate, multirate.loading", "multirate.loading.load('{0}/module')", "no model"),
    "model to import": ("multirate, multirate.loading", "multirate.loading.load('{0}/import')", "no model"),
    "model at a path": ("multirate, multirate.loading", "multirate.loading.load('{0}/path')", "no model"),
    "model with a gate": ("multirate, multirate.loading", "multirate.loading.load('{0}/gate')", "does not describe"),
    "model with options": ("multirate, multirate.loading", "multirate.loading.load('{0}/options')", "no option"),
    "curve": ("multirate.curve", "multirate.curve.Curve.load('{0}/curve.json')", "read"),
    "hostile curve": ("multirate.curve", "print(multirate.curve.Curve.load('{0}/hostile.json'))", "read"),
    "config": ("multirate.yamlfile", "multirate.yamlfile.read_yaml('{0}/config.yaml')", "cannot read"),
    "tag": ("multirate.yamlfile", "multirate.yamlfile.read_yaml('{0}/tag.yaml')", "cannot read"),
} | {
    f"{kind}-{name}": (imports, statement.replace("NAME", name), expected)
    for name in ("open", "system")
    for kind, imports, statement, expected in (
        (
            "weights",
            "pathlib, multirate.experiments.weights",
            "multirate.experiments.weights.read_weights(pathlib.Path('{0}/NAME.pt'))",
            "cannot read",
        ),
        (
            "bare",
            "pathlib, multirate.experiments.weights",
            "multirate.experiments.weights.read_weights(pathlib.Path('{0}/bare-NAME.pt'))",
            "cannot read",
        ),
        (
            "checkpoint",
            "pathlib, multirate.training.checkpoint",
            "multirate.training.checkpoint.load(pathlib.Path('{0}/run-NAME/checkpoints/step-000000001.pt'))",
            "cannot read",
        ),
        ("pt data", "multirate.data.files", "multirate.data.load('{0}/NAME.pt')", "Error"),
        ("npy", "multirate.data.files", "multirate.data.load('{0}/NAME.npy')", "Error"),
        ("npz", "multirate.data.files", "multirate.data.load('{0}/NAME.npz')", "Error"),
    )
}


@pytest.fixture(scope="module")
def readings(stranger: Path) -> dict[str, dict[str, Any]]:
    """What came of reading each of a stranger's files."""
    return watched({name: (imports, statement.format(stranger)) for name, (imports, statement, _) in READ.items()})


@pytest.mark.slow
@pytest.mark.parametrize("what", READ)
def test_reading_what_a_stranger_sent_does_nothing_else(
    stranger: Path, readings: dict[str, dict[str, Any]], what: str
) -> None:
    found = readings[what]
    assert found["seen"] == []
    assert READ[what][2] in found["outcome"] and "FOREIGN" not in found["outcome"]
    assert not (stranger / "made").exists()


SEEN = {
    "unpickling": ("pickle", "pickle.load(open('{0}/bare-open.pt', 'rb'))", "pickle.find_class"),
    "command": ("pickle", "pickle.load(open('{0}/bare-system.pt', 'rb'))", "os.system"),
    "file": ("pathlib", "pathlib.Path('{0}/written').write_text('x')", "open"),
    "code": ("os", "exec('1 + 1')", "exec <string>"),
    "import": ("importlib", "__import__('evil_module')", "import evil_module"),
    "process": ("subprocess", "subprocess.run(['true'])", "subprocess.Popen"),
    "connection": ("socket", "socket.create_connection(('127.0.0.1', 1))", "socket.connect"),
    "unsafe torch": ("torch", "torch.load('{0}/open.pt', weights_only=False)", "open"),
    "unsafe numpy": ("numpy", "numpy.load('{0}/open.npy', allow_pickle=True)", "pickle.find_class"),
}


@pytest.mark.slow
def test_the_watcher_sees_what_it_should(tmp_path: Path) -> None:
    evil(tmp_path)
    found = watched({name: (imports, statement.format(tmp_path)) for name, (imports, statement, _) in SEEN.items()})
    for name, (_, _, event) in SEEN.items():
        assert any(event in line for line in found[name]["seen"]), name
    assert (tmp_path / "made").exists()
