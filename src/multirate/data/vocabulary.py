"""Words and their numbers."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from multirate.errors import DataError, UsageError
from multirate.files import read_json, write_json

SCHEMA = "multirate.vocabulary/1"

PAD, UNKNOWN, START, END = range(4)
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")


class Vocabulary:
    """Words numbered from 0; the first four are special: padding, unknown, start and end.

    Words are what whitespace separates. ``<unk>`` in a text is the unknown word; the other specials are never read from
    a text, where they count as unknown: only the library itself puts them in.

    Args:
        words: without the specials; the first gets number 4.

    Raises:
        DataError: if a word is empty, holds whitespace, is special or comes twice.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.words: tuple[str, ...] = (*SPECIALS, *words)
        self._numbers = {word: number for number, word in enumerate(self.words)}
        if len(self._numbers) != len(self.words):
            twice = next(word for number, word in enumerate(self.words) if self._numbers[word] != number)
            raise DataError(f"the word {twice!r} is in the vocabulary twice; keep it once")
        bad = next((word for word in self.words if word.split() != [word]), None)
        if bad is not None:
            raise DataError(f"{bad!r} is no word: words hold no whitespace and are not empty; remove it")
        self._readable = {
            word: number for word, number in self._numbers.items() if number == UNKNOWN or number >= len(SPECIALS)
        }

    @classmethod
    def build(cls, lines: Iterable[str], *, size: int | None = None, min_count: int = 1) -> "Vocabulary":
        """Number the words of a text, the most frequent first; of equally frequent ones that which comes first.

        Args:
            lines: the documents of the training split.
            size: the most entries that the vocabulary may have, the four specials included; None for no limit.
            min_count: words that come less often are left out, and read as unknown.

        Returns:
            The vocabulary.

        Raises:
            UsageError: if ``size`` is no integer above 4, or ``min_count`` none above 0.
            DataError: if no word is left.
        """
        for name, value, least in (("size", size, len(SPECIALS) + 1), ("min_count", min_count, 1)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise UsageError(f"the vocabulary's {name} must be an integer of at least {least}; got {value!r}")
        counts: Counter[str] = Counter()
        for line in lines:
            counts.update(line.split())
        for special in SPECIALS:
            counts.pop(special, None)
        kept = [word for word, count in counts.most_common() if count >= min_count]
        if not kept:
            raise DataError(
                f"no word comes {min_count} times in the training text; give more of it, or a lower min_count"
            )
        return cls(kept if size is None else kept[: size - len(SPECIALS)])

    def encode(self, line: str) -> list[int]:
        """Return the numbers of a line's words and of the end, as a row of a batch has them.

        Args:
            line: words separated by whitespace.

        Returns:
            One number a word, unknown words as 1, then 3 for the end.
        """
        number = self._readable.get
        return [*[number(word, UNKNOWN) for word in line.split()], END]

    def decode(self, indices: Iterable[int]) -> str:
        """Return the words of numbers, up to the first end; padding and start are left out.

        Args:
            indices: integers, or a tensor or array of one axis.

        Returns:
            The words, separated by single spaces.

        Raises:
            DataError: if a number is not in the vocabulary.
        """
        listed: Any = getattr(indices, "tolist", None)
        words = []
        for number in listed() if callable(listed) else indices:
            if not 0 <= number < len(self.words):
                raise DataError(f"{number} is not in a vocabulary of {len(self.words):,} words; use the text's own one")
            if number == END:
                break
            if number not in (PAD, START):
                words.append(self.words[number])
        return " ".join(words)

    def save(self, path: str | Path) -> Path:
        """Write the words as JSON, in order of their number, the specials first; return the path.

        Args:
            path: the file to write.

        Raises:
            DataError: if the file cannot be written.
        """
        return write_json(path, {"schema": SCHEMA, "words": self.words})

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read what :meth:`save` wrote.

        Args:
            path: the file.

        Returns:
            The vocabulary.

        Raises:
            DataError: if the file is missing or no vocabulary, does not begin with the specials, or holds a word twice.
        """
        stored = read_json(path, "check the path of the vocabulary")
        if not isinstance(stored, dict) or stored.get("schema") != SCHEMA:
            raise DataError(f"{path} is no vocabulary of multirate (schema {SCHEMA}); save one with Vocabulary.save")
        words = stored.get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(f"{path}: words must be a list of strings; save the vocabulary again")
        if tuple(words[: len(SPECIALS)]) != SPECIALS:
            raise DataError(f"{path}: words must begin with {', '.join(SPECIALS)}; add them")
        try:
            return cls(words[len(SPECIALS) :])
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    @property
    def checksum(self) -> str:
        """The sha256 of the words, one a line."""
        return hashlib.sha256("".join(f"{word}\n" for word in self.words).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._numbers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self):,} words)"
