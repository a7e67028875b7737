import gzip
import io
import tarfile
import tracemalloc
import zlib
from contextlib import ExitStack

import pytest

from multirate.data import text as text_module
from multirate.data.cifar10 import read_batches
from multirate.data.idx import read_idx
from multirate.data.parts import PartFile
from multirate.data.text import Documents
from multirate.data.unpacking import UNREADABLE, Bounded, open_tar, open_unzipped, read_up_to
from multirate.errors import DataError

MEMBER = "simple-examples/data/ptb.train.txt"


def bomb(head, unit, size):
    """A gzip file of ``head`` and then ``unit`` again and again, far smaller than what it unpacks to."""
    packer, piece = zlib.compressobj(9, zlib.DEFLATED, 31), unit * ((1 << 20) // len(unit))
    return packer.compress(head) + b"".join(packer.compress(piece) for _ in range(size >> 20)) + packer.flush()


def read_all(path):
    total = 0
    with ExitStack() as stack:
        stream = open_unzipped(path, stack)
        while piece := stream.read(1 << 16):
            total += len(piece)
    return total


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_what_was_packed_is_read(tmp_path, pack):
    content = b"".join(b"%d\n" % i for i in range(100_000))
    (tmp_path / "a").write_bytes(pack(content))
    with ExitStack() as stack:
        assert open_unzipped(tmp_path / "a", stack).read() == content


@pytest.mark.slow
def test_a_gzip_bomb_is_refused_and_takes_no_memory(tmp_path):
    (tmp_path / "a.gz").write_bytes(bomb(b"", b"\0", 1 << 27))
    tracemalloc.start()
    try:
        with pytest.raises(EOFError, match="unpacks to more than 67,108,864 bytes"):
            read_all(tmp_path / "a.gz")
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


def test_an_idx_bomb_is_one_clear_error(tmp_path):
    size = (1 << 30) // 16
    (tmp_path / "a.gz").write_bytes(
        bomb(bytes((0, 0, 8, 3)) + size.to_bytes(4, "big") + b"\0\0\0\4\0\0\0\4", b"\0", 1 << 27)
    )
    with pytest.raises(DataError, match="unpacks to more than"):
        read_idx(tmp_path / "a.gz", (None, 4, 4))


def test_an_idx_header_takes_no_memory_that_the_file_does_not_fill(tmp_path):
    (tmp_path / "a").write_bytes(bytes((0, 0, 8, 3)) + ((1 << 30) // 16).to_bytes(4, "big") + b"\0\0\0\4\0\0\0\4")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="truncated: 1,073,741,824 bytes expected"):
            read_idx(tmp_path / "a", (None, 4, 4))
        assert tracemalloc.get_traced_memory()[1] < 2e7
    finally:
        tracemalloc.stop()


def test_a_stream_at_its_end_is_not_read_on_for_ever():
    stream = io.BufferedReader(Bounded(io.BytesIO(b"abc"), 3))
    assert stream.read() == b"abc"
    with pytest.raises(EOFError, match="ends too early"):
        while True:
            stream.read(1)


def test_no_more_is_read_than_was_asked_for():
    stream = io.BytesIO(bytes(10_000_000))
    assert (len(read_up_to(stream, 5_000_000)), stream.tell()) == (5_000_000, 5_000_000)
    assert len(read_up_to(stream, 1 << 60)) == 5_000_000


def endless_tar(field):
    """A tar archive of one member, whose size is written as ``field``."""
    block = bytearray(tarfile.TarInfo(f"cifar-10-batches-bin/{'other'}").tobuf())
    block[124:136] = field
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(2048)


SIZES = {"huge": b"\x80" + b"\x7f" * 11, "as large as octal goes": b"77777777777\0", "negative": b"\xff" * 12}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("field", SIZES.values(), ids=SIZES.keys())
def test_a_member_that_is_longer_than_any_archive_ends_it(tmp_path, field, pack):
    (tmp_path / "a.tar").write_bytes(pack(endless_tar(field)))
    with pytest.raises(DataError, match=r"a\.tar"):
        read_batches(tmp_path / "a.tar", ("data_batch_1.bin",), 2)
    with pytest.raises(DataError, match=r"a\.tar") as caught:
        Documents(PartFile(tmp_path / "a.tar", MEMBER)).census()
    assert str(caught.value).isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_unpacks_to_a_name_without_end_is_refused(tmp_path, kind):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 1 << 27
    (tmp_path / "a.tgz").write_bytes(bomb(info.tobuf(), b"\0", 1 << 27))
    with ExitStack() as stack, pytest.raises(UNREADABLE):
        list(open_tar(tmp_path / "a.tgz", stack))


LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)


@pytest.mark.parametrize("kind", LINKS)
def test_links_and_devices_are_no_files(tmp_path, kind):
    info = tarfile.TarInfo(MEMBER)
    info.type, info.linkname, info.devmajor, info.devminor = kind, "/etc/hostname", 1, 5
    (tmp_path / "a.tar").write_bytes(info.tobuf() + bytes(1024))
    with pytest.raises(DataError, match="holds no file"):
        Documents(PartFile(tmp_path / "a.tar", MEMBER)).census()


def test_text_is_bounded_too(tmp_path, monkeypatch):
    (tmp_path / "a.txt.gz").write_bytes(bomb(b"", b"ab \n", 1 << 22))
    with pytest.raises(DataError, match="unpacks to more than 2,097,152 bytes"):
        Documents(PartFile(tmp_path / "a.txt.gz")).census()
    monkeypatch.setattr(text_module, "_LONGEST_LINE", 100)
    (tmp_path / "a.txt").write_bytes(b"a line\n" + b"x" * 99 + b"\n")
    assert Documents(PartFile(tmp_path / "a.txt")).census()[0] == 2
    (tmp_path / "a.txt").write_bytes(b"a line\n" + b"x" * 100 + b"\n")
    with pytest.raises(DataError, match="line 2 is over 4 MiB"):
        Documents(PartFile(tmp_path / "a.txt")).census()
