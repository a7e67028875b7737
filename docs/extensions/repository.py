"""The repository on the site: pages made of its own files, and links to files and folders outside of ``docs``.

A page that begins with ``<!-- site: README.md -->`` is that file, with its links turned; one that begins with
``<!-- site: examples/x.py -->`` is a notebook in Python, its cells text and code. Every link from a page to a file or
folder of the repository that is no page leads to a copy below ``files/``, where folders have a page that shows what is
in them. So the site is whole on any host, without network, and shows the files of the version that it was built from.
"""

import html
import posixpath
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from percent import as_markdown
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
STANDS_FOR = re.compile(r"\A<!-- site: (\S+) -->")
FENCE = re.compile(r"^\s*(`{3,}|~{3,}|:{3,})")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
PICTURES = {".png", ".svg", ".jpg", ".jpeg"}


def pages() -> dict[str, str]:
    """Return the files of the repository that are pages, and their pages' names."""
    found = {}
    for path in sorted(DOCS.rglob("*.md")):
        name = path.relative_to(DOCS).with_suffix("").as_posix()
        found[f"docs/{name}.md"] = name
        stands_for = STANDS_FOR.match(path.read_text(encoding="utf-8"))
        if stands_for:
            found[stands_for[1]] = name
    return found


def turned(text: str, source: str, docname: str, known: dict[str, str], copied: set[str]) -> str:
    """Turn the links of a file of the repository into links of its page.

    Args:
        text: Markdown.
        source: the file, relative to the repository.
        docname: of the page that it becomes.
        known: of :func:`pages`.
        copied: gains every file and folder that the site must have a copy of.

    Returns:
        Markdown for the page.
    """
    here, up = posixpath.dirname(docname), "../" * docname.count("/")

    def turn(link: re.Match[str]) -> str:
        bang, label, target = link.groups()
        path, hash_sign, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return link[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(path)))
        there = ROOT / place
        if bang:
            return f"![{label}]({posixpath.relpath(place, posixpath.join('docs', here))})"
        if place in known:
            return f"[{label}]({posixpath.relpath(known[place], here or '.')}.md{hash_sign}{anchor})"
        if place.startswith("../") or not there.exists():
            return link[0]
        copied.add(place)
        address = f"{up}files/{place}" + ("/index.html" if there.is_dir() else "")
        return f'<a class="reference internal" href="{html.escape(address)}">{label}</a>'

    lines, fence = [], ""
    for line in text.splitlines(keepends=True):
        mark = FENCE.match(line)
        if mark and not mark[1].startswith(":") and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        lines.append(line if fence else LINK.sub(turn, line))
    return "".join(lines)


def read(app: Sphinx, docname: str, content: list[str]) -> None:
    """Replace a page by the file that it stands for, and turn its links."""
    stands_for = STANDS_FOR.match(content[0])
    source = stands_for[1] if stands_for else f"docs/{docname}.md"
    text = content[0]
    if stands_for:
        app.env.note_dependency(str(ROOT / source), docname=docname)
        text = (ROOT / source).read_text(encoding="utf-8")
        text = as_markdown(text, source) if source.endswith(".py") else text
    copied: set[str] = set()
    content[0] = turned(text, source, docname, pages(), copied)
    _copied(app)[docname] = copied


def _copied(app: Sphinx) -> dict[str, set[str]]:
    if not hasattr(app.env, "multirate_copied"):
        app.env.multirate_copied = {}
    table: dict[str, set[str]] = app.env.multirate_copied
    return table


def folders(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Copy what pages link to, and yield a page for each folder among it."""
    for place in sorted(set().union(*_copied(app).values())):
        source, target = ROOT / place, Path(app.outdir) / "files" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
                name = folder.relative_to(app.outdir).as_posix()
                title = name.removeprefix("files/")
                yield f"{name}/index", {"title": title, "body": _listing(folder, title)}, "page.html"
        else:
            shutil.copyfile(source, target)


def _listing(folder: Path, title: str) -> str:
    entries = sorted(path for path in folder.iterdir() if path.name != "index.html")
    rows = []
    for path in entries:
        name = html.escape(path.name)
        rows.append(
            f'<li><a class="reference internal" href="{name}{"/index.html" if path.is_dir() else ""}">{name}</a></li>'
        )
    shown = [html.escape(path.name) for path in entries if path.suffix in PICTURES]
    figures = [f'<figure><img src="{name}" alt="{name}"/><figcaption>{name}</figcaption></figure>' for name in shown]
    return f"<h1>{html.escape(title)}</h1>\n<ul>{''.join(rows)}</ul>\n{''.join(figures)}"


def forget(app: Sphinx, env: Any, docname: str) -> None:
    """Drop what a page that has changed linked to."""
    _copied(app).pop(docname, None)


def merge(app: Sphinx, env: Any, docnames: set[str], other: Any) -> None:
    """Join what a worker process has read."""
    _copied(app).update(getattr(other, "multirate_copied", {}))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to the steps of the build."""
    app.connect("source-read", read)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("html-collect-pages", folders)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
