"""The examples are notebooks in Python, each on the page of examples and on the site.

``MULTIRATE_REGENERATE=1`` lists them anew and makes their pages.
"""

import ast
import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest
from tests.docs.blocks import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BEGIN, END = "<!-- examples -->\n", "<!-- end of examples -->\n"
PAGE = ROOT / "docs" / "examples.md"
STUB = "<!-- site: examples/{name} -->\n\nOn the site this page is [examples/{name}](../../examples/{name}).\n"
every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


@pytest.fixture
def percent(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The site's reader of notebooks in Python."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "extensions"))
    return importlib.import_module("percent")


@every_example
def test_an_example_is_a_notebook_in_python(path: Path, percent: ModuleType) -> None:
    cells = percent.cells(path.read_text(encoding="utf-8"))
    assert any(cell.markdown for cell in cells)
    assert sum(not cell.markdown for cell in cells) >= 2
    for cell in cells:
        if not cell.markdown:
            ast.parse(cell.text)


@every_example
def test_an_example_does_nothing_when_it_is_imported(path: Path) -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.If, ast.Expr)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        assert isinstance(node, allowed), ast.dump(node)
        assert not isinstance(node, ast.Expr) or isinstance(node.value, ast.Constant)
        assert not isinstance(node, ast.If) or "__main__" in ast.unparse(node.test)


def table(percent: ModuleType) -> str:
    """Return the list of examples: each with its title, or the first sentence of its docstring."""
    rows = []
    for path in EXAMPLES:
        source = path.read_text(encoding="utf-8")
        page = percent.as_markdown(source, path.name).split("\n")
        about = page[0].removeprefix("# ")
        if about == path.name:
            about = (ast.get_docstring(ast.parse(source)) or "").split("\n")[0].rstrip(".")
        rows.append(f"| [{path.name}](../examples/{path.name}) | {about} |\n")
    return "| example | what |\n|---|---|\n" + "".join(rows)


def test_the_page_lists_every_example(percent: ModuleType) -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    listed, _, after = rest.partition(END)
    if os.environ.get("MULTIRATE_REGENERATE"):
        PAGE.write_text(f"{before}{BEGIN}{table(percent)}{END}{after}", encoding="utf-8")
        return
    assert listed == table(percent)


@every_example
def test_an_example_has_a_page_on_the_site(path: Path) -> None:
    stub = ROOT / "docs" / "examples" / f"{path.stem}.md"
    if os.environ.get("MULTIRATE_REGENERATE"):
        stub.write_text(STUB.format(name=path.name), encoding="utf-8")
    assert stub.read_text(encoding="utf-8") == STUB.format(name=path.name)


def test_no_page_is_of_an_example_that_is_gone() -> None:
    assert {path.stem for path in (ROOT / "docs" / "examples").glob("*.md")} == {path.stem for path in EXAMPLES}


def test_cells_are_read_as_notebooks_read_them(percent: ModuleType) -> None:
    source = '"""About."""\n\n# %% [markdown]\n# # Title\n#\n# Text *a*.\n\n# %%\nx = 1\n\n# %% a name\ny = 2\n'
    first, text, code, named = percent.cells(source)
    assert (first.markdown, first.text) == (False, '"""About."""')
    assert (text.markdown, text.text, text.line) == (True, "# Title\n\nText *a*.", 3)
    assert (code.text, named.text) == ("x = 1", "y = 2")
    page = percent.as_markdown(source, "examples/x.py")
    assert page.startswith("# Title\n\nAbout.\n")
    assert page.index("Text *a*.") < page.index("```python\nx = 1\n```") < page.index("y = 2")
    with pytest.raises(ValueError, match="line 1 has a line that is no comment"):
        percent.cells("# %% [markdown]\n# a\nx = 1\n")
