"""What is known of each named data set: its files, their addresses and checksums, its licence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multirate.data.download import RemoteFile, find, locate, verify
from multirate.data.names import DATA_NAMES
from multirate.errors import DataError, UsageError


@dataclass(frozen=True)
class DataSet:
    """A named data set.

    Args:
        licence: under which it was published, as far as its publisher says.
        source: a page or paper that describes it.
        shape: of one example.
        examples: number of examples of each split.
        files: what has to be on disk.
    """

    licence: str
    source: str
    shape: tuple[int, ...]
    examples: dict[str, int]
    files: tuple[RemoteFile, ...] = ()

    def file(self, name: str) -> RemoteFile:
        """Return the file of that name."""
        return next(file for file in self.files if file.name == name)


# Checksums of the unzipped MNIST files: copies that were compressed again are as good as the published ones.
MNIST_CONTENT = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

_SPLITS_50_10_10 = {"train": 50_000, "validation": 10_000, "test": 10_000}


def _files(
    address: str, checksums: dict[str, str | None], content: dict[str, str] | None = None
) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name, address + name, checksum, (content or {}).get(name)) for name, checksum in checksums.items()
    )


DATA_SETS: dict[str, DataSet] = {
    "digits": DataSet(
        licence="CC BY 4.0",
        source="https://archive.ics.uci.edu/dataset/80/",
        shape=(1, 8, 8),
        examples={"train": 1297, "validation": 200, "test": 300},
    ),
    "mnist": DataSet(
        licence="CC BY-SA 3.0",
        source="LeCun, Cortes and Burges, the MNIST database of handwritten digits",
        shape=(1, 28, 28),
        examples=_SPLITS_50_10_10,
        files=_files(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            {
                "train-images-idx3-ubyte.gz": "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "train-labels-idx1-ubyte.gz": "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "t10k-images-idx3-ubyte.gz": "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "t10k-labels-idx1-ubyte.gz": "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            },
            MNIST_CONTENT,
        ),
    ),
    "mnist-larochelle": DataSet(
        licence="CC BY-SA 3.0 (the digits); none stated for the binarization",
        source="Larochelle and Murray, the neural autoregressive distribution estimator, AISTATS 2011",
        shape=(1, 28, 28),
        examples=_SPLITS_50_10_10,
        files=_files(
            "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
            {f"binarized_mnist_{part}.amat": None for part in ("train", "valid", "test")},
        ),
    ),
    "fashion-mnist": DataSet(
        licence="MIT",
        source="https://github.com/zalandoresearch/fashion-mnist",
        shape=(1, 28, 28),
        examples=_SPLITS_50_10_10,
        files=_files(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            {
                "train-images-idx3-ubyte.gz": "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "train-labels-idx1-ubyte.gz": "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "t10k-images-idx3-ubyte.gz": "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "t10k-labels-idx1-ubyte.gz": "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
        ),
    ),
    "omniglot": DataSet(
        licence="MIT",
        source="https://github.com/brendenlake/omniglot",
        shape=(1, 28, 28),
        examples={"train": 17_280, "validation": 2_000, "test": 13_180},
        files=_files(
            "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
            {
                "images_background.zip": "md5:68d2efa1b9178cc56df9314c21c6e718",
                "images_evaluation.zip": "md5:6b91aef0f799c5bb55b94e3f2daec811",
            },
        ),
    ),
}


def describe(name: str, data_dir: str | Path | None = None) -> dict[str, Any]:
    """Say what a named data set is and which of its files are on disk; no network.

    Args:
        name: one of ``DATA_NAMES``.
        data_dir: a folder to look in first.

    Returns:
        JSON values: ``name``, ``description``, ``licence``, ``source``, ``shape``, ``examples`` of each split,
        ``ready`` (every file is there and none fails its checksum) and ``files``, each with ``name``, ``url``,
        ``checksum``, ``path`` and ``bytes`` (None if missing), and ``verified`` (None if missing, or if no checksum was
        published).

    Raises:
        UsageError: if the name is unknown.
    """
    entry = _entry(name)
    files = []
    for file in entry.files:
        path = find(file, name, data_dir)
        files.append(
            {
                "name": file.name,
                "url": file.url,
                "checksum": file.checksum,
                "path": str(path) if path else None,
                "bytes": path.stat().st_size if path else None,
                "verified": verify(file, path) if path else None,
            }
        )
    return {
        "name": name,
        "description": DATA_NAMES[name],
        "licence": entry.licence,
        "source": entry.source,
        "shape": list(entry.shape),
        "examples": dict(entry.examples),
        "ready": all(file["path"] and file["verified"] is not False for file in files),
        "files": files,
    }


def fetch(name: str, data_dir: str | Path | None = None) -> list[Path]:
    """Make sure that every file of a named data set is on disk and whole, downloading those that are missing.

    Args:
        name: one of ``DATA_NAMES``.
        data_dir: where to look first and where to put downloads.

    Returns:
        The files' paths.

    Raises:
        UsageError: if the name is unknown.
        DataError: if a file cannot be downloaded or fails its checksum.
    """
    paths = []
    for file in _entry(name).files:
        path = locate(file, name, data_dir)
        if verify(file, path) is False:
            raise DataError(f"{path} fails its checksum ({file.checksum}); remove it and fetch it again")
        paths.append(path)
    return paths


def _entry(name: str) -> DataSet:
    if name not in DATA_SETS:
        raise UsageError(f"unknown data set {name!r}; choose one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
