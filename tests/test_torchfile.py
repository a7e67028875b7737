import io
import os
import pickle
import zipfile

import pytest
import torch

from multirate.torchfile import read_torch

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "names": ["a", 1, None]}


class Code:
    def __reduce__(self):
        return os.system, ("exit 3",)


def archive(tmp_path, members, method=zipfile.ZIP_STORED):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(f"archive/{name}", content)
    return path


@pytest.mark.parametrize("new", [True, False])
def test_what_torch_saved_comes_back(tmp_path, new):
    torch.save(STATE, tmp_path / "a.pt", _use_new_zipfile_serialization=new)
    read = read_torch(tmp_path / "a.pt", old=not new)
    assert torch.equal(read["weight"], STATE["weight"])
    assert read["names"] == STATE["names"]


STRANGE = {
    "a tensor that repeats one number": (torch.ones(1).expand(10**6, 10**6), "4,000,000,000,000 bytes is stored in 4"),
    "a tensor without numbers": (torch.empty(3, device="meta"), "has no numbers"),
    "an object": (Code(), "Weights only load failed"),
}


@pytest.mark.parametrize(("value", "message"), STRANGE.values(), ids=STRANGE.keys())
def test_tensors_larger_than_the_file_and_objects_are_refused(tmp_path, value, message):
    torch.save({"a": [value]}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        read_torch(tmp_path / "a.pt")


def test_a_small_repeated_tensor_is_read(tmp_path):
    torch.save(torch.ones(1).expand(3, 4), tmp_path / "a.pt")
    assert torch.equal(read_torch(tmp_path / "a.pt"), torch.ones(3, 4))


DAMAGED = {"nothing on the stack": b"\x80\x02.", "no end": b"\x80\x02]", "empty": b"", "code": pickle.dumps(Code(), 2)}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_a_value_error(tmp_path, content):
    path = archive(tmp_path, {"data.pkl": content, "version": b"3\n", "byteorder": b"little"})
    with pytest.raises(ValueError):
        read_torch(path)
    path.write_bytes(content)
    for old in (True, False):
        with pytest.raises(ValueError):
            read_torch(path, old=old)


def test_an_archive_that_is_compressed_is_refused(tmp_path):
    members = {"data.pkl": b"\x80\x02K\x01.", "data/0": bytes(1 << 20)}
    with pytest.raises(ValueError, match="compressed"):
        read_torch(archive(tmp_path, members, zipfile.ZIP_DEFLATED))


def test_an_old_file_that_asks_for_more_than_it_holds_is_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save(torch.arange(77.0), buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue()
    assert content.count(b"KM") >= 2  # 77, as the size of the storage and of the tensor
    (tmp_path / "a.pt").write_bytes(content.replace(b"KM", b"J\xff\xff\xff\x7f"))
    with pytest.raises(ValueError, match="asks for 2,147,483,647 numbers"):
        read_torch(tmp_path / "a.pt", old=True)
    with pytest.raises(ValueError, match=r"since version 1\.6"):
        read_torch(tmp_path / "a.pt")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(OSError, match="no plain file"):
        read_torch(tmp_path / "a.pt")
