import numpy as np
import pytest
import torch
from PIL import Image

from multirate.data import load
from multirate.data.splits import choose
from multirate.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")
COLOUR = np.random.default_rng(0).integers(0, 256, (20, 6, 8, 3), dtype=np.uint8)


def save(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)


def all_of(source):
    return source.batch(torch.arange(len(source)))


def test_a_folder_is_cut_into_splits_in_order_of_path(tmp_path):
    for i, pixels in enumerate(COLOUR):
        save(tmp_path / "pets" / f"{'ab'[i % 2]}" / f"{i // 2:02}.png", pixels)
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    (tmp_path / "pets" / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "pets" / "notes.txt").write_text("no image")
    for split in SPLITS:
        source = load(tmp_path / "pets", split)
        _, indices = choose(split, {"train": 20}, "")
        expected = torch.from_numpy(COLOUR[order][indices]).permute(0, 3, 1, 2).float() / 255
        assert torch.equal(all_of(source), expected)
        assert (source.name, source.shape, source.likelihood) == ("pets", (3, 6, 8), "gaussian")
        assert len(source.details["sha256"]) == 64


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_subfolders_are_splits(tmp_path, name):
    for i, folder in enumerate(("train", name, "test")):
        for j in range(i + 1):
            save(tmp_path / folder / "class" / f"{j}.png", COLOUR[3 * i + j])
    assert [len(load(tmp_path, split)) for split in SPLITS] == [1, 2, 3]
    assert torch.equal(all_of(load(tmp_path, "validation"))[1], torch.from_numpy(COLOUR[4]).permute(2, 0, 1) / 255)


def test_validation_is_cut_from_train_where_only_test_is_there(tmp_path):
    for i, pixels in enumerate(COLOUR):
        save(tmp_path / ("train" if i < 15 else "test") / f"{i}.png", pixels)
    assert [len(load(tmp_path, split)) for split in SPLITS] == [14, 1, 5]


def test_gray_images_have_one_channel_unless_told_otherwise(tmp_path):
    for i, pixels in enumerate(COLOUR):
        save(tmp_path / f"{i:02}.png", pixels[:, :, 0])
    gray = load(tmp_path, "test")
    _, indices = choose("test", {"train": 20}, "")
    assert torch.equal(all_of(gray)[:, 0], torch.from_numpy(COLOUR[indices, :, :, 0]).float() / 255)
    colour = all_of(load(tmp_path, "test", grayscale=False))
    assert torch.equal(colour, all_of(gray).expand(-1, 3, -1, -1))


def test_colour_images_can_be_read_as_gray(tmp_path):
    for i, pixels in enumerate(COLOUR):
        save(tmp_path / f"{i:02}.png", pixels)
    assert load(tmp_path, grayscale=True).shape == (1, 6, 8)


def test_black_and_white_images_are_binary(tmp_path):
    for i, pixels in enumerate(COLOUR):
        save(tmp_path / f"{i:02}.png", (pixels[:, :, 0] > 128).astype(np.uint8) * 255, "1")
    source = load(tmp_path)
    assert set(all_of(source).unique().tolist()) == {0.0, 1.0}
    assert source.likelihood == "bernoulli"


def test_size_cuts_the_centre_square_and_resizes(tmp_path):
    wide = np.zeros((20, 40, 3), dtype=np.uint8)
    wide[:, 10:30] = (200, 100, 50)
    for i in range(10):
        save(tmp_path / f"{i}.png", wide if i % 2 else wide.transpose(1, 0, 2))
    source = load(tmp_path, size=5)
    assert source.shape == (3, 5, 5)
    assert torch.equal(all_of(source)[0, :, 2, 2], torch.tensor([200, 100, 50]) / 255)
    assert torch.equal(all_of(source), all_of(source)[:, :, 2:3, 2:3].expand(-1, -1, 5, 5))
    assert source.details["resize"] == "centre square to 5, bicubic"


def test_crop_cuts_a_square_of_that_side_out_of_the_middle(tmp_path):
    large = np.random.default_rng(1).integers(0, 256, (10, 21, 31, 3), dtype=np.uint8)
    for i, pixels in enumerate(large):
        save(tmp_path / f"{i}.png", pixels)
    source = load(tmp_path, crop=8)
    _, indices = choose("train", {"train": 10}, "")
    # 21 - 8 leaves 6 above and 7 below, 31 - 8 leaves 11 to the left and 12 to the right.
    expected = torch.from_numpy(large[indices, 6:14, 11:19]).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(all_of(source), expected)
    assert source.details["resize"] == "centre square of 8"


def test_a_crop_is_resized_without_anything_from_around_it(tmp_path):
    framed = np.zeros((21, 30, 3), dtype=np.uint8)
    framed[6:14, 11:19] = (200, 100, 50)
    for i in range(10):
        save(tmp_path / f"{i}.png", framed)
    source = load(tmp_path, crop=8, size=5)
    assert torch.equal(all_of(source), (torch.tensor([200, 100, 50]) / 255).view(1, 3, 1, 1).expand(8, 3, 5, 5))
    assert source.details["resize"] == "centre square of 8 to 5, bicubic"


