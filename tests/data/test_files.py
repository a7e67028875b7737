import hashlib
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from multirate.data import load
from multirate.data.files import read_arrays
from multirate.data.splits import choose
from multirate.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")
X = np.random.default_rng(0).random((50, 6), dtype=np.float32)


def all_of(source):
    return source.batch(torch.arange(len(source)))


def write(path, **arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".npy":
        np.save(path, next(iter(arrays.values())))
    elif path.suffix == ".safetensors":
        save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    else:
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".safetensors", ".pt", ".PTH"])
def test_one_array_is_cut_into_splits(tmp_path, suffix):
    path = write(tmp_path / f"mine{suffix}", x=X)
    for split in SPLITS:
        source = load(path, split)
        _, indices = choose(split, {"train": 50}, "")
        assert torch.equal(all_of(source), torch.from_numpy(X[indices]))
        assert (source.name, source.split, source.shape, source.likelihood) == ("mine", split, (6,), "gaussian")
        assert source.details["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert source.details["split_seed"] == 0


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_named_splits_are_taken_as_they_are(tmp_path, suffix):
    path = write(tmp_path / f"mine{suffix}", train=X[:30], val=X[30:34], test=X[34:], label=np.arange(50))
    expected = {"train": X[:30], "validation": X[30:34], "test": X[34:]}
    for split in SPLITS:
        source = load(str(path), split)
        assert torch.equal(all_of(source), torch.from_numpy(expected[split]))
        assert "split_seed" not in source.details


def test_validation_is_cut_from_train_where_only_test_is_given(tmp_path):
    path = write(tmp_path / "mine.npz", x_train=X[:40], y_train=np.arange(40), x_test=X[40:], y_test=np.arange(10))
    train, validation, test = (all_of(load(path, split)) for split in SPLITS)
    assert torch.equal(test, torch.from_numpy(X[40:]))
    assert (len(train), len(validation)) == (36, 4)
    assert sorted(map(tuple, torch.cat([train, validation]).tolist())) == sorted(map(tuple, X[:40].tolist()))


@pytest.mark.parametrize(
    ("arrays", "key", "used"),
    [
        ({"x": X, "y": X[:, 0]}, None, "x"),
        ({"pixels": X}, None, "pixels"),
        ({"a": X + 1, "b": X}, "b", "b"),
        ({"train": X, "test": X[:5], "other": X}, "other", "other"),
    ],
)
def test_the_array_is_the_named_one_or_x_or_the_only_one(tmp_path, arrays, key, used):
    source = load(write(tmp_path / "mine.npz", **arrays), "train", key=key)
    assert source.details["array"] == used
    assert len(source) == 40


IMAGES = np.random.default_rng(0).integers(0, 256, (20, 5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("array", "expected", "layout"),
    [
        (IMAGES, IMAGES.transpose(0, 3, 1, 2), "channels moved to the front"),
        (IMAGES.transpose(0, 3, 1, 2), IMAGES.transpose(0, 3, 1, 2), "as stored"),
        (IMAGES[..., 0], IMAGES[:, None, :, :, 0], "channel added"),
        (IMAGES.reshape(20, -1), IMAGES.reshape(20, -1), "as stored"),
    ],
)
def test_images_get_their_channels_in_front(tmp_path, array, expected, layout):
    source = load(write(tmp_path / "mine.npy", x=array), "test")
    _, indices = choose("test", {"train": 20}, "")
    assert torch.equal(all_of(source), torch.from_numpy(expected[indices]).float() / 255)
    assert source.details["layout"] == layout
    assert source.details["scale"] == 255


def test_scale_and_likelihood_can_be_chosen(tmp_path):
    path = write(tmp_path / "mine.npy", x=IMAGES)
    assert all_of(load(path, scale=1)).max() > 1
    assert load(path, likelihood="bernoulli").likelihood == "bernoulli"
    bits = write(tmp_path / "bits.npy", x=IMAGES > 100)
    assert load(bits).likelihood == "bernoulli"


class Evil:
    """Pickles to a call; reading it must not make that call."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def evil_npy(path):
    np.save(path, np.array([Evil()], dtype=object))


def evil_npz(path):
    np.savez(path, x=np.array([Evil()], dtype=object))


def evil_torch(path):
    torch.save({"x": Evil()}, path)


def evil_pickle(path):
    path.write_bytes(pickle.dumps(Evil()))


EVIL = {
    "mine.npy": evil_npy,
    "mine.npz": evil_npz,
    "mine.pt": evil_torch,
    "mine.pth": evil_pickle,
    "pickle.npy": evil_pickle,
    "pickle.npz": evil_pickle,
    "mine.safetensors": evil_pickle,
}


@pytest.mark.parametrize(("name", "make"), EVIL.items(), ids=EVIL.keys())
def test_python_objects_are_refused_and_never_run(tmp_path, name, make):
    make(tmp_path / name)
    with pytest.raises(DataError, match="Python objects") as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".safetensors", ".pt"])
@pytest.mark.parametrize("keep", [0, 0.3, 0.9])
def test_a_truncated_file_is_one_clear_error(tmp_path, suffix, keep):
    path = write(tmp_path / f"mine{suffix}", x=X)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(DataError, match="truncated") as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_ARRAYS = {
    "NaN": ({"x": np.full((20, 3), np.nan)}, {}, "hold NaN"),
    "empty": ({"x": np.zeros((0, 3))}, {}, "too few"),
    "one axis": ({"x": np.zeros(20)}, {}, r"array 'x' has shape \[20\]"),
    "text": ({"x": np.array([["a"]] * 20)}, {}, "no arrays of numbers"),
    "too few": ({"x": np.zeros((5, 3))}, {}, "5 examples, too few to cut"),
    "ambiguous": ({"a": X, "b": X}, {}, r"several arrays \(a, b\); name one with key="),
    "missing key": ({"a": X, "b": X}, {"key": "c"}, "no array 'c' of numbers; it has a, b"),
    "nothing": ({}, {}, "no arrays"),
}


@pytest.mark.parametrize(("arrays", "options", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_arrays_that_are_no_data_are_refused(tmp_path, arrays, options, message):
    path = write(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(path, **options)


def test_arrays_that_are_no_numbers_are_left_out(tmp_path):
    path = write(tmp_path / "mine.npz", pixels=X, names=np.array(["a"] * 50), objects=np.array([{}] * 50))
    assert list(read_arrays(path)) == ["pixels"]


def test_unknown_kinds_and_missing_files_are_refused(tmp_path):
    (tmp_path / "mine.csv").write_text("1,2")
    with pytest.raises(UsageError, match=r"cannot read .*mine.csv: give one of .npz"):
        load(tmp_path / "mine.csv")
    with pytest.raises(DataError, match=r"no file or folder .*absent.npz"):
        load(tmp_path / "absent.npz")
    with pytest.raises(UsageError, match="size, crop and grayscale are for folders"):
        load(write(tmp_path / "mine.npy", x=X), size=8)


def test_arrays_are_no_text(tmp_path):
    np.save(tmp_path / "mine.npy", np.zeros((20, 3)))
    with pytest.raises(UsageError, match=r"likelihood categorical is for text, and .*mine.npy is none"):
        load(tmp_path / "mine.npy", likelihood="categorical")
