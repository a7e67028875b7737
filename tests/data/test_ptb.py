import dataclasses
import gzip
import hashlib
import io
import tarfile

import pytest
import torch

from multirate.data import describe, fetch, load
from multirate.data.catalog import DATA_SETS
from multirate.data.download import RemoteFile
from multirate.data.vocabulary import Vocabulary
from multirate.errors import DataError, UsageError

TEXT = {
    "train": [" no it was <unk> black monday ", " N stocks fell ", " it was N "],
    "validation": [" it fell "],
    "test": [" stocks never <unk> ", " no "],
}
FILES = {"train": "train", "validation": "valid", "test": "test"}
LAYOUTS = {
    "as published": "ptb/ptb.{}.txt",
    "without ptb": "ptb/{}.txt",
    "gzipped": "ptb/{}.txt.gz",
    "in the folder itself": "ptb.{}.txt.gz",
    "unpacked": "simple-examples/data/ptb.{}.txt",
}

PUBLISHED = DATA_SETS["ptb"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Penn Treebank with as few sentences, and of this content."""
    parts = {
        split: dataclasses.replace(part, md5=hashlib.md5(content_of(split)).hexdigest())
        for split, part in DATA_SETS["ptb"].parts.items()
    }
    sizes = {split: len(lines) for split, lines in TEXT.items()}
    monkeypatch.setitem(DATA_SETS, "ptb", dataclasses.replace(DATA_SETS["ptb"], examples=sizes, parts=parts))


def content_of(split):
    return "".join(f"{line}\n" for line in TEXT[split]).encode()


def write(folder, layout):
    for split, name in FILES.items():
        path = folder / layout.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = content_of(split)
        path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return folder


def write_archive(path, members=FILES, prefix="./simple-examples/data/"):
    with tarfile.open(path, "w:gz") as archive:
        for split, name in members.items():
            content = content_of(split)
            member = tarfile.TarInfo(f"{prefix}ptb.{name}.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def assert_is_ptb(folder):
    for split, lines in TEXT.items():
        source = load("ptb", split, data_dir=folder, download=False)
        assert source.vocabulary.words[4:] == ("it", "was", "N", "no", "black", "monday", "stocks", "fell")
        expected = [line.strip().replace("never", "<unk>") for line in lines]
        assert [source.text(i) for i in range(len(source))] == expected
        assert (source.name, source.split, source.likelihood) == ("ptb", split, "categorical")
        assert list(source.details["files"].values()) == [hashlib.sha256(content_of(split)).hexdigest()]
        assert source.details["checksum_of"] == "unzipped content"


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_sentences_are_read_under_every_usual_name(tmp_path, layout):
    assert_is_ptb(write(tmp_path, layout))
    assert describe("ptb", tmp_path)["ready"]
    assert sorted(fetch("ptb", tmp_path)) == sorted(tmp_path / layout.format(name) for name in FILES.values())


@pytest.mark.parametrize("prefix", ["./simple-examples/data/", "simple-examples/data/"])
def test_sentences_are_read_out_of_mikolovs_archive_without_unpacking_it(tmp_path, prefix):
    path = write_archive(tmp_path / "simple-examples.tgz", prefix=prefix)
    assert_is_ptb(tmp_path)
    said = describe("ptb", tmp_path)
    assert said["ready"]
    assert {file["path"] for file in said["files"]} == {str(path)}
    assert fetch("ptb", tmp_path) == [path]
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_that_was_named_goes_first(tmp_path, cache):
    write(cache, "ptb/ptb.{}.txt")
    (cache / "ptb" / "ptb.train.txt").write_text("other\n" * 3)
    assert_is_ptb(write(tmp_path, "{}.txt.gz"))


def test_missing_files_are_named_with_address_and_licence(tmp_path):
    with pytest.raises(DataError, match=r"ptb needs ptb.train.txt.*multirate data fetch ptb.*LDC") as raised:
        load("ptb", data_dir=tmp_path, download=False)
    assert "\n" not in str(raised.value)
    said = describe("ptb", tmp_path)
    assert not said["ready"]
    assert [file["name"] for file in said["files"]] == ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"]
    assert "LDC" in said["licence"]


def test_missing_files_are_downloaded_and_verified(server, tmp_path, monkeypatch, capfd):
    files = tuple(
        RemoteFile(
            f"ptb.{name}.txt", server.offer(f"ptb.{name}.txt", content), f"md5:{hashlib.md5(content).hexdigest()}"
        )
        for split, name in FILES.items()
        for content in [content_of(split)]
    )
    monkeypatch.setitem(DATA_SETS, "ptb", dataclasses.replace(DATA_SETS["ptb"], files=files))
    source = load("ptb", "test", data_dir=tmp_path)
    assert source.text(0) == "stocks <unk> <unk>"
    assert sorted(server.requests) == ["/ptb.test.txt", "/ptb.train.txt"]
    assert "LDC" in capfd.readouterr().err
    fetch("ptb", tmp_path)
    assert_is_ptb(tmp_path)


DAMAGE = {
    "another text": (b"a\nb\n", "holds 2 documents, not 3"),
    "an empty line": (b"a\n\nb\nc\n", "holds 3 documents and 1 empty lines, not 3"),
    "nothing": (b"", "holds no text"),
    "not UTF-8": (b"a\n\xff\nb\n", "line 2: not UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_training_file_that_is_not_ptb_is_refused_for_every_split(tmp_path, content, message, split):
    write(tmp_path, "{}.txt")
    (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load("ptb", split, data_dir=tmp_path)
    assert not describe("ptb", tmp_path)["ready"]


def test_an_archive_without_a_file_or_cut_short_is_one_clear_error(tmp_path):
    path = write_archive(tmp_path / "simple-examples.tgz", {"validation": "valid", "test": "test"})
    with pytest.raises(DataError, match=r"simple-examples.tgz holds no file simple-examples/data/ptb.train.txt"):
        load("ptb", data_dir=tmp_path)
    assert not describe("ptb", tmp_path)["ready"]
    whole = write_archive(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="missing, truncated or corrupt"):
        load("ptb", data_dir=tmp_path)
    assert not describe("ptb", tmp_path)["ready"]


def test_options_of_text_apply(tmp_path):
    source = load("ptb", "train", data_dir=write(tmp_path, "{}.txt"), max_words=2, vocabulary_size=6)
    assert source.shape == (3,)
    assert source.vocabulary == Vocabulary(["it", "was"])
    assert source.text(0) == "<unk> it"
    with pytest.raises(UsageError, match="unknown option 'binarize' for data 'ptb'; choose from max_words"):
        load("ptb", data_dir=tmp_path, binarize="none")


# Lines, words and different words as `wc` and `sort -u` count them in the published files; the longest as `awk` does.
REAL = {"train": (42_068, 887_521, 82), "validation": (3_370, 70_390, 74), "test": (3_761, 78_669, 77)}


@pytest.mark.slow
@pytest.mark.parametrize("split", REAL)
def test_the_real_text_has_the_published_size(data_dir, monkeypatch, split):
    monkeypatch.setitem(DATA_SETS, "ptb", PUBLISHED)
    if not (data_dir / "ptb").is_dir():
        pytest.skip("no ptb/ in the folder of real data sets")
    sentences, words, longest = REAL[split]
    source = load("ptb", split, data_dir=data_dir, download=False)
    assert (len(source), source.words, source.shape) == (sentences, words + sentences, (longest + 1,))
    assert len(source.vocabulary) == 9_998 + 4
    batch = source.batch(torch.tensor([0, len(source) - 1]))
    assert batch.shape[1] <= longest + 1
    assert ((batch == 3).sum(1) == 1).all()


@pytest.mark.slow
def test_the_real_files_are_the_published_ones(data_dir, monkeypatch):
    monkeypatch.setitem(DATA_SETS, "ptb", PUBLISHED)
    if not (data_dir / "ptb").is_dir():
        pytest.skip("no ptb/ in the folder of real data sets")
    assert describe("ptb", data_dir)["ready"]
    train = load("ptb", "train", data_dir=data_dir, download=False)
    assert train.text(0).startswith("aer banknote berlitz calloway")
    assert train.details["unknown"] == 45_020
