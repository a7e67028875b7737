"""Yahoo Answers: questions with their best answer, as used for text VAEs."""

import re
import warnings
from pathlib import Path

import numpy as np

from multirate.data.catalog import DATA_SETS
from multirate.data.download import locate
from multirate.data.parts import find_part
from multirate.data.text import Documents, TextSource, vocabulary_of

_LABEL = re.compile(r"^\s*\S+\t")
_UNKNOWN = re.compile(r"(?<!\S)_UNK(?!\S)")


def load_yahoo(
    split: str,
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    max_words: int | None = None,
    vocabulary_size: int | None = None,
    min_count: int = 1,
    vocabulary: str | None = None,
) -> TextSource:
    """Load Yahoo Answers: 100,000, 10,000 and 10,000 documents of 20 to 200 words (Yang et al. 2017, He et al. 2019).

    The published text has 20,000 different words, all others are ``_UNK`` and read as unknown. A label and a tab in
    front of a document, as some copies have them, are passed over. Files are ``train.txt``, ``val.txt`` (or ``valid``)
    and ``test.txt``, or gzipped, or the archive that ``multirate data fetch yahoo`` gets.

    With ``val`` and ``test`` on disk and no training text, ``train`` is the first nine tenths of ``val`` and
    ``validation`` its last tenth; a warning and ``details`` say so, and nothing is downloaded.

    Args:
        split: ``train``, ``validation`` or ``test``.
        data_dir: a folder to look for the files in.
        download: whether missing files may be downloaded.
        max_words: longer documents are cut to so many words.
        vocabulary_size: the most words that the vocabulary may have, four specials included; by default those of the
            training text.
        min_count: words that come less often in the training split are unknown.
        vocabulary: path of a saved vocabulary, in place of the training split's.

    Returns:
        The documents, with the checksum of their file in ``details``.

    Raises:
        DataError: if a file is missing, damaged or of another number of documents.
        UsageError: if an option cannot be right.
    """
    examples = DATA_SETS["yahoo"].examples
    files = _files(data_dir, download)
    cut = "train" not in files
    part, training = ("validation" if cut and split == "train" else split), ("validation" if cut else "train")
    records = {name: files[name].expect(examples[name]) for name in (part, training)}
    record, total = records[part], examples["validation"]
    if cut:
        start, whole = total - total // 10, files["validation"]
        files |= {
            "train": whole.take(np.arange(start), total),
            "validation": whole.take(np.arange(start, total), total),
        }
        record["substitute"] = _substitute(start, total)
        if split != "test":
            warnings.warn(record["substitute"], stacklevel=2)
    words = vocabulary_of(files["train"], vocabulary=vocabulary, vocabulary_size=vocabulary_size, min_count=min_count)
    return TextSource.from_lines(files[split], words, max_words=max_words, name="yahoo", split=split, details=record)


def _files(data_dir: str | Path | None, download: bool) -> dict[str, Documents]:
    """Return the documents of each split; ``train`` is left out where only the others are on disk."""
    entry = DATA_SETS["yahoo"]

    def found() -> dict[str, Documents]:
        files = {split: find_part(part, "yahoo", data_dir) for split, part in entry.parts.items()}
        return {split: Documents(file, clean=_clean) for split, file in files.items() if file is not None}

    if not found().keys() >= {"validation", "test"}:
        locate(entry.files[0], "yahoo", data_dir, download=download)
    return found()


def _clean(line: str) -> str:
    return _UNKNOWN.sub("<unk>", _LABEL.sub("", line))


def _substitute(start: int, total: int) -> str:
    return (
        f"yahoo's training text is missing: train is the first {start:,} documents of val, validation its last "
        f"{total - start:,}; `multirate data fetch yahoo` gets the published training text"
    )
