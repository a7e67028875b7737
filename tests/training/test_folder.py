import json
import os

import pytest

from multirate.errors import DataError, TrainingError, UsageError
from multirate.training.folder import RunFolder, commit, versions

DOCUMENT = {
    "training": {"epochs": 3, "seed": 0, "device": None, "learning_rate": 1e-5},
    "model": {"options": {"latents": 8}},
    "data": {"name": "digits"},
}
CHANGES = [("training", "epochs", 4), ("model", "options", {"latents": 9}), ("data", "name", "mnist")]


def test_a_folder_with_a_run_is_not_free(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.check_free()
    folder.write_config(DOCUMENT)
    with pytest.raises(UsageError, match=r"--resume \(resume=True\) or choose another folder"):
        folder.check_free()


def test_the_same_run_passes_with_another_device(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(DOCUMENT)
    folder.check_same({**DOCUMENT, "training": {**DOCUMENT["training"], "device": "cpu"}})


@pytest.mark.parametrize(("section", "key", "value"), CHANGES)
def test_the_first_field_that_differs_is_named(tmp_path, section, key, value):
    folder = RunFolder(tmp_path)
    folder.write_config(DOCUMENT)
    with pytest.raises(TrainingError, match=rf"{section}\.{key}.* was .* and is now"):
        folder.check_same({**DOCUMENT, section: {**DOCUMENT[section], key: value}})


def test_lines_after_the_step_and_half_lines_are_dropped(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (1, 2, 3):
        folder.append({"step": step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"ste')
    assert folder.truncate(2) == [{"step": 1}, {"step": 2}]
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]


def test_without_a_path_nothing_is_kept():
    folder = RunFolder(None)
    folder.write_config(DOCUMENT)
    folder.append({"step": 1})
    assert folder.truncate(1) == []
    assert not folder.exists()


def test_versions_and_commit_are_words():
    assert {"python", "torch"} <= versions().keys()
    assert commit() is None or len(commit()) == 40


@pytest.mark.parametrize("content", ["[1, 2]", "words"])
def test_a_config_that_is_no_mapping_is_not_resumed(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(TrainingError, match=r"config\.yaml is empty or no record of a run; choose another folder"):
        RunFolder(tmp_path).check_same(DOCUMENT)


def test_lines_without_a_step_are_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"loss": 2.0}\n[3]\n{"step": 2}\n')
    assert RunFolder(tmp_path).truncate(9) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"[" * 5000, b'{"step": 3' + b"0" * 5000 + b"}"])
def test_a_damaged_line_ends_the_lines_that_stay(tmp_path, damage):
    folder = RunFolder(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + damage + b'\n{"step": 2}\n')
    assert folder.truncate(9) == [{"step": 1}]
    assert (tmp_path / "metrics.jsonl").read_bytes() == b'{"step": 1}\n'


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_metrics_that_are_no_file_are_one_clear_error(tmp_path, make):
    make(tmp_path / "metrics.jsonl")
    with pytest.raises(DataError, match=r"cannot read .*metrics\.jsonl"):
        RunFolder(tmp_path).truncate(9)


@pytest.mark.parametrize("content", [b"a: !!bool maybe\n", b"[" * 2000, b"a: " + b"9" * 5000, b"\xff\xff"])
def test_a_config_that_is_no_yaml_is_not_resumed(tmp_path, content):
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(TrainingError, match="choose another folder"):
        RunFolder(tmp_path).check_same({"training": {}, "model": {}, "data": {}})
