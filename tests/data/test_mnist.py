import gzip
import hashlib

import numpy as np
import pytest
import torch

from multirate.data import load
from multirate.data.mnist import read_amat
from multirate.errors import DataError

SIZES = {"train": 50_000, "validation": 10_000, "test": 10_000}
FIRST_LABELS = {"train": [5, 0, 4, 1, 9], "validation": [3, 8, 6, 9, 6], "test": [7, 2, 1, 0, 4]}
LABEL_COUNTS = {
    "train": [4932, 5678, 4968, 5101, 4859, 4506, 4951, 5175, 4842, 4988],
    "validation": [991, 1064, 990, 1030, 983, 915, 967, 1090, 1009, 961],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}
BITS = {
    "train": "fb8d3f06277676970ab76c218d94e7fb335179e9d45378d31c0c1680060b9d42",
    "validation": "dfda621c37258d30b9ed232ec6f75bf0d26ace5a6aa2c2e6d326a61088990f7e",
    "test": "7ccc9bd7810cc085986a1431e5ec25451fb4177dfa923b0088d70a83d09d4367",
}


def all_of(source):
    return source.batch(torch.arange(len(source)))


def amat(bits, end="\n"):
    return end.join(" ".join(map(str, row)) for row in bits.astype(int)).encode() + end.encode()


@pytest.mark.parametrize("split", ["test", *(pytest.param(s, marks=pytest.mark.slow) for s in ("train", "validation"))])
def test_mnist_is_fixed_to_the_bit(data_dir, split):
    source = load("mnist", split, data_dir=data_dir, download=False)
    images = all_of(source)
    assert images.shape == (SIZES[split], 1, 28, 28)
    assert (source.name, source.split, source.shape, source.likelihood) == ("mnist", split, (1, 28, 28), "bernoulli")
    assert source.labels[:5].tolist() == FIRST_LABELS[split]
    assert torch.bincount(source.labels).tolist() == LABEL_COUNTS[split]
    assert hashlib.sha256(np.packbits(images.numpy().astype(bool)).tobytes()).hexdigest() == BITS[split]


@pytest.mark.slow
def test_gray_mnist_has_its_known_mean_and_the_bits_agree_with_it(data_dir):
    gray = {s: all_of(load("mnist", s, data_dir=data_dir, download=False, binarize="none")).double() for s in SIZES}

    training = (gray["train"].sum() + gray["validation"].sum()) / (60_000 * 784)
    assert training.item() == pytest.approx(0.1306604762738429, abs=1e-8)
    assert gray["test"].mean().item() == pytest.approx(0.1325146070, abs=1e-8)

    bits = all_of(load("mnist", "test", data_dir=data_dir, download=False))
    p = gray["test"]
    spread = (p * (1 - p)).mean().div(p.numel()).sqrt()
    assert abs(bits.mean() - p.mean()) < 4 * spread
    assert not bits[p == 0].any()
    assert bits[p == 1].all()


