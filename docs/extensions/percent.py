"""Notebooks in Python: files whose cells begin with ``# %%`` (code) or ``# %% [markdown]`` (text in comments)."""

import ast
import re
from dataclasses import dataclass

MARK = re.compile(r"^# %%(?: (\[markdown\]))?(?: .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """One cell.

    Args:
        markdown: whether it is text; otherwise it is code.
        text: of the cell, of a text cell without its comment signs.
        line: where it begins in the file, from 1.
    """

    markdown: bool
    text: str
    line: int


def cells(source: str) -> list[Cell]:
    """Take a notebook in Python apart.

    Args:
        source: of the file.

    Returns:
        Its cells in order; what stands before the first mark is a code cell.

    Raises:
        ValueError: if a text cell has a line that is no comment.
    """
    marks = list(MARK.finditer(source))
    bounds = [(0, 0, False), *((mark.start(), mark.end(), mark[1] is not None) for mark in marks)]
    ends = [*(start for start, _, _ in bounds[1:]), len(source)]
    found = []
    for (start, inside, markdown), end in zip(bounds, ends, strict=True):
        text, line = source[inside:end].strip("\n"), source.count("\n", 0, start) + 1
        if text.strip():
            found.append(Cell(markdown, _uncommented(text, line) if markdown else text, line))
    return found


def _uncommented(text: str, line: int) -> str:
    lines = text.split("\n")
    wrong = [one for one in lines if one.strip() and not one.startswith("#")]
    if wrong:
        raise ValueError(f"the text cell at line {line} has a line that is no comment: {wrong[0]!r}")
    return "\n".join(re.sub(r"^# ?", "", one) for one in lines)


def as_markdown(source: str, name: str) -> str:
    """Write a notebook in Python as a page.

    Args:
        source: of the file.
        name: its path.

    Returns:
        Markdown: a title (the first text cell's, else the file's name), the module's docstring, then text and code.
    """
    documented, kept = ast.get_docstring(ast.parse(source)), source
    if documented:
        kept = "\n".join(source.split("\n")[ast.parse(source).body[0].end_lineno :])
    found = cells(kept)
    title = f"# {name.rpartition('/')[2]}"
    if found and found[0].markdown and found[0].text.startswith("# "):
        title, _, rest = found[0].text.partition("\n")
        found = [Cell(True, rest.strip("\n"), found[0].line), *found[1:]]
    about = f"[{name.rpartition('/')[2]}]({name.rpartition('/')[2]}), a notebook in Python."
    parts = [cell.text if cell.markdown else f"```python\n{cell.text}\n```" for cell in found]
    return "\n\n".join([title, *([documented] if documented else []), about, *parts, ""])
