"""Penn Treebank: sentences of the Wall Street Journal in the usual preprocessing of Mikolov."""

from pathlib import Path

from multirate.data.catalog import DATA_SETS
from multirate.data.download import locate
from multirate.data.parts import PartFile, find_part
from multirate.data.text import Documents, TextSource, vocabulary_of
from multirate.errors import DataError


def load_ptb(
    split: str,
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    max_words: int | None = None,
    vocabulary_size: int | None = None,
    min_count: int = 1,
    vocabulary: str | None = None,
) -> TextSource:
    """Load the Penn Treebank's 42,068, 3,370 and 3,761 sentences; rare words are ``<unk>`` there, and numbers ``N``.

    The files are ``ptb.train.txt``, ``ptb.valid.txt`` and ``ptb.test.txt``, or the same without ``ptb.``, or gzipped;
    or they are read out of Mikolov's ``simple-examples.tgz``, which is not unpacked.

    Args:
        split: ``train``, ``validation`` or ``test``.
        data_dir: a folder to look for the files in.
        download: whether missing files may be downloaded.
        max_words: longer sentences are cut to so many words.
        vocabulary_size: the most words that the vocabulary may have, four specials included; by default all, 10,002.
        min_count: words that come less often in the training split are unknown.
        vocabulary: path of a saved vocabulary, in place of the training split's.

    Returns:
        The sentences, with the checksum of their file in ``details``.

    Raises:
        DataError: if a file is missing, damaged or not the Penn Treebank.
        UsageError: if an option cannot be right.
    """
    files = {part: _documents(part, data_dir, download) for part in ("train", split)}
    records = {part: documents.expect(DATA_SETS["ptb"].examples[part]) for part, documents in files.items()}
    words = vocabulary_of(files["train"], vocabulary=vocabulary, vocabulary_size=vocabulary_size, min_count=min_count)
    return TextSource.from_lines(
        files[split], words, max_words=max_words, name="ptb", split=split, details=records[split]
    )


def _documents(split: str, data_dir: str | Path | None, download: bool) -> Documents:
    entry = DATA_SETS["ptb"]
    found = find_part(entry.parts[split], "ptb", data_dir)
    if found is None:
        file = entry.files[list(entry.parts).index(split)]
        try:
            found = PartFile(locate(file, "ptb", data_dir, download=download))
        except DataError as error:
            raise DataError(f"{error}; its licence: {entry.licence}") from error
    return Documents(found)
