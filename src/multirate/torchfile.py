"""What torch.save wrote, read without its code: tensors and plain values alone, none of them larger than the file."""

import os
import pickletools
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from multirate.reading import open_file, reason

# A tensor may repeat its numbers (stride 0), and so be larger than what is stored of it, up to so many bytes.
_REPEATED = 1 << 20
# Before version 1.6: a number to know it by, the version and the machine, then the values and names of their storages.
_OLD_HEADERS, _OLD_RECORDS = 3, 5


def read_torch(path: str | Path, *, old: bool = False) -> Any:
    """Read a file of ``torch.save`` onto the CPU.

    Args:
        path: the file.
        old: whether it may be of torch before version 1.6, as weights that were published long ago are.

    Returns:
        What it holds.

    Raises:
        OSError: if it cannot be opened or is no plain file.
        ValueError: if it is damaged, of another format, or holds anything but tensors and plain values.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            _check_old(file, size) if old and file.read(2) != b"PK" else _check_archive(file, size)
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
            _check(content)
        except Exception as error:  # a damaged file makes torch raise almost anything
            raise ValueError(reason(error).partition("\n")[0] or type(error).__name__) from error
    return content


def _check_archive(file: BinaryIO, size: int) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except Exception as error:  # a damaged archive makes zipfile raise almost anything
        raise ValueError("it is no file of torch.save since version 1.6, or damaged") from error
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if packed or sum(member.file_size for member in members) > size:
        raise ValueError("it is compressed, as torch.save never does")


def _check_old(file: BinaryIO, size: int) -> None:
    """Raise ``ValueError`` if a file of five records one after the other asks for more numbers than it can hold.

    The records are taken apart into their instructions, of which none is carried out.
    """
    file.seek(0)
    for record in range(_OLD_RECORDS):
        for _, argument, _ in pickletools.genops(file):
            if record >= _OLD_HEADERS and isinstance(argument, int) and argument > size:
                raise ValueError(f"it asks for {argument:,} numbers, and has {size:,} bytes")


def _check(value: Any) -> None:
    """Raise ``ValueError`` if a tensor has no numbers, or far more than are stored."""
    if isinstance(value, Tensor):
        if value.is_meta:
            raise ValueError("a tensor has no numbers")
        if value.layout == torch.strided and not value.is_quantized:
            needed = value.numel() * value.element_size()
            if needed > max(value.untyped_storage().nbytes(), _REPEATED):
                raise ValueError(f"a tensor of {needed:,} bytes is stored in {value.untyped_storage().nbytes():,}")
    elif isinstance(value, dict):
        for inner in value.values():
            _check(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner)
