"""The site builds without a warning, works without network, has every public name, and its links lead somewhere.

``MULTIRATE_REGENERATE=1`` lists the integrations anew.
"""

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urldefrag

import pytest
from tests.docs import blocks
from tests.docs.blocks import ROOT

import multirate as mr
import multirate.integrations

pytest.importorskip("sphinx", reason="sphinx is not installed: pip install 'multirate[docs]'")

DOCS = ROOT / "docs"
INTEGRATIONS = DOCS / "api" / "integrations.md"
BEGIN, END = "```{eval-rst}\n", "```\n"
# Namespaces whose public names all have an entry in the reference.
NAMESPACES = ("multirate", "multirate.data", "multirate.models", "multirate.objectives", "multirate.report")
WHOLE = ("multirate.theory", "multirate.errors", "multirate.terms", "multirate.choosing", "multirate.seeding")
# Addresses that a reader may follow, and a page never loads by itself.
FOLLOWED = ("http:", "https:", "mailto:")


class Addresses(HTMLParser):
    """What a page loads, where it leads to, and the places in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.places |= {value for name in ("id", "name") if (value := found.get(name))}
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        elif tag == "link" and found.get("href") and found.get("rel") != "canonical":
            self.loaded.append(str(found["href"]))
        elif found.get("src"):
            self.loaded.append(str(found["src"]))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it; warnings fail the build."""
    out = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(out)]
    closed = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | closed | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return out


@pytest.fixture(scope="session")
def html(site: Path) -> dict[Path, Addresses]:
    """Every page that was built."""
    pages = [path for path in site.rglob("*.html") if "_static" not in path.parts and not _copied_page(path, site)]
    return {path: Addresses(path.read_text(encoding="utf-8")) for path in pages}


def _copied_page(path: Path, site: Path) -> bool:
    """Whether a page is a copy of a file of the repository, such as an explorer."""
    return "files" in path.relative_to(site).parts and (ROOT / path.relative_to(site / "files")).exists()


@pytest.mark.slow
def test_the_site_builds_without_a_warning(site: Path) -> None:
    assert (site / "index.html").exists()
    assert not list(site.rglob("*mathjax*"))


@pytest.mark.slow
def test_a_page_loads_nothing_from_the_network(html: dict[Path, Addresses]) -> None:
    wrong = [(path.name, address) for path, page in html.items() for address in page.loaded if "//" in address]
    assert not wrong


@pytest.mark.slow
def test_every_link_leads_somewhere(site: Path, html: dict[Path, Addresses]) -> None:
    wrong = []
    for path, page in html.items():
        for address in {*page.loaded, *page.links}:
            if address.startswith((*FOLLOWED, "data:", "javascript:")):
                continue
            target, anchor = urldefrag(address)
            there = (path.parent / unquote(target.partition("?")[0])).resolve() if target else path.resolve()
            known = html.get(site / there.relative_to(site.resolve())) if there.is_relative_to(site.resolve()) else None
            if not there.is_file() or (anchor and known and unquote(anchor) not in known.places):
                wrong.append(f"{path.relative_to(site)}: {address}")
    assert not wrong


@pytest.mark.slow
def test_formulas_are_drawn_by_the_browser(html: dict[Path, Addresses]) -> None:
    text = next(page.text for path, page in html.items() if path.name == "concepts.html")
    assert text.count("<math") > 20
    assert "$$" not in re.sub(r"<(pre|script).*?</\1>", "", text, flags=re.DOTALL)


def public_names() -> list[str]:
    names = [f"{space}.{name}" for space in NAMESPACES for name in importlib.import_module(space).__all__]
    for space in WHOLE:
        module = importlib.import_module(space)
        own = [name for name in vars(module) if not name.startswith("_") and _of(module.__name__, vars(module)[name])]
        names += [f"{space}.{name}" for name in own]
    modules = {f"multirate.{name}" for name in ("data", "metrics", "models", "objectives", "theory", "errors")}
    return [name for name in names if name not in modules]


def _of(module: str, thing: object) -> bool:
    return callable(thing) and getattr(thing, "__module__", None) == module