def test_resizing_agrees_with_another_antialiased_bicubic(tmp_path):
    smooth = torch.nn.functional.interpolate(
        torch.rand(10, 3, 5, 5, generator=torch.Generator().manual_seed(0)), 24, mode="bicubic"
    )
    images = smooth.mul(255).clamp(0, 255).to(torch.uint8)
    for i, pixels in enumerate(images):
        save(tmp_path / f"{i}.png", pixels.permute(1, 2, 0).numpy())
    _, indices = choose("train", {"train": 10}, "")
    expected = torch.nn.functional.interpolate(images[indices].float(), 9, mode="bicubic", antialias=True)
    # Pillow rounds after each axis; bilinear, Lanczos and nearest are 12 to 37 levels off.
    assert (all_of(load(tmp_path, size=9)).mul(255) - expected.clamp(0, 255)).abs().max() < 3


def test_an_image_smaller_than_the_crop_is_named(tmp_path):
    for i, pixels in enumerate(COLOUR):
        save(tmp_path / f"{i:02}.png", pixels)
    with pytest.raises(DataError, match=r"\d.png is 8x6, smaller than crop=7; give a smaller crop"):
        load(tmp_path, crop=7)


def test_images_above_the_limit_are_decoded_once_and_mapped(tmp_path, cache):
    for i, pixels in enumerate(COLOUR):
        save(tmp_path / "pets" / f"{i:02}.png", pixels)
    for options in ({}, {"size": 4}, {"crop": 5}, {"grayscale": True}, {"scale": 1}):
        for split in SPLITS:
            held, mapped = (load(tmp_path / "pets", split, memory_limit=limit, **options) for limit in (1, 0))
            assert (type(held).__name__, type(mapped).__name__) == ("TensorSource", "MappedSource")
            assert torch.equal(all_of(held), all_of(mapped))
            assert mapped.details == {**held.details, "storage": "mapped"}
            assert (held.likelihood, held.value_range) == (mapped.likelihood, mapped.value_range)
    # Another scale needs no other pixels.
    assert len(list((cache / "prepared").glob("pets-*.npy"))) == 4 * len(SPLITS)


def test_images_of_one_shape_that_were_cut_in_another_way_are_not_mixed_up(tmp_path):
    for i, pixels in enumerate(COLOUR):
        save(tmp_path / f"{i:02}.png", pixels)
    looks = [{"crop": 4, "size": 4}, {"crop": 6, "size": 4}, {"crop": 4, "size": 4, "grayscale": True}]
    first, second, gray = (load(tmp_path, memory_limit=0, **look) for look in looks)
    assert (first.shape, second.shape, gray.shape) == ((3, 4, 4), (3, 4, 4), (1, 4, 4))
    assert not torch.equal(all_of(first), all_of(second))


def test_black_and_white_images_that_are_mapped_are_binary(tmp_path):
    for i, pixels in enumerate(COLOUR):
        save(tmp_path / f"{i:02}.png", (pixels[:, :, 0] > 128).astype(np.uint8) * 255)
    source = load(tmp_path, memory_limit=0)
    assert set(all_of(source).unique().tolist()) == {0.0, 1.0}
    assert source.likelihood == "bernoulli"


def test_jpeg_images_are_read(tmp_path):
    for i in range(10):
        save(tmp_path / f"{i}.JPG", np.full((8, 8, 3), 100, dtype=np.uint8))
    assert all_of(load(tmp_path)).sub(100 / 255).abs().max() < 0.02


BAD_FILES = {
    "another size": (lambda p: save(p, COLOUR[0][:, :4]), "is 4x6, other images are 8x6; give size="),
    "text": (lambda p: p.write_bytes(b"text"), "no readable PNG or JPEG"),
    "empty": (lambda p: p.write_bytes(b""), "no readable PNG or JPEG"),
    "cut": (lambda p: (save(p, COLOUR[0]), p.write_bytes(p.read_bytes()[:120])), "truncated or corrupt"),
    "16 bits": (lambda p: save(p, np.full((6, 8), 1000, dtype=np.uint16)), "not of 8 bits"),
    "GIF": (lambda p: p.write_bytes(b"GIF89a"), "no readable PNG or JPEG"),
}


@pytest.mark.parametrize(("make", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_image_is_named(tmp_path, make, message):
    for i in range(10):
        save(tmp_path / f"{i}.png", COLOUR[i])
    _, train = choose("train", {"train": 10}, "")
    bad = tmp_path / f"{train[-1]}.png"
    make(bad)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path)
    assert str(bad) in str(caught.value)


# Pillow has limits of its own, at which it warns and at twice of which it refuses.
@pytest.mark.parametrize("limit", ["multirate.data.images._PIXELS", "PIL.Image.MAX_IMAGE_PIXELS"])
@pytest.mark.parametrize("pixels", [47, 20])
def test_an_image_of_absurd_size_is_refused(tmp_path, monkeypatch, limit, pixels):
    monkeypatch.setattr(limit, pixels)
    for i in range(10):
        save(tmp_path / f"{i}.png", COLOUR[i])
    with pytest.raises(DataError, match=r"0.png has more than 64 million pixels; make it smaller or leave it out"):
        load(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no PNG or JPEG images"):
        load(tmp_path)


def test_options_that_do_not_apply_are_refused(tmp_path):
    with pytest.raises(UsageError, match="key='x' is for files of arrays"):
        load(tmp_path, key="x")
    with pytest.raises(UsageError, match="size is the side"):
        load(tmp_path, size=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("crop", 0),
        ("crop", "a"),
        ("crop", True),
        ("size", "abc"),
        ("size", 2.5),
        ("size", True),
        ("grayscale", "yes"),
        ("grayscale", 1),
    ],
)
def test_an_option_of_the_wrong_type_is_refused(tmp_path, option, value):
    save(tmp_path / "a.png", COLOUR[0])
    with pytest.raises(UsageError, match=rf"{option} is .*; got '?{value}"):
        load(tmp_path, **{option: value})
