"""A page of HTML that needs nothing else: no script, no request, every text escaped, every picture inside.

A :class:`Report` is a list of sections of blocks; :func:`page` turns it into one file. What a run's report says is
decided in :mod:`multirate.report.assemble`.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources
from typing import TypeAlias

from multirate.errors import UsageError


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Notice:
    """Sentences that stand out: what is missing, what to mind."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Commands or settings, as they are typed."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Pairs of name and text."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Picture:
    """A drawing on a white card, in light and dark.

    Args:
        caption: shown below it.
        alt: what it shows, for readers who do not see it.
        svg: an ``<svg>`` element made by :func:`multirate.report.style.to_svg`, put in as it is.
        png: bytes of a PNG file, in place of ``svg``.

    Raises:
        UsageError: unless exactly one of ``svg`` and ``png`` is given.
    """

    caption: str
    alt: str
    svg: str | None = None
    png: bytes | None = None

    def __post_init__(self) -> None:
        if (self.svg is None) == (self.png is None):
            raise UsageError(f"picture {self.caption!r} needs either svg or png")


@dataclass(frozen=True)
class Table:
    """Rows of text, the header first; the first cell of each row names it.

    Args:
        rows: the header and the rows.
        caption: shown above it.
        marked: index of a row, from 0 without the header, to stand out.
        text: align to the left, for words rather than numbers.
    """

    rows: Sequence[Sequence[str]]
    caption: str
    marked: int | None = None
    text: bool = False


@dataclass(frozen=True)
class Link:
    """A sentence that ends in a link to a file beside the page.

    Args:
        text: before the link.
        label: of the link.
        address: relative, and escaped where it has to be.
    """

    text: str
    label: str
    address: str


@dataclass(frozen=True)
class Fold:
    """Blocks that open on request."""

    summary: str
    blocks: "tuple[Block, ...]"


Block: TypeAlias = Text | Bullets | Notice | Code | Facts | Picture | Table | Link | Fold


@dataclass(frozen=True)
class Section:
    """A heading and what is under it.

    Args:
        title: of the section.
        blocks: its content, in order.
    """

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """A report's content.

    Args:
        title: of the page.
        subtitle: one line below it.
        lead: the result in a sentence or two.
        cards: the facts to see first, as (name, value, note).
        sections: in order.
        footer: one line at the end.
    """

    title: str
    subtitle: str
    lead: str
    cards: tuple[tuple[str, str, str], ...]
    sections: tuple[Section, ...]
    footer: str = ""


def page(report: Report) -> str:
    """Write a report as one HTML file.

    Args:
        report: its content.

    Returns:
        HTML, UTF-8, that opens without network and without scripts.
    """
    titles = [escape(section.title) for section in report.sections]
    links = "".join(f'<a href="#s{i}">{title}</a>' for i, title in enumerate(titles))
    sections = "\n".join(
        f'<section id="s{i}" aria-labelledby="h{i}">\n<h2 id="h{i}">{title}</h2>\n{_blocks(section.blocks)}\n</section>'
        for i, (title, section) in enumerate(zip(titles, report.sections, strict=True))
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(report.title)}</title>
<style>
{_css()}</style>
</head>
<body>
<header>
<p class="kind">multirate run report</p>
<h1>{escape(report.title)}</h1>
<p class="subtitle">{escape(report.subtitle)}</p>
<p class="lead">{escape(report.lead)}</p>
{_cards(report.cards)}
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{sections}
</main>
<footer>{escape(report.footer)}</footer>
</body>
</html>
"""


@cache
def _css() -> str:
    return resources.files("multirate.report").joinpath("page.css").read_text(encoding="utf-8")


def _cards(cards: Sequence[tuple[str, str, str]]) -> str:
    if not cards:
        return ""
    items = "\n".join(
        f'<div><dt>{escape(name)}</dt><dd class="value">{escape(value)}</dd><dd class="note">{escape(note)}</dd></div>'
        for name, value, note in cards
    )
    return f'<dl class="cards">\n{items}\n</dl>'


def _blocks(blocks: Sequence[Block]) -> str:
    return "\n".join(_block(block) for block in blocks)


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"
        case Notice(lines):
            return f'<aside role="note">{"".join(f"<p>{escape(line)}</p>" for line in lines)}</aside>'
        case Code(text):
            return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
        case Facts(pairs):
            return f'<dl class="facts">{"".join(f"<dt>{escape(n)}</dt><dd>{escape(v)}</dd>" for n, v in pairs)}</dl>'
        case Link(text, label, address):
            return f'<p>{escape(text)} <a href="{escape(address)}">{escape(label)}</a></p>'
        case Fold(summary, inner):
            return f"<details>\n<summary>{escape(summary)}</summary>\n{_blocks(inner)}\n</details>"
        case Picture():
            return _picture(block)
        case Table():
            return _table(block)


def _picture(picture: Picture) -> str:
    if picture.svg is not None:
        drawing = picture.svg.replace("<svg", f'<svg role="img" aria-label="{escape(picture.alt)}"', 1)
    else:
        data = base64.b64encode(picture.png or b"").decode()
        drawing = f'<img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}">'
    return f"<figure>\n{drawing}\n<figcaption>{escape(picture.caption)}</figcaption>\n</figure>"


def _table(table: Table) -> str:
    header, *rows = table.rows
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = []
    for index, (name, *cells) in enumerate(rows):
        mark = ' class="marked"' if index == table.marked else ""
        values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body.append(f'<tr{mark}><th scope="row">{escape(name)}</th>{values}</tr>')
    kind = ' class="text"' if table.text else ""
    caption = escape(table.caption)
    return (
        f'<div class="scroll" role="region" aria-label="{caption}" tabindex="0">\n<table{kind}>\n'
        f"<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n"
        "</tbody>\n</table>\n</div>"
    )