def integrations() -> list[str]:
    found = pkgutil.iter_modules(multirate.integrations.__path__, "multirate.integrations.")
    return [module.name for module in found]


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(html: dict[Path, Addresses]) -> None:
    places = set().union(*(page.places for path, page in html.items() if path.parent.name == "api"))
    missing = [name for name in public_names() if name not in places and not _under_its_own_name(name, places)]
    assert not missing
    assert not [name for name in measures() if f"module-{name}" not in places]


def measures() -> list[str]:
    """Return the modules of measures that are public."""
    metrics = importlib.import_module("multirate.metrics")
    return [f"multirate.metrics.{name}" for name in metrics.__all__ if isinstance(getattr(metrics, name), ModuleType)]


def test_the_page_of_integrations_lists_every_module() -> None:
    listed = "".join(f".. automodule:: {name}\n" for name in integrations())
    before, _, rest = INTEGRATIONS.read_text(encoding="utf-8").partition(BEGIN)
    found, _, after = rest.partition(END)
    if os.environ.get("MULTIRATE_REGENERATE"):
        INTEGRATIONS.write_text(f"{before}{BEGIN}{listed}{END}{after}", encoding="utf-8")
        return
    assert found == listed


def _under_its_own_name(name: str, places: set[str]) -> bool:
    """Whether a name that a module passes on is documented in the module that it comes from."""
    space, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(space), last)
    own = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
    return own in places or (f"multirate.{last}" in places and getattr(mr, last, None) is thing)


@pytest.mark.slow
def test_every_page_is_reached_from_the_first(site: Path, html: dict[Path, Addresses]) -> None:
    start = next(page for path, page in html.items() if path == site / "index.html")
    listed = {urldefrag(link)[0] for link in start.links}
    tops = {
        path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.glob("*.md") if path.stem != "index"
    }
    assert tops <= listed


def test_links_to_the_repository_are_turned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "extensions"))
    repository = importlib.import_module("repository")
    copied: set[str] = set()
    text = (
        "[a](../README.md#results) [b](models.md) ![c](../results/x.png) [d](https://e.f) [`g`](../LICENSE)\n"
        "[h](../results/mnist-linear)\n```text\n[i](../README.md)\n```\n"
    )
    known = {"README.md": "repository/readme", "docs/models.md": "models"}
    turned = repository.turned(text, "docs/page.md", "page", known, copied)
    assert "[a](repository/readme.md#results) [b](models.md) ![c](../results/x.png) [d](https://e.f)" in turned
    assert '<a class="reference internal" href="files/LICENSE">`g`</a>' in turned
    assert 'href="files/results/mnist-linear/index.html">h</a>' in turned
    assert "[i](../README.md)" in turned
    assert copied == {"LICENSE", "results/mnist-linear"}
    deeper = repository.turned("[a](docs/models.md) ![b](c.png)", "README.md", "repository/readme", known, copied)
    assert deeper == "[a](../models.md) ![b](../../c.png)"


def test_a_formula_that_cannot_be_drawn_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "extensions"))
    renderer = importlib.import_module("mathml")
    from docutils.utils.math import MathError

    assert "<msqrt>" in renderer.mathml(r"\sqrt{1 - e^u}")
    assert 'display="block"' in renderer.mathml(r"a \dots b", block=True)
    for half in (r"\tfrac12 x", r"\tfrac 1 2 x", r"\tfrac{1}{2} x"):
        assert re.search(r"<mfrac[^>]*>\s*<mn>1</mn>\s*<mn>2</mn>\s*</mfrac>\s*<mi>x</mi>", renderer.mathml(half))
    with pytest.raises(MathError):
        renderer.mathml(r"\nosuchcommand{x}")


@pytest.mark.slow
def test_the_pictures_are_drawn_again(tmp_path: Path) -> None:
    command = [sys.executable, str(DOCS / "drawing.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"})
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {path.name for path in (DOCS / "pictures").glob("*.png")} - {"quickstart.png"}
    assert all((tmp_path / name).stat().st_size > 10_000 for name in drawn)


def test_no_picture_is_left_over() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in blocks.pages())
    assert not [path.name for path in (DOCS / "pictures").iterdir() if path.name not in text]
