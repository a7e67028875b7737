from pathlib import Path

import numpy as np
import pytest
import torch

from multirate.data import load
from multirate.errors import DataError, UsageError

BAD_CALLS = {
    "near name": (("mnits",), {}, UsageError, "unknown data set 'mnits'; did you mean mnist?"),
    "unknown name": (("xyzzy",), {}, UsageError, "unknown data set 'xyzzy'; choose one of digits, mnist"),
    "unknown split": (
        ("digits", "valid"),
        {},
        UsageError,
        "unknown split 'valid'; choose one of train, validation, test",
    ),
    "unknown option": (
        ("digits",),
        {"crop": 8},
        UsageError,
        "unknown option 'crop' for data 'digits'; choose from binarize, size",
    ),
    "option of none": (
        ("mnist-larochelle",),
        {"binarize": "none"},
        UsageError,
        "unknown option 'binarize'.*it has none",
    ),
    "small size": (("digits",), {"size": 7}, UsageError, "an integer of at least 8; got 7"),
    "unknown way": (("digits",), {"binarize": "yes"}, UsageError, "unknown binarize 'yes'"),
    "missing path": (("some/where",), {}, DataError, "no file or folder some/where"),
    "missing files": (("mnist",), {"download": False}, DataError, "mnist needs train-images-idx3-ubyte.gz"),
}


@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_a_call_that_cannot_be_right_says_so(tmp_path, monkeypatch, arguments, options, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        load(*arguments, **options)


def test_a_name_goes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("digits").shape == (1, 8, 8)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_loading_leaves_the_global_generator_alone(split):
    before = torch.get_rng_state()
    load("digits", split)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_relative_path_is_looked_up_in_the_folders_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, value in (("given", 1.0), ("variable", 2.0)):
        (tmp_path / folder / "own").mkdir(parents=True)
        np.save(tmp_path / folder / "own" / "x.npy", np.full((40, 3), value, dtype=np.float32))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no file or folder own/x\.npy, here or in "):
        load("own/x.npy")
    monkeypatch.setenv("MULTIRATE_DATA", str(tmp_path / "variable"))
    first = torch.arange(1)
    assert float(load("own/x.npy").batch(first)[0, 0]) == 2.0
    assert float(load("own/x.npy", data_dir=tmp_path / "given").batch(first)[0, 0]) == 1.0
    assert float(load("given/own/x.npy").batch(first)[0, 0]) == 1.0
