import dataclasses
import gzip
import hashlib
import io
import tarfile
import warnings

import pytest

from multirate.data import describe, fetch, load
from multirate.data.catalog import DATA_SETS
from multirate.data.vocabulary import Vocabulary
from multirate.errors import DataError

SPLITS = ("train", "validation", "test")
TEXT = {
    "train": [f"question {i} ? answer _UNK {i % 3}" for i in range(40)],
    "validation": [f"query v{i} ? answer my_UNK _UNK" for i in range(20)],
    "test": ["question 3 ? never _UNK", "answer ?"],
}


def content_of(split, label=""):
    return "".join(f"{label}{line}\n" for line in TEXT[split]).encode()


PUBLISHED = DATA_SETS["yahoo"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Yahoo Answers with as few documents, and of this content."""
    entry = DATA_SETS["yahoo"]
    parts = {
        split: dataclasses.replace(part, md5=hashlib.md5(content_of(split)).hexdigest())
        for split, part in entry.parts.items()
    }
    sizes = {split: len(lines) for split, lines in TEXT.items()}
    monkeypatch.setitem(DATA_SETS, "yahoo", dataclasses.replace(entry, examples=sizes, parts=parts))


def write(folder, names, label=""):
    for split, name in zip(SPLITS, names, strict=True):
        if name is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = content_of(split, label)
            path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return folder


def write_archive(path):
    with tarfile.open(path, "w:gz") as archive:
        for split, name in zip(SPLITS, ("train", "valid", "test"), strict=True):
            content = content_of(split)
            member = tarfile.TarInfo(f"yahoo-answer-100k/yahoo.{name}.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def texts(source):
    return [source.text(i) for i in range(len(source))]


def assert_is_whole(folder):
    words = Vocabulary.build(line.replace("_UNK", "<unk>") for line in TEXT["train"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for split, lines in TEXT.items():
            source = load("yahoo", split, data_dir=folder, download=False)
            assert source.vocabulary == words
            assert texts(source) == [words.decode(words.encode(line)) for line in lines]
            assert (source.name, source.split) == ("yahoo", split)
            assert "substitute" not in source.details
    assert "_UNK" not in words


LAYOUTS = {
    "gzipped": ("yahoo/train.txt.gz", "yahoo/val.txt.gz", "yahoo/test.txt.gz"),
    "plain": ("train.txt", "valid.txt", "test.txt"),
    "as published": ("yahoo/yahoo.train.txt", "yahoo/yahoo.valid.txt", "yahoo/yahoo.test.txt"),
    "unpacked": tuple(f"yahoo-answer-100k/yahoo.{name}.txt" for name in ("train", "valid", "test")),
}


@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_documents_are_read_under_every_usual_name(tmp_path, names):
    assert_is_whole(write(tmp_path, names))
    assert describe("yahoo", tmp_path)["ready"]
    assert sorted(fetch("yahoo", tmp_path)) == sorted(tmp_path / name for name in names)


def test_documents_are_read_out_of_the_archive(tmp_path):
    path = write_archive(tmp_path / "yahoo-answer-100k.tar.gz")
    assert_is_whole(tmp_path)
    assert describe("yahoo", tmp_path)["ready"]
    assert fetch("yahoo", tmp_path) == [path]


def test_training_text_of_the_archive_goes_with_the_other_files(tmp_path):
    write(tmp_path, (None, "val.txt", "test.txt"))
    write_archive(tmp_path / "yahoo-answer-100k.tar.gz")
    assert_is_whole(tmp_path)


def test_labels_in_front_are_passed_over(tmp_path):
    assert_is_whole(write(tmp_path, LAYOUTS["plain"], label="7\t"))


@pytest.mark.parametrize("download", [True, False])
def test_without_training_text_val_is_cut_and_that_is_said(tmp_path, server, download):
    write(tmp_path, (None, "yahoo/val.txt.gz", "yahoo/test.txt.gz"))
    words = Vocabulary.build(line.replace(" _UNK", "") for line in TEXT["validation"][:18])
    with pytest.warns(UserWarning, match=r"train is the first 18 documents of val, validation its last 2"):
        train = load("yahoo", "train", data_dir=tmp_path, download=download)
    with pytest.warns(UserWarning, match=r"multirate data fetch yahoo"):
        validation = load("yahoo", "validation", data_dir=tmp_path, download=download)
    test = load("yahoo", "test", data_dir=tmp_path, download=download)
    assert texts(train) == [f"query v{i} ? answer my_UNK <unk>" for i in range(18)]
    assert texts(validation) == ["query <unk> ? answer my_UNK <unk>"] * 2
    assert texts(test) == ["<unk> <unk> ? <unk> <unk>", "answer ?"]
    for source in (train, validation, test):
        assert source.vocabulary == words
        assert "train is the first 18 documents of val" in source.details["substitute"]
    assert list(train.details["files"]) == list(validation.details["files"]) == ["val.txt.gz"]
    assert list(test.details["files"]) == ["test.txt.gz"]


def test_without_training_text_the_data_are_ready_but_a_fetch_goes_on(tmp_path, monkeypatch, server):
    write(tmp_path, (None, "val.txt", "test.txt"))
    said = describe("yahoo", tmp_path)
    assert said["ready"]
    assert [(file["path"] is None, file["verified"]) for file in said["files"]] == [
        (True, None),
        (False, True),
        (False, True),
    ]
    path = write_archive(tmp_path / "offered.tar.gz")
    content = path.read_bytes()
    path.unlink()
    name = "yahoo-answer-100k.tar.gz"
    file = dataclasses.replace(
        DATA_SETS["yahoo"].files[0], url=server.offer(name, content), checksum=f"md5:{hashlib.md5(content).hexdigest()}"
    )
    monkeypatch.setitem(DATA_SETS, "yahoo", dataclasses.replace(DATA_SETS["yahoo"], files=(file,)))
    assert fetch("yahoo", tmp_path) == [tmp_path / "yahoo" / name]
    assert_is_whole(tmp_path)


def test_val_alone_is_not_enough(tmp_path):
    write(tmp_path, (None, "val.txt", None))
    with pytest.raises(DataError, match=r"yahoo needs yahoo-answer-100k.tar.gz.*multirate data fetch yahoo"):
        load("yahoo", data_dir=tmp_path, download=False)
    assert not describe("yahoo", tmp_path)["ready"]


@pytest.mark.parametrize("split", SPLITS)
def test_a_training_text_of_another_length_is_refused_for_every_split(tmp_path, split):
    write(tmp_path, LAYOUTS["plain"])
    (tmp_path / "train.txt").write_text("one document\n")
    with pytest.raises(DataError, match=r"train.txt holds 1 documents, not 40"):
        load("yahoo", split, data_dir=tmp_path)


def test_a_damaged_file_is_not_ready(tmp_path):
    write(tmp_path, LAYOUTS["plain"])
    (tmp_path / "test.txt").write_text("other\n")
    assert not describe("yahoo", tmp_path)["ready"]


# As `wc`, `sort -u` and `awk` count them in the published validation and test files.
@pytest.mark.slow
def test_the_real_files_are_the_published_ones(data_dir, monkeypatch):
    monkeypatch.setitem(DATA_SETS, "yahoo", PUBLISHED)
    if not (data_dir / "yahoo").is_dir():
        pytest.skip("no yahoo/ in the folder of real data sets")
    assert describe("yahoo", data_dir)["ready"]
    source = load("yahoo", "test", data_dir=data_dir, download=False)
    assert (len(source), source.words, source.shape) == (10_000, 788_673 + 10_000, (201,))
    assert source.text(0).startswith("if you were a character from a movie , who would it be and why ?")
    assert "_UNK" not in source.vocabulary
