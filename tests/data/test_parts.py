import gzip
import hashlib
import tarfile
from contextlib import ExitStack

import pytest

from multirate.data.parts import Part, PartFile, find_part, text_part, verify_part
from multirate.errors import DataError

CONTENT = b"one\ntwo\n"
PART = Part(("a.txt", "b.txt"), hashlib.md5(CONTENT).hexdigest(), "all.tar.gz", "inner/a.txt")


def write_archive(folder):
    (folder / "inner").mkdir()
    (folder / "inner" / "a.txt").write_bytes(CONTENT)
    with tarfile.open(folder / "all.tar.gz", "w:gz") as archive:
        archive.add(folder / "inner", "./inner")
    (folder / "inner" / "a.txt").unlink()
    return PartFile(folder / "all.tar.gz", "inner/a.txt")


def read(file):
    with ExitStack() as stack:
        return file.open(stack).read()


def test_names_of_a_text_are_plain_gzipped_and_the_member_of_the_archive():
    part = text_part("a", "x.a", md5="", archive="all.tar", member="inner/a.txt")
    assert part.names == ("a.txt", "a.txt.gz", "x.a.txt", "x.a.txt.gz", "inner/a.txt")
    assert part.needed


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize("content", [CONTENT, gzip.compress(CONTENT, mtime=0)])
def test_content_decides_whether_a_file_is_gzipped(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read(PartFile(tmp_path / name)) == CONTENT
    assert verify_part(PART, PartFile(tmp_path / name))


def test_a_member_of_an_archive_is_read_where_it_is(tmp_path):
    file = write_archive(tmp_path)
    assert read(file) == CONTENT
    assert verify_part(PART, file)
    assert str(file) == f"{tmp_path / 'all.tar.gz'}: inner/a.txt"


@pytest.mark.parametrize("member", ["inner", "inner/b.txt"])
def test_a_member_that_is_no_file_or_missing_is_refused(tmp_path, member):
    file = PartFile(write_archive(tmp_path).path, member)
    with pytest.raises(DataError, match=f"holds no file {member}"):
        read(file)
    assert not verify_part(PART, file)


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "link", "inner/a.txt")
    with pytest.raises(DataError, match=r"holds no file inner/a.txt"):
        read(PartFile(tmp_path / "all.tar.gz", "inner/a.txt"))


@pytest.mark.parametrize("content", [b"one\n", b"", gzip.compress(CONTENT, mtime=0)[:15]])
def test_a_file_of_other_or_damaged_content_is_not_verified(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    assert not verify_part(PART, PartFile(tmp_path / "a.txt"))


def test_files_go_before_the_archive_and_folders_in_their_order(tmp_path, cache):
    assert find_part(PART, "set", tmp_path) is None
    (cache / "set").mkdir(parents=True)
    (cache / "set" / "a.txt").touch()
    assert find_part(PART, "set", tmp_path) == PartFile(cache / "set" / "a.txt")
    archive = write_archive(tmp_path)
    assert find_part(PART, "set", tmp_path) == archive
    (tmp_path / "b.txt").touch()
    assert find_part(PART, "set", tmp_path) == PartFile(tmp_path / "b.txt")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "b.txt").touch()
    assert find_part(PART, "set", tmp_path) == PartFile(tmp_path / "set" / "b.txt")
