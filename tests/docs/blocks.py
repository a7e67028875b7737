"""Code blocks and commands of the project's pages."""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sybil import Document, Example, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract.lexers import BlockLexer
from sybil.parsers.myst import PythonCodeBlockParser

ROOT = Path(__file__).resolve().parents[2]
EXCLUDED = {"_static", "extensions"}
# Set-up that a reader is spared; and, before a fence, why it cannot run on one machine.
HIDDEN = BlockLexer(re.compile(r"^<!-- run:\n", re.MULTILINE), r"(?m)^-->")
NOT_RUN = re.compile(r"^<!-- not run: (?P<reason>.+) -->\n+(?=```python\n)", re.MULTILINE)
FENCES = re.compile(
    r"^(?P<indent> *)(?P<marks>`{3,})(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)(?P=marks) *$", re.M | re.S
)
COMMENTS = re.compile(r"<!--.*?-->", re.DOTALL)
SPANS = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
SHELLS = ("console", "sh", "bash", "shell")


def pages() -> list[Path]:
    """Return every page: README, CONTRIBUTING, those of docs and of results."""
    found = [path for path in sorted((ROOT / "docs").rglob("*.md")) if not EXCLUDED & set(path.parts)]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "results" / "README.md", *found]


def name_of(page: Path) -> str:
    """Return the page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def hidden_blocks(document: Document) -> Iterator[Region]:
    """Yield the set-up in ``<!-- run: ... -->``."""
    for region in HIDDEN(document):
        region.parsed = region.lexemes["source"]
        region.evaluator = PythonEvaluator()
        yield region


def python_blocks(document: Document) -> Iterator[Region]:
    """Yield the fenced blocks, those that are marked as not to be run with nothing to do."""
    excused = {match.end() for match in NOT_RUN.finditer(document.text)}
    for region in PythonCodeBlockParser(doctest_optionflags=0)(document):
        if region.start in excused:
            region.evaluator = compiled
        yield region


def compiled(example: Example) -> None:
    """Read a block without running it."""
    compile(example.parsed, example.path, "exec")


def examples(page: Path) -> list[Example]:
    """Return the Python blocks of a page, hidden ones too, in order."""
    return list(Document.parse(str(page), hidden_blocks, python_blocks))


@dataclass(frozen=True)
class Command:
    """One command of a page.

    Args:
        page: where.
        line: of the page.
        words: without prompt and comment.
    """

    page: str
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {' '.join(self.words)}"


def shell_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines of shell with their numbers: of shell fences and of indented blocks."""
    fenced: dict[int, str] = {}
    for match in FENCES.finditer(text):
        first = text.count("\n", 0, match.start()) + 1
        for offset in range(match[0].count("\n") + 1):
            fenced[first + offset] = match["language"]
    for number, line in enumerate(text.split("\n"), start=1):
        language = fenced.get(number)
        shell = language in SHELLS and not line.lstrip().startswith("```")
        if shell or (language is None and line.startswith("    ")):
            yield number, line.strip()


def commands(page: Path, programs: Iterable[str]) -> list[Command]:
    """Return the commands of a page that run one of some programs, with continuation lines joined."""
    text = COMMENTS.sub(lambda match: "\n" * match[0].count("\n"), page.read_text(encoding="utf-8"))
    found, before, start = [], "", 0
    for number, line in shell_lines(text):
        joined, start = (before + " " + line, start) if before else (line, number)
        before = joined[:-1].rstrip() if joined.endswith("\\") else ""
        if before:
            continue
        words = split(joined)
        while words and ("=" in words[0] or words[0] == "$"):
            words = words[1:]
        if "-m" in words[:-1] and words[0] != "python":  # torchrun ... -m multirate train ...
            words = words[words.index("-m") + 1 :]
        if words and words[0] in programs:
            found.append(Command(name_of(page), start, tuple(words)))
    return found


def split(line: str) -> list[str]:
    """Split a line of shell into words, without comments; nothing if it is no shell."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return []


def spans(page: Path) -> list[tuple[int, str]]:
    """Return inline code with its line numbers, outside of fences and comments."""
    text = page.read_text(encoding="utf-8")
    for pattern in (COMMENTS, FENCES):
        text = pattern.sub(lambda match: "\n" * match[0].count("\n"), text)
    return [(text.count("\n", 0, match.start()) + 1, match[1]) for match in SPANS.finditer(text)]