def test_mnist_binarization_equals_the_frozen_stream(data_dir):
    source = load("mnist", "test", data_dir=data_dir, download=False)
    with gzip.open(data_dir / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        file.read(16)
        gray = np.frombuffer(file.read(20 * 784), dtype=np.uint8)
    expected = np.random.RandomState(2).random_sample(20 * 784) < gray / 255
    np.testing.assert_array_equal(source.batch(torch.arange(20)).numpy().ravel(), expected)


def test_labels_are_left_out_where_their_file_is_missing(data_dir, tmp_path):
    name = "t10k-images-idx3-ubyte.gz"
    (tmp_path / name).symlink_to(data_dir / "mnist" / name)
    assert load("mnist", "test", data_dir=tmp_path, download=False).labels is None


def test_a_file_with_other_content_is_not_mnist(write_idx, tmp_path):
    write_idx(np.zeros((10_000, 28, 28), dtype=np.uint8), "t10k-images-idx3-ubyte.gz")
    with pytest.raises(DataError, match="other data than the canonical file"):
        load("mnist", "test", data_dir=tmp_path, download=False)


def test_the_record_says_how_it_was_made(data_dir):
    details = load("mnist", "test", data_dir=data_dir, download=False).details
    assert details["binarize"] == "static"
    assert details["binarize_seed"] == 2
    assert list(details["files"]) == ["t10k-images-idx3-ubyte.gz"]


def test_fashion_mnist_is_gray_by_default(write_idx, tmp_path):
    gray = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28), dtype=np.uint8)
    labels = np.arange(10_000) % 10
    # Not compressed: gzip takes seconds on noise, and the reader goes by content.
    for name, array in (("t10k-images-idx3-ubyte", gray), ("t10k-labels-idx1-ubyte", labels)):
        write_idx(array, f"fashion-mnist/{name}").rename(tmp_path / "fashion-mnist" / f"{name}.gz")

    source = load("fashion-mnist", "test", data_dir=tmp_path, download=False)

    assert (source.name, source.likelihood, len(source)) == ("fashion-mnist", "gaussian", 10_000)
    assert torch.equal(all_of(source)[:, 0], torch.from_numpy(gray).float() / 255)
    assert torch.equal(source.labels, torch.from_numpy(labels))
    assert load("fashion-mnist", "test", data_dir=tmp_path, binarize="static").likelihood == "bernoulli"


def test_mnist_files_are_not_taken_for_fashion_mnist(data_dir):
    with pytest.raises(DataError, match="is the file of mnist, which has the same name"):
        load("fashion-mnist", "test", data_dir=data_dir / "mnist", download=False)


@pytest.mark.slow
def test_the_published_binarization_is_read(tmp_path):
    bits = np.random.default_rng(0).random((10_000, 784)) < 0.1
    text = np.full((10_000, 2 * 784), ord(" "), dtype=np.uint8)
    text[:, ::2] = bits + ord("0")
    text[:, -1] = ord("\n")
    path = tmp_path / "binarized_mnist_test.amat"
    path.write_bytes(text.tobytes())

    source = load("mnist-larochelle", "test", data_dir=tmp_path, download=False)

    assert (source.name, source.likelihood, source.shape) == ("mnist-larochelle", "bernoulli", (1, 28, 28))
    np.testing.assert_array_equal(all_of(source).numpy().reshape(10_000, 784), bits)
    assert source.details["files"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


SMALL = np.random.default_rng(1).random((6, 5)) < 0.5


@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
def test_lines_may_end_in_any_blank(tmp_path, end):
    path = tmp_path / "small.amat"
    path.write_bytes(amat(SMALL, end))
    np.testing.assert_array_equal(read_amat(path, 6, 5), SMALL)


def test_the_last_line_needs_no_end(tmp_path):
    path = tmp_path / "small.amat"
    path.write_bytes(amat(SMALL)[:-1])
    np.testing.assert_array_equal(read_amat(path, 6, 5), SMALL)


BAD_AMAT = {
    "a row less": (amat(SMALL[:-1]), "is not 6 lines of 5 numbers"),
    "a row more": (amat(np.vstack([SMALL, SMALL[:1]])), "is not 6 lines of 5 numbers"),
    "cut in a row": (amat(SMALL)[:-4], "is not 6 lines of 5 numbers"),
    "rows of other lengths": (amat(SMALL).replace(b"\n", b" ", 1).replace(b" ", b"\n", 1), "is not 6 lines"),
    "a two": (amat(SMALL)[:-2] + b"2\n", "something else than the numbers 0 and 1"),
    "no blanks": (amat(SMALL).replace(b" ", b""), "something else than the numbers 0 and 1"),
    "a web page": (b"<html>", "something else than the numbers 0 and 1"),
    "empty": (b"", "is not 6 lines of 5 numbers"),
    "too long": (b" " * 1000, "too long"),
}


@pytest.mark.parametrize(("content", "message"), BAD_AMAT.values(), ids=BAD_AMAT.keys())
def test_a_damaged_amat_file_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "bad.amat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_amat(path, 6, 5)
    assert str(path) in str(caught.value)


def test_a_missing_amat_file_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_amat(tmp_path / "absent.amat", 6, 5)
