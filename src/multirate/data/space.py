"""Room on the disk, asked for before anything large is written."""

import shutil
from pathlib import Path

from multirate.errors import DataError

_MARGIN = 1 << 24


def check_space(folder: Path, needed: int, what: str, remedy: str) -> None:
    """Raise if a folder's disk has no room for so many bytes, and 16 MiB more.

    Args:
        folder: where the bytes will go; it exists.
        needed: how many, in bytes.
        what: what needs them, for the message.
        remedy: what else to do than to free space, for the message.

    Raises:
        DataError: if they do not fit.
    """
    free = shutil.disk_usage(folder).free
    if needed + _MARGIN > free:
        raise DataError(
            f"{what} needs {megabytes(needed)} in {folder}, where {megabytes(free)} are free; "
            f"free some space, or {remedy}"
        )


def megabytes(count: float) -> str:
    """Return a number of bytes in words, such as ``170.1 MB``."""
    return f"{count / 1e6:,.1f} MB"
