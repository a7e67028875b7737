"""Data: named sets and users' own files, arrays and datasets, behind one small interface.

A :class:`Source` has a length, the shape of one example, and ``batch(indices)``. :func:`load` makes one from a name or
a path, :func:`as_source` from an array or a dataset that is there already.
"""

from typing import TYPE_CHECKING

from multirate._lazy import attach

if TYPE_CHECKING:
    from multirate.data.catalog import describe as describe
    from multirate.data.catalog import fetch as fetch
    from multirate.data.loading import load as load
    from multirate.data.names import DATA_NAMES as DATA_NAMES
    from multirate.data.source import DatasetSource as DatasetSource
    from multirate.data.source import Source as Source
    from multirate.data.source import TensorSource as TensorSource
    from multirate.data.source import as_source as as_source

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "DATA_NAMES": "names",
        "DatasetSource": "source",
        "Source": "source",
        "TensorSource": "source",
        "as_source": "source",
        "describe": "catalog",
        "fetch": "catalog",
        "load": "loading",
    },
)
