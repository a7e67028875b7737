"""CIFAR-10 in its binary version: no pickle."""

import tarfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from multirate.data.catalog import DATA_SETS
from multirate.data.download import locate, sha256_of
from multirate.data.source import TensorSource
from multirate.data.unpacking import UNREADABLE, open_unzipped
from multirate.errors import DataError

_FOLDER = "cifar-10-batches-bin"
_BATCHES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_CLASSES = 10
_CHUNK = 1 << 20


def load_cifar10(split: str, *, data_dir: str | Path | None = None, download: bool = True) -> TensorSource:
    """Load CIFAR-10: the first 45,000 training images, the last 5,000 for validation, and the 10,000 test images.

    Images are in the order of the published batches, which is a random one.

    Args:
        split: ``train``, ``validation`` or ``test``.
        data_dir: a folder to look for ``cifar-10-binary.tar.gz`` in.
        download: whether a missing file may be downloaded.

    Returns:
        Images ``[3, 32, 32]`` in ``[0, 1]``, held as bytes, with a Gaussian likelihood and ``labels``.

    Raises:
        DataError: if the file is missing, corrupt or not CIFAR-10.
    """
    entry = DATA_SETS["cifar10"]
    path = locate(entry.files[0], "cifar10", data_dir, download=download)
    batches = _BATCHES["test" if split == "test" else "train"]
    held_out = entry.examples["test"] if split == "test" else entry.examples["train"] + entry.examples["validation"]
    images, labels = read_batches(path, batches, held_out // len(batches))
    cut = entry.examples["train"]
    chosen = {"train": slice(0, cut), "validation": slice(cut, None), "test": slice(None)}[split]
    return TensorSource(
        torch.from_numpy(images[chosen].copy()),
        name="cifar10",
        split=split,
        likelihood="gaussian",
        scale=255,
        labels=torch.from_numpy(labels[chosen].astype(np.int64)),
        details={"files": {path.name: sha256_of(path)}},
    )


def read_batches(path: Path, batches: tuple[str, ...], count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read batches of the archive, in memory: nothing is unpacked to disk, other members are passed over.

    A record is one byte, the class, and 3,072 bytes: 32 rows of red, then of green, then of blue.

    Args:
        path: the gzipped tar file.
        batches: names of the files in its folder ``cifar-10-batches-bin``, in the order wanted.
        count: records in each of them.

    Returns:
        Images ``[N, 3, 32, 32]``, read-only, and classes ``[N]``.

    Raises:
        DataError: if the archive is missing, truncated or corrupt, a batch is missing, of another size, or a class is
            not 0 to 9.
    """
    found: dict[str, bytes] = {}
    again = "remove it and fetch it again"
    try:
        with ExitStack() as stack:
            stream = open_unzipped(path, stack)
            for member in (archive := stack.enter_context(tarfile.open(fileobj=stream, mode="r|"))):
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                if folder == _FOLDER and name in batches and member.isreg():
                    if member.size != count * (1 + _PIXELS):
                        raise DataError(
                            f"{path}: {name} has {member.size:,} bytes, not {count * (1 + _PIXELS):,}; {again}"
                        )
                    content = archive.extractfile(member)
                    found[name] = content.read() if content else b""
            while stream.read(_CHUNK):
                """The checksum at the end of the stream is tested when it is reached."""
    except UNREADABLE as error:
        raise DataError(f"{path} is missing, truncated or corrupt ({error}); {again}") from error
    missing = [name for name in batches if len(found.get(name, b"")) != count * (1 + _PIXELS)]
    if missing:
        raise DataError(f"{path} holds no whole {_FOLDER}/{missing[0]}; {again}")
    records = np.frombuffer(b"".join(found[name] for name in batches), dtype=np.uint8).reshape(-1, 1 + _PIXELS)
    labels = records[:, 0].copy()
    if labels.max() >= _CLASSES:
        raise DataError(f"{path} holds class {labels.max()}, not only 0 to 9; {again}")
    return records[:, 1:].reshape(-1, *_SHAPE), labels
