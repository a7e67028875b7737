"""Tables of pages that are written from committed files: ``MULTIRATE_REGENERATE=1 pytest`` writes them anew."""

import os
from collections.abc import Sequence
from pathlib import Path


def table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; ``head`` names its columns, with `` | `` between them."""
    columns = head.split(" | ")
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [columns, ["---"] * len(columns), *rows])


def holds(page: Path, name: str, made: str) -> None:
    """Assert that a page holds a text between ``<!-- name -->`` and ``<!-- end of name -->``, or write it there."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    listed, _, after = rest.partition(end)
    if os.environ.get("MULTIRATE_REGENERATE"):
        page.write_text(f"{before}{begin}{made}{end}{after}", encoding="utf-8")
        return
    assert listed == made
