"""Names, labels and notes of strangers stay text, in the report, the explorer's page and the model card."""

import json
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import multirate as mr
from multirate.curve import Curve, point
from multirate.integrations.explorer import build
from multirate.integrations.explorer.server import Server
from multirate.integrations.model_card import Card, card_text
from multirate.report import write_report

HOSTILE = (
    "<script>document.title='run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "\"' onload='document.title=1' x=\"",
    "</title></style></svg></code></pre><script>document.title='run'</script>",
    "<!--<script>",
    "]]><svg onload=document.title=1>",
    "[a](javascript:alert(1)) ![b](https://evil.example/b.png) `c` <https://evil.example>",
    "```\n</code>\n\n<script>1</script>\n\n# heading\n",
    "| x | <b> |\n|---|---|\n",
    "$\\frac{$ {{7*7}} ${7*7} %s \\u003cscript\\u003e",
    "\u202e\u2028\x7f&lt;script&gt;",
)
ACTIVE = {
    "script",
    "iframe",
    "object",
    "embed",
    "base",
    "form",
    "link",
    "audio",
    "video",
    "input",
    "button",
    "foreignobject",
}


class Page(HTMLParser):
    """Collects what could run, or ask for something, in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ACTIVE:
            self.found.append(tag)
        for name, value in attrs:
            address = (value or "").strip().lower()
            if name.startswith("on") or name in ("srcdoc", "formaction"):
                self.found.append(f"{tag} {name}")
            if name in ("src", "href", "xlink:href", "action", "data", "poster") and not re.match(
                r"#|data:image/(png|svg\+xml)|[\w./-]+$", address
            ):
                self.found.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def hostile_curve(text: str, **details: Any) -> Curve:
    """A stranger's curve, with a text wherever it may have one."""
    points = []
    for beta, rate, distortion in ((0.1, 9.0, 20.0), (1.0, 4.0, 23.0), (10.0, 1.0, 40.0)):
        points.append(point(beta, rate, distortion) | {text: 1.0, f"frechet_distance[{text}]": 2.0})
    known = dict.fromkeys(("likelihood", "objective", "optimizer", "start", "response", "command", "note", text), text)
    return Curve(text, text, text, text, 100, tuple(points), details=known | details)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:constrained_layout not applied:UserWarning", "ignore:Glyph:UserWarning")
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_in_a_report_runs(tmp_path: Path, text: str) -> None:
    curve = hostile_curve(text)
    curve.save(tmp_path / "curve.json")
    hostile_curve(text).save(tmp_path / "baselines" / "00.json")
    config = {"training": {"epochs": text, text: text}, "model": {"name": text, "options": {text: text}}}
    config |= {"data": {"name": text, "shape": [text]}, "versions": {text: text}, "commit": text, "command": text}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    report = write_report(tmp_path).read_text(encoding="utf-8")
    page = Page(report)
    assert page.found == []
    assert "Content-Security-Policy" in report and "script-src" not in report and "default-src 'none'" in report
    if "<" in text and "\n" not in text and "\x7f" not in text:
        assert text in "".join(page.words)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_in_a_model_card_runs(text: str) -> None:
    markdown_it = pytest.importorskip("markdown_it", reason="renders the card: pip install 'multirate[docs]'")
    torch.manual_seed(0)
    model = mr.convert(mr.models.mlp(shape=(1, 2, 2), latents=2, hidden=(3,)), mr.BetaRange(0.1, 10.0))
    names = ("training_examples", "epochs", "optimizer", "objective", "start")
    card = card_text(
        model,
        Card(
            f"me/{text}",
            hostile_curve(text),
            "figure.png",
            data=text,
            training=dict.fromkeys(names, text),
            vocabulary=True,
        ),
    )
    page = Page(markdown_it.MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(card))
    assert page.found == []
    html = markdown_it.MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(card)
    assert re.findall(r"<(?:a|img)\b[^>]*>", html) == ['<img src="figure.png" alt="rate-distortion curve" />']
    assert html.count("<h1>") == 1 and html.count("<table>") == 1 and html.count("<pre>") == 2
    for block in card.split("```python\n")[1:]:
        compile(block.split("```")[0], "card", "exec")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_in_the_code_of_a_card_is_a_string(text: str) -> None:
    torch.manual_seed(0)
    model = mr.models.mlp(shape=(1, 2, 2), latents=2, hidden=(3,))
    code = card_text(model, Card(f"me/{text}")).split("```python\n")[1].split("\n```")[0]
    calls: list[str] = []

    class Hub:
        @staticmethod
        def from_pretrained(name: str) -> Any:
            calls.append(name)
            return lambda x: x

    line = next(line for line in code.splitlines() if "from_pretrained" in line)
    exec(line, {"hub": Hub})
    assert calls == [f"me/{text}"]


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def hostile_explorer(folder: Path, text: str) -> Path:
    """An explorer's folder whose every text is hostile, as the page finds it."""
    folder.mkdir()
    build._write_page(folder)
    curve = hostile_curve(text)
    lines = [text] * 4
    content = {
        "schema": build.SCHEMA,
        "title": text,
        "subtitle": text,
        "made": text,
        "steps": {
            "beta": [0.1 + i / 100 for i in range(241)],
            **{name: [1.0] * 241 for name in ("rate", "distortion", "elbo")},
        },
        "best": 3,
        "baselines": [{"label": text, "points": [dict(each) for each in curve.points]}],
        "latents": {"noun": text, "threshold": 0.01, "measured": text, "rates": [[1.0, 2.0]] * 241},
        "pictures": None,
        "model": None,
        "sheet": None,
        "kind": "sentences",
        "sentences": {
            "betas": [0.1, 1.0],
            "inputs": lines,
            "reconstructions": [lines, lines],
            "rates": [[1.0] * 4] * 2,
            "samples": [lines, lines],
            "way": [lines, lines],
        },
        "notes": [text],
    }
    (folder / "explorer.json").write_text(json.dumps(content), encoding="utf-8")
    curve.save(folder / "curve.json")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
@pytest.mark.parametrize("text", HOSTILE[:6], ids=range(6))
def test_nothing_in_the_explorers_page_runs(tmp_path: Path, text: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="drives a browser: pip install playwright")
    with Server(hostile_explorer(tmp_path / "explorer", text)) as server, playwright.sync_playwright() as running:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        browser = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        page.wait_for_function(
            "text => document.body.textContent.includes(text)", arg=text.strip()[:12], timeout=30_000
        )
        assert (
            page.evaluate("document.querySelectorAll('main script, main img, main iframe, main [onload]').length") == 0
        )
        assert page.title() != "run" and page.title() != "1"
        assert all(url.startswith(server.url) for url in asked)
        browser.close()
        server.shutdown()
        thread.join()
