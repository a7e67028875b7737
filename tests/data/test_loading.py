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
