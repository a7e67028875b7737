import gzip
import hashlib
import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from multirate.data import load
from multirate.data.splits import choose
from multirate.data.vocabulary import Vocabulary
from multirate.errors import DataError, UsageError

pytestmark = pytest.mark.slow

SPLITS = ("train", "validation", "test")
DOCUMENTS = [f"w{i} common w{i % 3}" for i in range(30)]
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 6, 8, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """The package, offline and with a cache of the test's own; skipped where it is not installed."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub-cache"))
    datasets = pytest.importorskip("datasets", reason="the extra hf is not installed: pip install 'multirate[hf]'")
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    return datasets


def png(pixels, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def write(tmp_path, hub):
    """Write parts as parquet files into a folder; return how it is named."""

    def make(images=(), **parts):
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        for part, columns in parts.items():
            rows = hub.Dataset.from_dict(columns)
            for column in images:
                rows = rows.cast_column(column, hub.Image())
            rows.to_parquet(str(folder / f"{part}-00000-of-00001.parquet"), batch_size=1000)
        return f"hf:{folder}"

    return make


def pictures(pixels):
    return [{"bytes": png(one), "path": None} for one in pixels]


def all_of(source):
    return source.batch(torch.arange(len(source)))


def texts(source):
    return [source.text(i) for i in range(len(source))]


def scaled(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def test_text_that_is_no_utf8_is_one_clear_error(write, tmp_path):
    name = write(train={"text": DOCUMENTS}, test={"text": DOCUMENTS})
    for path in (tmp_path / "mine").iterdir():
        path.write_bytes(path.read_bytes().replace(b"common", b"comm\xffn"))
    with pytest.raises(DataError, match="hf:"):
        load(name)


def test_documents_of_parquet_files_are_text(write):
    name = write(
        train={"text": DOCUMENTS[:20], "label": list(range(20))},
        validation={"text": [*DOCUMENTS[20:24], "", None], "label": list(range(6))},
        test={"text": ["w1\ncommon\tnever"], "label": [0]},
    )
    words = Vocabulary.build(DOCUMENTS[:20])
    train, validation, test = (load(name, split) for split in SPLITS)
    assert texts(train) == DOCUMENTS[:20]
    assert texts(validation) == [words.decode(words.encode(line)) for line in DOCUMENTS[20:24]]
    assert texts(test) == ["w1 common <unk>"]
    assert train.vocabulary == validation.vocabulary == test.vocabulary == words
    assert validation.details["empty"] == 2
    assert (train.name, train.split, train.likelihood) == ("mine", "train", "categorical")
    assert (train.details["hub"], train.details["column"]) == (name.removeprefix("hf:"), "text")
    expected = "".join(f"{line}\n" for line in DOCUMENTS[:20]).encode()
    assert train.details["sha256"] == hashlib.sha256(expected).hexdigest()


def test_images_of_parquet_files_are_images(write):
    name = write(
        ["picture"],
        train={"picture": pictures(PIXELS[:20]), "caption": DOCUMENTS[:20]},
        val={"picture": pictures(PIXELS[20:24]), "caption": DOCUMENTS[20:24]},
        test={"picture": pictures(PIXELS[24:]), "caption": DOCUMENTS[24:]},
    )
    for split, part in zip(SPLITS, (PIXELS[:20], PIXELS[20:24], PIXELS[24:]), strict=True):
        source = load(name, split)
        assert torch.equal(all_of(source), scaled(part))
        assert (source.shape, source.likelihood, source.split) == ((3, 6, 8), "gaussian", split)
        expected = np.ascontiguousarray(part.transpose(0, 3, 1, 2)).tobytes()
        assert source.details["sha256"] == hashlib.sha256(expected).hexdigest()
        assert source.details["column"] == "picture"


def test_a_folder_of_images_is_read_with_its_splits(tmp_path):
    for i, pixels in enumerate(PIXELS):
        path = tmp_path / "faces" / ("train" if i < 20 else "test") / "abc"[i % 3] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))
    train, validation, test = (load(f"hf:{tmp_path / 'faces'}", split) for split in SPLITS)
    assert (len(train), len(validation), len(test)) == (18, 2, 10)
    seen = torch.cat([all_of(source) for source in (train, validation, test)])
    assert sorted(map(tuple, seen.flatten(1).tolist())) == sorted(map(tuple, scaled(PIXELS).flatten(1).tolist()))
    assert train.details["split_seed"] == 0
    assert "split_seed" not in test.details


def test_large_images_are_mapped_and_equal_those_in_memory(write, cache):
    name = write(["image"], train={"image": pictures(PIXELS)})
    for split in SPLITS:
        mapped, held = load(name, split, memory_limit=0), load(name, split)
        assert mapped.details["storage"] == "mapped"
        assert torch.equal(all_of(mapped), all_of(held))
        assert mapped.details["sha256"] == held.details["sha256"]
        assert (mapped.shape, mapped.likelihood, mapped.value_range) == (held.shape, held.likelihood, held.value_range)
    assert any(cache.rglob("*.npy"))


def test_images_are_cropped_and_resized_and_made_gray(write):
    flat = np.full((10, 9, 12, 3), 200, dtype=np.uint8)
    flat[:, :, :3] = flat[:, :, 9:] = 0
    name = write(["image"], train={"image": pictures(flat)})
    source = load(name, "test", crop=6, size=4, grayscale=True)
    assert torch.equal(all_of(source), torch.full((1, 1, 4, 4), 200 / 255))
    assert source.details["resize"] == "centre square of 6 to 4, bicubic"


def test_gray_training_images_have_one_channel_in_every_split(write):
    name = write(
        ["image"],
        train={"image": pictures(PIXELS[:20, ..., 0])},
        test={"image": pictures(PIXELS[20:])},
    )
    assert [load(name, split).shape for split in SPLITS] == [(1, 6, 8)] * 3
    assert load(name, "train", grayscale=False).shape == (3, 6, 8)


def test_one_colour_image_in_training_makes_three_channels(write):
    mixed = [*pictures(PIXELS[:19, ..., 0]), *pictures(PIXELS[19:20])]
    assert load(write(["image"], train={"image": mixed}), "test").shape == (3, 6, 8)


@pytest.mark.parametrize("part", ["train", "all", "data"])
def test_a_part_that_is_the_only_one_is_cut(write, part):
    name = write(**{part: {"text": DOCUMENTS}})
    for split in SPLITS:
        _, indices = choose(split, {"train": 30}, "")
        source = load(name, split)
        assert [text.split()[1] for text in texts(source)] == ["common"] * len(indices)
        assert source.details["split_seed"] == 0
    train = load(name, "train")
    assert texts(train) == [DOCUMENTS[i] for i in choose("train", {"train": 30}, "")[1]]
    assert load(name, "test").vocabulary == train.vocabulary == Vocabulary.build(texts(train))


def test_a_missing_test_part_is_cut_from_train_and_validation_stays(write):
    name = write(train={"text": DOCUMENTS[:20]}, valid={"text": ["w1 common", "w2 common"]})
    train, validation, test = (load(name, split) for split in SPLITS)
    assert (len(train), len(validation), len(test)) == (18, 2, 2)
    assert texts(validation) == ["w1 common", "w2 common"]
    assert "split_seed" not in validation.details
    held_out = set(DOCUMENTS[:20]) - set(texts(train))
    words = train.vocabulary
    assert sorted(texts(test)) == sorted(words.decode(words.encode(line)) for line in held_out)


def test_options_of_text_apply(write):
    name = write(train={"text": DOCUMENTS})
    source = load(name, "train", max_words=2, vocabulary_size=5)
    assert (source.shape, source.vocabulary) == ((3,), Vocabulary(["common"]))
    assert source.details["truncated"] == len(source)


COLUMNS = {
    "two of strings": ({"a": DOCUMENTS, "b": DOCUMENTS}, {}, r"several columns of strings \(a, b\).*column=NAME"),
    "no such": ({"a": DOCUMENTS}, {"column": "c"}, "no column 'c' of images or strings; those it has: a"),
    "of numbers": ({"a": list(range(30))}, {}, "no column of images or strings; its columns are a"),
    "named, of numbers": ({"a": list(range(30))}, {"column": "a"}, "no column 'a' of images or strings; .* none"),
}


@pytest.mark.parametrize(("columns", "options", "message"), COLUMNS.values(), ids=COLUMNS.keys())
def test_a_column_that_is_not_clear_is_asked_for(write, columns, options, message):
    with pytest.raises(DataError, match=message):
        load(write(train=columns), **options)


def test_two_columns_of_images_are_asked_for_and_a_named_one_is_used(write):
    columns = {"a": pictures(PIXELS), "b": pictures(PIXELS[::-1])}
    name = write(["a", "b"], train=columns)
    with pytest.raises(DataError, match=r"several columns of images \(a, b\)"):
        load(name)
    order = choose("test", {"train": 30}, "")[1]
    assert torch.equal(all_of(load(name, "test", column="b")), scaled(PIXELS[::-1][order]))


def test_a_column_called_text_goes_before_other_strings_and_images_before_text(write):
    assert load(write(train={"id": DOCUMENTS, "text": DOCUMENTS})).details["column"] == "text"
    name = write(["image"], train={"text": DOCUMENTS, "image": pictures(PIXELS)})
    assert load(name).details["column"] == "image"
    assert load(name, column="text").likelihood == "categorical"


WRONG_OPTIONS = {
    "size of text": ("text", {"size": 8}, "size=8 is for images, and column 'text' holds something else"),
    "memory limit of text": ("text", {"memory_limit": 5}, "memory_limit=5 is for images"),
    "words of images": ("image", {"max_words": 8}, "max_words=8 is for text, and column 'image' holds something else"),
    "counts of images": ("image", {"min_count": 3}, "min_count=3 is for text"),
    "no size": ("image", {"size": 0}, "size is the side of the images"),
    "revision of a folder": ("text", {"revision": "main"}, "revision=main is for data on the hub"),
    "unknown": ("text", {"trust_remote_code": True}, "unknown option 'trust_remote_code'"),
}


@pytest.mark.parametrize(("column", "options", "message"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS.keys())
def test_an_option_that_does_not_go_with_the_data_is_refused(write, column, options, message):
    images = {"train": {"image": pictures(PIXELS)}}
    name = write(train={"text": DOCUMENTS}) if column == "text" else write(["image"], **images)
    with pytest.raises(UsageError, match=message):
        load(name, **options)


BAD_IMAGES = {
    "no image": ({"bytes": b"text", "path": None}, "row 3 of column 'image' is no readable PNG or JPEG"),
    "cut short": ({"bytes": png(PIXELS[0])[:120], "path": None}, "row 3 of column 'image' is truncated or corrupt"),
    "of another size": ({"bytes": png(PIXELS[0, :4]), "path": None}, r"row 3 .* is 8x4, other images are 8x6"),
    "of 16 bits": ({"bytes": png(PIXELS[0, ..., 0].astype(np.uint16)), "path": None}, "row 3 .*not of 8 bits"),
    "missing": (None, "row 3 of column 'image' holds no image"),
    "a lost file": ({"bytes": None, "path": "lost.png"}, "cannot read .*row 3 .*lost.png"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_a_bad_image_is_one_clear_error_that_names_its_row(write, bad, message):
    rows = pictures(PIXELS[:5])
    rows[3] = bad
    name = write(["image"], train={"image": rows}, test={"image": rows}, validation={"image": rows})
    with pytest.raises(DataError, match=message) as raised:
        load(name)
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_missing_or_empty_or_damaged_is_one_clear_error(tmp_path, write):
    with pytest.raises(DataError, match=r"hf:.*absent: no folder .*absent; check the path"):
        load(f"hf:{tmp_path / 'absent'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"cannot load hf:.*empty: .*; check the files"):
        load(f"hf:{tmp_path / 'empty'}")
    name = write(train={"text": DOCUMENTS})
    (tmp_path / "mine" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match=r"cannot load hf:.*mine: .*; check the files") as raised:
        load(name)
    assert "\n" not in str(raised.value)


def test_no_name_is_no_data_set():
    with pytest.raises(UsageError, match="hf: needs the name of a data set or the path of a folder"):
        load("hf:")


def test_parts_without_train_are_named(write):
    with pytest.raises(DataError, match=r"has the parts .*, none of them train; choose another config"):
        load(write(test={"text": DOCUMENTS}, validation={"text": DOCUMENTS}))


def test_an_unknown_config_is_one_clear_error(write):
    with pytest.raises(DataError, match=r"cannot load hf:.*nope"):
        load(write(train={"text": DOCUMENTS}), config="nope")


def test_code_in_a_data_set_is_never_run(tmp_path):
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    with pytest.raises(DataError, match=r"cannot load hf:.*evil: .*script"):
        load(f"hf:{folder}")
    assert not (folder / "ran").exists()


def test_data_on_the_hub_cannot_be_had_offline(tmp_path):
    with pytest.raises(DataError, match=r"cannot load hf:nobody/nothing: .*; check the name, config=... and revision"):
        load("hf:nobody/nothing")
    with pytest.raises(UsageError, match=r"hf:nobody/nothing is on the hub; .*HF_HUB_OFFLINE=1"):
        load("hf:nobody/nothing", download=False)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"needs the package datasets .*pip install 'multirate\[hf\]'"):
        load("hf:user/name")


def test_text_files_of_a_folder_are_read_too(tmp_path):
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "train.txt.gz").write_bytes(gzip.compress("\n".join(DOCUMENTS).encode()))
    assert len(load(f"hf:{tmp_path / 'lines'}", "train")) == 24


def test_a_changed_folder_is_read_anew(write):
    first = load(write(train={"text": DOCUMENTS}))
    second = load(write(train={"text": DOCUMENTS[::-1]}))
    assert texts(first) != texts(second)


def test_changed_images_of_the_same_size_are_not_taken_from_the_cache(write):
    for pixels in (PIXELS, PIXELS[::-1]):
        name = write(["image"], train={"image": pictures(pixels)})
        assert torch.equal(all_of(load(name, memory_limit=0)), all_of(load(name)))


def test_the_global_generator_stays_as_it_was(write):
    name = write(train={"text": DOCUMENTS})
    before = torch.get_rng_state()
    load(name)
    assert torch.equal(torch.get_rng_state(), before)
