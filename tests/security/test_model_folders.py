"""Model folders from strangers: what they name is built in, what they announce is there, and they point nowhere."""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import multirate as mr
from multirate.data.vocabulary import Vocabulary
from multirate.errors import MultirateError
from multirate.files import write_json

HUGE = 10**9


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multi-rate model's folder."""
    torch.manual_seed(0)
    model = mr.convert(mr.models.mlp(shape=(1, 4, 4), latents=2, hidden=(3,)), mr.BetaRange(0.1, 1.0))
    return model.save(tmp_path_factory.mktemp("sound") / "model")


def altered(sound: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Copy a folder, with its description changed."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((sound / "model.safetensors").read_bytes())
    description = json.loads((sound / "model.json").read_text())
    change(description)
    write_json(folder / "model.json", description)
    return folder


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "model of a module": lambda d: d.update(model="torch.nn:Linear"),
    "model that is a path": lambda d: d.update(model="../../../etc/passwd"),
    "model that is a function": lambda d: d.update(model="build"),
    "model that is an attribute": lambda d: d.update(model="__class__"),
    "model that is a list": lambda d: d.update(model=["mlp"]),
    "no model": lambda d: d.pop("model"),
    "huge latents": lambda d: d["options"].update(latents=HUGE),
    "huge hidden": lambda d: d["options"].update(hidden=[HUGE]),
    "huge shape": lambda d: d["options"].update(shape=[1, HUGE, HUGE]),
    "products that are huge": lambda d: d["options"].update(hidden=[60] * 60, shape=[4, 4, 4]),
    "many layers": lambda d: d["options"].update(hidden=[1] * 200_000),
    "negative": lambda d: d["options"].update(latents=-5),
    "not a number": lambda d: d["options"].update(latents="7"),
    "unknown option": lambda d: d["options"].update(__class__="os.system"),
    "options that are a list": lambda d: d.update(options=[1, 2]),
    "layer of a class": lambda d: d["multirate"]["gated"][0].update(type="os.system"),
    "layer at an attribute": lambda d: d["multirate"]["gated"][0].update(at="__class__.__init__"),
    "huge channels": lambda d: d["multirate"]["gated"][0].update(channels=HUGE),
    "unknown gate": lambda d: d["multirate"]["gated"][0].update(gate="eval"),
    "unknown key of a layer": lambda d: d["multirate"]["gated"][0].update(hook="os.system"),
    "unknown key": lambda d: d["multirate"].update(beta_range={"low": 0.1, "high": 1.0, "code": "1"}),
    "beta that is text": lambda d: d["multirate"]["beta_range"].update(low="__import__('os')"),
    "schema": lambda d: d.update(schema="multirate.model/9"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES)
def test_a_false_description_is_refused_before_anything_large_is_made(sound: Path, tmp_path: Path, what: str) -> None:
    folder = altered(sound, tmp_path / "model", CHANGES[what])
    tracemalloc.start()
    with pytest.raises(MultirateError) as refused:
        mr.load(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(refused.value)
    assert peak < 100 << 20


def test_tensors_that_announce_more_than_there_is_are_refused(sound: Path, tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [HUGE, HUGE], "data_offsets": [0, 4 * HUGE * HUGE]}}).encode()
    for content in (
        len(header).to_bytes(8, "little") + header,
        (1 << 62).to_bytes(8, "little") + header,
        b"",
        b"\x00" * 8,
    ):
        folder = altered(sound, tmp_path / f"model-{len(list(tmp_path.iterdir()))}", dict)
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(MultirateError, match=r"damaged|do not fit"):
            mr.load(folder)


def test_tensors_of_another_network_are_refused(sound: Path, tmp_path: Path) -> None:
    folder = altered(sound, tmp_path / "model", dict)
    (folder / "model.safetensors").write_bytes(safetensors.torch.save({"../../evil": torch.zeros(3000)}))
    with pytest.raises(MultirateError, match="do not fit"):
        mr.load(folder)


def test_no_name_of_a_file_is_taken_from_a_description(sound: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.safetensors"
    elsewhere.write_bytes((sound / "model.safetensors").read_bytes())
    folder = altered(
        sound, tmp_path / "model", lambda d: d.update(weights="../elsewhere.safetensors", file="/etc/passwd")
    )
    (folder / "model.safetensors").unlink()
    with pytest.raises(MultirateError, match=r"model\.safetensors"):
        mr.load(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_pipe_or_a_device_in_place_of_a_file_is_not_waited_for(sound: Path, tmp_path: Path, name: str) -> None:
    for make in (os.mkfifo, lambda path: Path(path).symlink_to("/dev/zero"), lambda path: Path(path).mkdir()):
        folder = altered(sound, tmp_path / f"model-{len(list(tmp_path.iterdir()))}", dict)
        (folder / name).unlink()
        make(folder / name)
        with pytest.raises(MultirateError):
            mr.load(folder)


def test_an_own_network_is_never_looked_up_by_its_name(sound: Path, tmp_path: Path) -> None:
    folder = altered(sound, tmp_path / "model", lambda d: d.update(model=None, options=None, **{"class": "os.system"}))
    with pytest.raises(MultirateError, match=r"holds a os\.system, which is not built in; pass an instance"):
        mr.load(folder)


@pytest.mark.parametrize(
    "words", ["a", {"a": 1}, [1, 2], ["<pad>"], [None], ["<script>"]], ids=lambda words: type(words).__name__
)
def test_a_vocabulary_is_a_list_of_words(tmp_path: Path, words: Any) -> None:
    path = write_json(tmp_path / "vocabulary.json", {"schema": "multirate.vocabulary/1", "words": words})
    with pytest.raises(MultirateError):
        Vocabulary.load(path)


IDS = [
    "..",
    "../x",
    "a/..",
    "/etc/passwd",
    "a/b/c",
    "a",
    "",
    "a/",
    "/b",
    "./a",
    "https://example.org/a",
    "a/b\n",
    "a b/c",
    "a/b?c",
]


@pytest.mark.parametrize("name", IDS)
def test_a_name_that_is_no_repository_is_refused_without_asking(tmp_path: Path, name: str, monkeypatch: Any) -> None:
    hub = pytest.importorskip("multirate.integrations.hub")
    library = pytest.importorskip("huggingface_hub")

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(library, "snapshot_download", never)
    folder = tmp_path / "none"
    with pytest.raises(MultirateError):
        hub.from_pretrained(name or folder)
