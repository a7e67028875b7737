"""Text: documents as rows of word numbers, from files of one document a line."""

import hashlib
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multirate.data.parts import PartFile
from multirate.data.source import Source
from multirate.data.splits import SPLIT_SEED, choose, named_splits
from multirate.data.unpacking import UNREADABLE
from multirate.data.vocabulary import END, PAD, UNKNOWN, Vocabulary
from multirate.errors import DataError, UsageError

TEXT_SUFFIXES = (".txt", ".txt.gz")

_LONGEST_LINE = 1 << 22


class TextSource(Source):
    """Documents in memory, four bytes a word: one row of numbers and the places where documents start.

    ``shape`` is that of the longest document of the split, its end counted; a batch is only as long as its own longest.

    Args:
        tokens: words of all documents one after the other, each document's end (3) among them, int32, ``[W]``.
        offsets: where each document starts, and ``W`` at last, int64, ``[N + 1]``.
        vocabulary: what the numbers mean.
        name: of the data set.
        split: ``train``, ``validation`` or ``test``.
        details: for the record; sizes of text and vocabulary, and the vocabulary's checksum, are added.

    Raises:
        DataError: if there are no documents, one does not end with the only end in it, or a number is not in the
            vocabulary or is padding.
    """

    vocabulary: Vocabulary

    def __init__(
        self,
        tokens: NDArray[np.int32],
        offsets: NDArray[np.int64],
        vocabulary: Vocabulary,
        *,
        name: str = "text",
        split: str = "train",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        if len(offsets) < 2 or len(tokens) == 0:
            raise DataError(f"{name} has no documents for {split}; give text of one document a line")
        if not np.array_equal(np.flatnonzero(tokens == END), offsets[1:] - 1) or offsets[0] != 0:
            raise DataError(f"{name}: every document must end with the end token {END}, and hold no other")
        if int(tokens.min()) <= PAD or int(tokens.max()) >= len(vocabulary):
            raise DataError(f"{name}: words must be numbered from 1 to {len(vocabulary) - 1:,}; use its own vocabulary")
        record = {
            "words": len(tokens),
            "unknown": int((tokens == UNKNOWN).sum()),
            "vocabulary_size": len(vocabulary),
            "vocabulary_sha256": vocabulary.checksum,
        }
        super().__init__(
            (int(np.diff(offsets).max()),),
            name=name,
            split=split,
            likelihood="categorical",
            details={**record, **(details or {})},
        )
        self.vocabulary = vocabulary
        self._tokens = torch.from_numpy(tokens)
        self._offsets = torch.from_numpy(offsets)

    @classmethod
    def from_lines(
        cls,
        lines: Iterable[str],
        vocabulary: Vocabulary,
        *,
        max_words: int | None = None,
        name: str = "text",
        split: str = "train",
        details: Mapping[str, Any] | None = None,
    ) -> "TextSource":
        """Number the words of documents.

        Args:
            lines: the documents; those without a word are dropped, and counted as ``empty``.
            vocabulary: built from the training split.
            max_words: longer documents are cut to so many words, and counted as ``truncated``; None keeps all.
            name: of the data set.
            split: ``train``, ``validation`` or ``test``.
            details: for the record.

        Raises:
            UsageError: if ``max_words`` is no integer above 0.
            DataError: if there are no documents.
        """
        if max_words is not None and (isinstance(max_words, bool) or not isinstance(max_words, int) or max_words < 1):
            raise UsageError(f"max_words must be an integer of at least 1; got {max_words!r}")
        tokens, ends = array("i"), array("q", [0])
        counts = {"empty": 0, "truncated": 0}
        for line in lines:
            numbers = vocabulary.encode(line)
            if len(numbers) == 1:
                counts["empty"] += 1
                continue
            if max_words is not None and len(numbers) > max_words + 1:
                counts["truncated"] += 1
                numbers[max_words:] = [END]
            tokens.extend(numbers)
            ends.append(len(tokens))
        return cls(
            np.array(tokens, dtype=np.int32),
            np.array(ends, dtype=np.int64),
            vocabulary,
            name=name,
            split=split,
            details={**({"max_words": max_words} if max_words else {}), **counts, **(details or {})},
        )

    @property
    def words(self) -> int:
        """How many words are predicted, the ends counted: what perplexity is an average over."""
        return len(self._tokens)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def batch(self, indices: Tensor) -> Tensor:
        """Return documents, each with its end, padded with 0 to the longest of them, int64, ``[B, T]``."""
        starts = self._offsets[indices]
        lengths = self._offsets[indices + 1] - starts
        places = torch.arange(int(lengths.max()))
        inside = places < lengths[:, None]
        rows = self._tokens[(starts[:, None] + places).clamp_(max=len(self._tokens) - 1)]
        return torch.where(inside, rows, PAD).to(torch.int64)

    def text(self, index: int) -> str:
        """Return the words of one document; those that the vocabulary lacks are ``<unk>``."""
        if not 0 <= index < len(self):
            raise UsageError(f"{self.name} has {len(self):,} documents for {self.split}; got index {index}")
        start, stop = self._offsets[index : index + 2].tolist()
        return self.vocabulary.decode(self._tokens[start:stop])


@dataclass(frozen=True)
class Documents:
    """The documents of a file that hold a word, one a line; the file is read anew each time they are gone through.

    Args:
        file: where they are.
        clean: what is done to every line first, for formats that carry more than the text.
        chosen: which documents, of those that hold a word, as one truth value each; None for all.
    """

    file: PartFile
    clean: Callable[[str], str] = field(default=str)
    chosen: NDArray[np.bool_] | None = None

    def __iter__(self) -> Iterator[str]:
        number = -1
        for line in self._lines():
            if line.strip():
                number += 1
                if self.chosen is None or self.chosen[number]:
                    yield line

    def census(self) -> tuple[int, dict[str, Any]]:
        """Count the documents of the whole file.

        Returns:
            How many hold a word; and for the record, how many lines do not, and the sha256 of the unzipped file.

        Raises:
            DataError: if the file is missing, damaged, binary or not UTF-8, or holds no word.
        """
        digest = hashlib.sha256()
        total = empty = 0
        for line in self._lines(digest.update):
            total, empty = (total + 1, empty) if line.strip() else (total, empty + 1)
        if total == 0:
            raise DataError(f"{self} holds no text; give one document a line")
        return total, {"empty": empty, "sha256": digest.hexdigest(), "checksum_of": "unzipped content"}

    def expect(self, total: int) -> dict[str, Any]:
        """Check that the file holds so many documents, none of them empty.

        Args:
            total: how many were published.

        Returns:
            For the record, the checksum of the unzipped file.

        Raises:
            DataError: if it is another number, or the file cannot be read.
        """
        found, record = self.census()
        if found != total or record["empty"]:
            blank = f" and {record['empty']:,} empty lines" if record["empty"] else ""
            raise DataError(f"{self} holds {found:,} documents{blank}, not {total:,}; get it again")
        return {
            "files": {self.file.member or self.file.path.name: record["sha256"]},
            "checksum_of": record["checksum_of"],
        }

    def take(self, indices: NDArray[np.int64], total: int) -> "Documents":
        """Return the documents at ``indices`` of a file that holds ``total``, in the order of the file."""
        chosen = np.zeros(total, dtype=np.bool_)
        chosen[indices] = True
        return replace(self, chosen=chosen)

    def _lines(self, seen: Callable[[bytes], None] = lambda _: None) -> Iterator[str]:
        try:
            with ExitStack() as stack:
                stream = self.file.open(stack)
                for number, raw in enumerate(iter(lambda: stream.readline(_LONGEST_LINE + 1), b""), 1):
                    seen(raw)
                    if len(raw) > _LONGEST_LINE:
                        raise DataError(f"{self}, line {number} is over 4 MiB; give one document a line")
                    if b"\0" in raw:
                        raise DataError(f"{self} is a binary file; give text in UTF-8, one document a line")
                    yield self.clean(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{self}, line {number}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
        except UNREADABLE as error:
            raise DataError(f"{self} is missing, truncated or corrupt ({error}); get it again") from error

    def __str__(self) -> str:
        return str(self.file)


def is_text(path: Path) -> bool:
    """Return whether a path is a text file by its name, or a folder of one named ``train`` and no folder ``train``."""
    if path.is_dir():
        return "train" in _text_files(path) and not (path / "train").is_dir()
    return path.name.lower().endswith(TEXT_SUFFIXES)


def load_text(
    path: Path,
    split: str,
    *,
    max_words: int | None = None,
    vocabulary_size: int | None = None,
    min_count: int = 1,
    vocabulary: str | None = None,
) -> TextSource:
    """Load one split of a text of one document a line.

    A folder holds ``train``, ``validation`` (or ``valid``, ``val``) and ``test`` as ``.txt`` or ``.txt.gz``; a single
    file, or what a folder lacks, is cut (:func:`~multirate.data.splits.choose`). The vocabulary is built from the
    training split alone and is the same for all splits.

    Args:
        path: the file or folder.
        split: ``train``, ``validation`` or ``test``.
        max_words: longer documents are cut to so many words.
        vocabulary_size: the most words that the vocabulary may have, four specials included.
        min_count: words that come less often in the training split are unknown.
        vocabulary: path of a saved vocabulary, in place of building one.

    Returns:
        The documents.

    Raises:
        DataError: if a file is missing, empty, binary or not UTF-8, or there are too few documents to cut.
        UsageError: if an option cannot be right.
    """
    files = named_splits(_text_files(path)) if path.is_dir() else {"train": path}
    parts = {part: Documents(PartFile(file)) for part, file in files.items()}
    counts = {part: documents.census() for part, documents in parts.items()}
    sizes = {part: total for part, (total, _) in counts.items()}

    def cut(wanted: str) -> tuple[Documents, dict[str, Any]]:
        part, indices = choose(wanted, sizes, str(path))
        details = {"path": str(files[part]), **counts[part][1]}
        if len(indices) == sizes[part]:
            return parts[part], details
        return parts[part].take(indices, sizes[part]), {**details, "split_seed": SPLIT_SEED}

    chosen, details = cut(split)
    words = vocabulary_of(cut("train")[0], vocabulary=vocabulary, vocabulary_size=vocabulary_size, min_count=min_count)
    return TextSource.from_lines(
        chosen, words, max_words=max_words, name=_stem(path.name), split=split, details=details
    )


def vocabulary_of(
    training: Iterable[str], *, vocabulary: str | None, vocabulary_size: int | None, min_count: int
) -> Vocabulary:
    """Build the vocabulary of a training split, or read the one that was named.

    Args:
        training: documents of the training split.
        vocabulary: path of a saved vocabulary.
        vocabulary_size: the most words that the vocabulary may have, four specials included.
        min_count: words that come less often are unknown.

    Raises:
        UsageError: if a saved vocabulary is named beside options for building one, or an option cannot be right.
        DataError: if the saved vocabulary cannot be read, or no word is left.
    """
    if vocabulary is None:
        return Vocabulary.build(training, size=vocabulary_size, min_count=min_count)
    if not isinstance(vocabulary, str | Path):
        raise UsageError(f"vocabulary is the path of a saved vocabulary; got {vocabulary!r}")
    if vocabulary_size is not None or min_count != 1:
        raise UsageError(f"vocabulary={vocabulary} is complete: leave vocabulary_size and min_count out")
    return Vocabulary.load(Path(vocabulary).expanduser())


def _text_files(folder: Path) -> dict[str, Path]:
    """Return the text files of a folder by stem; a plain file goes before a gzipped one of the same name."""
    files = (path for path in sorted(folder.iterdir(), reverse=True) if path.is_file())
    return {_stem(path.name): path for path in files if path.name.lower().endswith(TEXT_SUFFIXES)}


def _stem(name: str) -> str:
    return re.sub(r"\.txt(\.gz)?$", "", name, flags=re.IGNORECASE)
