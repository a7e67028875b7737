import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from multirate.data import dsprites, dsprites_file, load
from multirate.data.dsprites import COUNT, FILE, split_rows
from multirate.data.dsprites_file import grid_factors, read_packed
from multirate.data.dsprites_render import render
from multirate.errors import DataError, UsageError

SIZES = {"train": 717_280, "validation": 10_000, "test": 10_000}
FACTORS = {"colour": 1, "shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
CHUNK = dsprites_file._CHUNK
# Not a multiple of what is read at once, which is 50 images here.
SMALL = 130


class Bomb:
    """Unpickling it is an error."""

    def __reduce__(self):
        return (pytest.fail, ("metadata was unpickled",))


def made_images(count=SMALL):
    return (np.random.default_rng(0).random((count, 64, 64)) < 0.04).astype(np.uint8)


def made_classes(count=SMALL):
    return np.array(list(np.ndindex(*FACTORS.values()))[:count], dtype=np.int64)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write an npz file as the published one is: compressed, with a pickled object beside the arrays."""
    monkeypatch.setattr(dsprites_file, "_CHUNK", 50)

    def made(name=FILE, **changed):
        arrays = {
            "metadata": np.array([Bomb()], dtype=object),
            "imgs": made_images(),
            "latents_classes": made_classes(),
        }
        arrays["latents_values"] = arrays["latents_classes"] / 7.0
        path = tmp_path / name
        np.savez_compressed(path, **{k: v for k, v in (arrays | changed).items() if v is not None})
        return path

    return made


def test_the_published_file_is_read_to_the_bit_and_nothing_is_unpickled(write):
    path = write()
    with pytest.raises(pytest.fail.Exception), np.load(path, allow_pickle=True) as file:
        _ = file["metadata"]
    packed = np.concatenate(list(read_packed(path, SMALL)))
    np.testing.assert_array_equal(np.unpackbits(packed, axis=1), made_images().reshape(SMALL, -1))


@pytest.mark.slow
def test_reading_holds_a_fraction_of_the_pixels_in_memory(write, monkeypatch):
    monkeypatch.setattr(dsprites_file, "_CHUNK", CHUNK)
    count = 5_000
    path = write(imgs=np.zeros((count, 64, 64), np.uint8), latents_classes=made_classes(count))
    tracemalloc.start()
    total = sum(len(chunk) for chunk in read_packed(path, count))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == count
    assert peak < count * 4096 / 3


def test_other_types_of_integers_are_as_good_for_the_factors(write):
    path = write(latents_classes=made_classes().astype(">i4"))
    assert sum(len(chunk) for chunk in read_packed(path, SMALL)) == SMALL


BAD_ARRAYS = {
    "fewer images": ({"imgs": made_images(10)}, "imgs is 10 x 64 x 64 uint8, not 130 x 64 x 64 bytes"),
    "another side": ({"imgs": np.zeros((SMALL, 32, 32), np.uint8)}, "imgs is 130 x 32 x 32 uint8"),
    "floats": ({"imgs": np.zeros((SMALL, 64, 64), np.float32)}, "imgs is 130 x 64 x 64 float32"),
    "wide integers": ({"imgs": np.zeros((SMALL, 64, 64), np.uint16)}, "imgs is 130 x 64 x 64 uint16"),
    "objects": ({"imgs": np.array([Bomb()], dtype=object)}, "imgs is 1 object"),
    "other order": ({"imgs": np.asfortranarray(np.zeros((SMALL, 64, 64), np.uint8))}, "in Fortran's order"),
    "gray": ({"imgs": made_images() * 255}, "imgs has a pixel of 255, not 0 or 1"),
    "no images": ({"imgs": None}, "holds no array imgs, but metadata.npy"),
    "no factors": ({"latents_classes": None}, "holds no array latents_classes"),
    "shuffled": ({"latents_classes": made_classes()[::-1]}, "latents_classes is not the grid of all factors"),
    "late change": (
        {"latents_classes": made_classes() + (np.arange(SMALL) == SMALL - 1)[:, None]},
        "latents_classes is not the grid of all factors",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("changed", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_a_file_of_another_structure_is_one_clear_error(write, changed, message):
    path = write(**changed)
    with pytest.raises(DataError, match=f"{message}.*remove it and fetch it again"):
        list(read_packed(path, SMALL))


def test_a_damaged_file_is_one_clear_error(write, tmp_path):
    path = write()
    whole = path.read_bytes()
    middle, first = len(whole) // 2, whole.index(b"imgs.npy") + 40
    overwritten = [whole[:at] + b"\xff" * 64 + whole[at + 64 :] for at in (middle, first)]
    for content in (whole[:middle], b"", b"text", *overwritten):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"truncated or corrupt.*remove it and fetch it again"):
            list(read_packed(path, SMALL))
    with pytest.raises(DataError, match="missing"):
        list(read_packed(tmp_path / "absent.npz", SMALL))


@pytest.mark.slow
@pytest.mark.parametrize(("change", "message"), [(-4096, "imgs ends after 129 rows"), (1, "imgs is longer")])
def test_an_array_that_differs_from_its_header_in_length_is_one_clear_error(write, change, message):
    path = write()
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = members["imgs.npy"]
    members["imgs.npy"] = content[:change] if change < 0 else content + bytes(change)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match=message):
        list(read_packed(path, SMALL))


def test_a_kind_of_compression_that_cannot_be_unpacked_piece_by_piece_is_refused(write):
    path = write(imgs=None)
    with zipfile.ZipFile(path) as archive:
        classes = archive.read("latents_classes.npy")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("latents_classes.npy", classes)
    with pytest.raises(DataError, match=r"latents_classes is not compressed by deflate.*remove it and fetch it again"):
        list(read_packed(path, SMALL))


def test_factors_count_through_the_grid_with_the_last_one_first():
    np.testing.assert_array_equal(grid_factors(np.arange(2000)), list(np.ndindex(*FACTORS.values()))[:2000])
    assert grid_factors(np.array([COUNT - 1])).tolist() == [[0, 2, 5, 39, 31, 31]]


def test_splits_are_disjoint_and_cover_the_grid():
    parts = {split: split_rows(split) for split in SIZES}
    assert {split: len(rows) for split, rows in parts.items()} == SIZES
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(COUNT))


def test_splits_are_those_of_the_fixed_permutation():
    order = np.random.RandomState(0).permutation(COUNT)
    np.testing.assert_array_equal(split_rows("validation"), order[:10_000])
    np.testing.assert_array_equal(split_rows("test"), order[10_000:20_000])
    np.testing.assert_array_equal(split_rows("train"), order[20_000:])


@pytest.mark.parametrize("split", SIZES)
def test_the_first_examples_are_a_fair_sample_of_every_factor(split):
    factors = grid_factors(split_rows(split)[:3000])
    for column, size in zip(factors.T, FACTORS.values(), strict=True):
        counts = np.bincount(column, minlength=size)
        assert len(counts) == size
        # Within five standard deviations of an equal share.
        np.testing.assert_allclose(counts, 3000 / size, atol=5 * np.sqrt(3000 / size) + 1e-9)


BAD_OPTIONS = {
    "rendering": ({"rendering": "pretty"}, "unknown rendering 'pretty'; choose one of auto, canonical, procedural"),
}


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
def test_an_option_that_cannot_be_right_says_so(options, message):
    with pytest.raises(UsageError, match=message):
        load("dsprites", "test", **options)


@pytest.fixture
def asked(monkeypatch):
    """Stand in for the cache: keep what was to be prepared, give no pixels."""
    calls = []

    def prepared(name, key, shape, chunks):
        calls.append((name, key, shape, chunks))
        return None, "digest", None

    monkeypatch.setattr(dsprites, "prepared_rows", prepared)
    return calls


def test_without_the_file_the_images_are_drawn_and_nothing_is_downloaded(asked):
    source = load("dsprites", "validation")
    assert source.details["rendering"] == "procedural, version 1"
    assert asked[0][:3] == ("dsprites", {"rendering": "procedural", "version": 1}, (COUNT, 512))
    assert source.details["split_seed"] == 0


def test_the_file_is_used_where_it_is_unless_the_images_are_to_be_drawn(asked, write, tmp_path):
    path = write()
    found = {
        rendering: load("dsprites", "test", data_dir=tmp_path, rendering=rendering).details
        for rendering in ("auto", "canonical", "procedural")
    }
    assert [details["rendering"] for details in found.values()] == ["canonical", "canonical", "procedural, version 1"]
    assert list(found["auto"]["files"]) == [path.name]
    assert asked[0][1] == asked[1][1]
    with pytest.raises(DataError, match=r"imgs|latents_classes"):  # it has too few images to be the published file
        list(asked[0][3]())


@pytest.mark.slow
def test_another_file_is_prepared_anew(asked, write, tmp_path):
    for images in (made_images(), made_images()[::-1]):
        write(imgs=images)
        load("dsprites", "test", data_dir=tmp_path)
    assert asked[0][1] != asked[1][1]


def test_the_file_is_asked_for_by_name_where_it_is_missing(tmp_path):
    with pytest.raises(DataError, match=f"dsprites needs {FILE}.*multirate data fetch dsprites"):
        load("dsprites", "test", data_dir=tmp_path, download=False, rendering="canonical")


@pytest.mark.slow
def test_each_image_is_the_one_of_its_factors(cache):
    source = load("dsprites", "test")
    images = source.batch(torch.arange(2000))
    assert (images.shape, images.dtype) == ((2000, 1, 64, 64), torch.float32)
    assert (source.likelihood, source.shape, source.name) == ("bernoulli", (1, 64, 64), "dsprites")
    assert dict(zip(source.factor_names, source.factor_sizes, strict=True)) == FACTORS
    assert (source.factors.shape, source.factors.dtype) == ((10_000, 6), torch.int64)
    for index in range(0, 2000, 40):
        _, shape, scale, orientation, x, y = source.factors[index].tolist()
        drawn = np.unpackbits(render(shape, scale, orientation)[32 * x + y]).reshape(64, 64)
        np.testing.assert_array_equal(images[index, 0].numpy(), drawn)
    files = sorted(path.suffix for path in cache.rglob("*") if path.is_file())
    again = load("dsprites", "train")
    assert sorted(path.suffix for path in cache.rglob("*") if path.is_file()) == files == [".json", ".npy"]
    assert again.details["images"] == source.details["images"]
