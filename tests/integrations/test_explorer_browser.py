"""The explorer in a real browser: one drags beta, and everything follows; against PyTorch's own numbers."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from explorer_cases import digits_run, text_run
from multirate.data.download import cache_folder
from multirate.experiments.building import first_examples, load_data
from multirate.experiments.run import FinishedRun
from multirate.images import prior_samples, reconstructions
from multirate.integrations.explorer.build import Explorer, explore_run
from multirate.integrations.explorer.runtime import RELEASE, RUNTIME_VARIABLE
from multirate.integrations.explorer.server import Server
from multirate.terms import gaussian_kl
from multirate.wrapper import MultiRate

playwright = pytest.importorskip("playwright.sync_api", reason="drives a browser: pip install playwright")
for _library in ("onnx", "onnxscript"):
    pytest.importorskip(_library, reason="exports to ONNX: pip install 'multirate[onnx]'")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
CACHED = cache_folder() / "onnxruntime-web" / RELEASE.archive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine"),
    # onnx and its exporter use what Python will drop.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(onnx|torch|google).*"),
]
needs_runtime = pytest.mark.skipif(
    not (os.environ.get(RUNTIME_VARIABLE) or CACHED.is_file()),
    reason=f"no onnxruntime-web {RELEASE.version}: set {RUNTIME_VARIABLE}, or run multirate explore once",
)

COUNT = 4
SETTLED = "e => e.ready && e.timing !== null && e.timing.beta === e.content.steps.beta[e.index]"
SIZES = [(1280, 860, "light"), (390, 844, "light"), (1280, 860, "dark")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A multi-rate run of images, evaluated; tests only read it."""
    return digits_run(tmp_path_factory.mktemp("browser") / "run")


@pytest.fixture(scope="module")
def live(run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the explorer of the run."""
    yield from served(explore_run(run, tmp_path_factory.mktemp("live") / "explorer", examples=COUNT))


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the explorer of a run of text."""
    yield from served(explore_run(text_run(tmp_path_factory.mktemp("sentences") / "text")))


def served(made: Explorer) -> Iterator[str]:
    with Server(made.folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


Opener = Callable[..., tuple[Any, Any]]


@pytest.fixture
def opened(browser: Any) -> Iterator[Opener]:
    """Open an address; afterwards nothing may have failed: no request, no script, no word on the console."""
    trouble: list[str] = []
    contexts = []

    def open_page(url: str, width: int = 1280, height: int = 860, scheme: str = "light", **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: trouble.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))
        page.on("response", lambda r: trouble.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.on("request", lambda r: None if r.url.startswith(url.partition("#")[0]) else trouble.append(r.url))
        page.goto(url)
        explorer = page.evaluate_handle("import('./main.js').then((module) => module.explorer)")
        page.wait_for_function(SETTLED, arg=explorer, timeout=60_000)
        return page, explorer

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def settle(page: Any, explorer: Any) -> float:
    """Wait until every picture is of the slider's beta, and return it."""
    page.wait_for_timeout(50)
    page.wait_for_function(SETTLED, arg=explorer, timeout=60_000)
    beta: float = page.evaluate("e => e.timing.beta", explorer)
    return beta


def pixels(page: Any, section: str) -> list[list[int]]:
    """Return red values of the canvases of a section."""
    script = """section => [...document.querySelectorAll(`#${section} canvas`)].map((canvas) => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return [...data].filter((_, k) => k % 4 === 0);
    })"""
    found: list[list[int]] = page.evaluate(script, section)
    return found


def shown(page: Any) -> dict[str, float]:
    """Return beta and the three numbers beside it."""
    ids = {"beta": "beta-value", "rate": "rate", "distortion": "distortion", "elbo": "elbo"}
    return {name: float(page.inner_text(f"#{of}").replace("\u2212", "-")) for name, of in ids.items()}


def point(page: Any) -> tuple[float, float]:
    """Return where the point lies, in pixels of the page."""
    box = page.locator("#curve .point").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def active(page: Any) -> int:
    return int(page.inner_text("#latents-caption").split(" of ")[0])


@needs_runtime
@pytest.mark.parametrize(("width", "height", "scheme"), SIZES)
def test_dragging_the_slider_moves_everything(
    live: str, opened: Opener, width: int, height: int, scheme: str, record_property: Callable[..., None]
) -> None:
    page, explorer = opened(f"{live}#beta=0.02", width, height, scheme)
    box = page.locator("#beta").bounding_box()
    before = {section: pixels(page, section) for section in ("reconstructions", "samples", "interpolation")}
    numbers, place, alive = shown(page), point(page), active(page)
    assert numbers["beta"] == pytest.approx(0.02, rel=0.02)
    page.mouse.move(box["x"] + 11 + 0.1 * (box["width"] - 22), box["y"] + box["height"] / 2)
    page.mouse.down()
    for share in np.linspace(0.1, 1.0, 25):
        page.mouse.move(box["x"] + 11 + share * (box["width"] - 22), box["y"] + box["height"] / 2)
    page.mouse.up()
    assert settle(page, explorer) == 10
    after = shown(page)
    assert after["beta"] == 10 and after["rate"] < numbers["rate"] and after["distortion"] > numbers["distortion"]
    x, y = point(page)
    assert x < place[0] - 20 and y < place[1] - 20
    assert active(page) < alive
    for section, old in before.items():
        new = pixels(page, section)
        changed = [a != b for a, b in zip(old, new, strict=True)]
        # In each pair of the first section the upper picture is the test image.
        assert changed == ([False, True] * COUNT if section == "reconstructions" else [True] * len(old))
    record_property("milliseconds", json.dumps(page.evaluate("e => e.timing", explorer)))
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@needs_runtime
def test_the_point_can_be_dragged_along_the_curve(live: str, opened: Opener) -> None:
    page, explorer = opened(f"{live}#beta=0.02")
    start, old = point(page), shown(page)
    page.mouse.move(*start)
    page.mouse.down()
    box = page.locator("#curve").bounding_box()
    page.mouse.move(start[0] - 60, start[1] - 10, steps=6)
    page.mouse.up()
    settle(page, explorer)
    new = shown(page)
    assert new["rate"] < old["rate"] and new["beta"] > old["beta"]
    assert point(page)[0] == pytest.approx(start[0] - 60, abs=12)
    page.mouse.click(box["x"] + 50, box["y"] + 12)
    settle(page, explorer)
    assert shown(page)["beta"] > 5
    assert float(page.input_value("#beta")) == page.evaluate("e => e.index", explorer)


@needs_runtime
@pytest.mark.parametrize("beta", [0.01, 0.5, 10.0])
def test_numbers_and_pictures_are_those_of_pytorch_at_that_beta(
    run: FinishedRun, live: str, opened: Opener, beta: float
) -> None:
    page, explorer = opened(f"{live}#beta={beta}")
    exact = settle(page, explorer)
    assert exact == pytest.approx(beta, rel=0.015)
    views: dict[str, list[dict[str, Any]]] = page.evaluate(
        """e => Object.fromEntries(Object.entries(e.views).map(([name, view]) => [name, view.known.map((k) => (
            { beta: k.beta, rate: k.rate ?? null, picture: [...k.picture] }))]))""",
        explorer,
    )
    assert {known["beta"] for view in views.values() for known in view} == {exact}
    x = first_examples(load_data(run.spec, "test"), COUNT)
    model = run.model
    assert isinstance(model, MultiRate)
    with torch.no_grad(), model.at(exact):
        posterior = model.base.encode(x)
        rate = gaussian_kl(posterior.mean, posterior.variance.log()).sum(-1)
        shares = torch.linspace(0, 1, 7)[:, None]
        way = model.base.decode(torch.lerp(posterior.mean[:1], posterior.mean[1:2], shares)).mean
    truths = {
        "reconstructions": reconstructions(model, x, [exact])[0],
        "samples": prior_samples(model, [exact], COUNT)[0],
        "interpolation": way.numpy(),
    }
    for name, truth in truths.items():
        found = np.array([known["picture"] for known in views[name]])
        assert found == pytest.approx(truth.reshape(len(truth), -1), abs=1e-3)
    assert [known["rate"] for known in views["reconstructions"]] == pytest.approx(rate.tolist(), abs=1e-3)
    for canvas, truth in zip(pixels(page, "samples"), truths["samples"], strict=True):
        assert canvas == pytest.approx(255 * truth.clip(0, 1).ravel(), abs=1)
    captions = page.locator("#reconstructions figcaption").all_inner_texts()
    assert captions == [f"{value:.1f} nats" for value in rate.tolist()]


@needs_runtime
def test_the_keyboard_alone_is_enough(live: str, opened: Opener) -> None:
    page, explorer = opened(f"{live}#beta=1")
    reached: list[str] = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert reached[:6] == ["skip", "theme", "best", "beta", "sorted", "from"]
    page.focus("#beta")
    index = page.evaluate("e => e.index", explorer)
    for key, move in (("ArrowRight", 1), ("ArrowLeft", -1), ("PageUp", 24), ("PageDown", -24)):
        page.keyboard.press(key)
        settle(page, explorer)
        index += move
        assert page.evaluate("e => e.index", explorer) == index
    page.keyboard.press("End")
    assert settle(page, explorer) == 10
    assert page.get_attribute("#beta", "aria-valuetext") == "beta 10"
    page.focus("#best")
    page.keyboard.press("Enter")
    settle(page, explorer)
    assert page.evaluate("e => e.index === e.content.best", explorer)


@needs_runtime
def test_the_skip_link_goes_to_the_pictures_and_leaves_beta_alone(live: str, opened: Opener) -> None:
    page, explorer = opened(f"{live}#beta=0.5")
    index = page.evaluate("e => e.index", explorer)
    page.focus("#skip")
    page.keyboard.press("Enter")
    page.wait_for_timeout(100)
    settle(page, explorer)
    assert page.evaluate("document.activeElement.id") == "content"
    assert page.evaluate("e => e.index", explorer) == index


@needs_runtime
def test_a_screen_reader_hears_where_the_page_is_once_it_rests(live: str, opened: Opener) -> None:
    page, explorer = opened(f"{live}#beta=1")
    page.focus("#beta")
    page.keyboard.press("Home")
    settle(page, explorer)
    page.wait_for_function("() => document.querySelector('#summary').textContent.startsWith('Beta 0.01: ')")
    numbers = shown(page)
    summary = page.inner_text("#summary")
    assert f"rate {numbers['rate']:.2f}, distortion {numbers['distortion']:.2f}" in summary
    assert f"{active(page)} of 6 latents carry more than 0.01 nats" in summary
    assert "The point is at beta 0.01: rate" in page.get_attribute("#curve", "aria-label")
    for canvas in page.locator("canvas").all():
        assert canvas.get_attribute("role") == "img" and canvas.get_attribute("aria-label")
    page.wait_for_function("() => location.hash === '#beta=0.01'")


@needs_runtime
def test_the_ends_of_the_way_can_be_chosen(live: str, opened: Opener) -> None:
    page, explorer = opened(f"{live}#beta=0.1")
    page.evaluate("e => { e.timing = null; }", explorer)
    page.select_option("#from", label="image 3")
    settle(page, explorer)
    ends = pixels(page, "interpolation")
    made = pixels(page, "reconstructions")[1::2]
    assert ends[0] == made[2] and ends[6] == made[1]
    page.locator("#beta").press("End")
    settle(page, explorer)
    ends, made = pixels(page, "interpolation"), pixels(page, "reconstructions")[1::2]
    assert ends[0] == made[2] and ends[6] == made[1]


@needs_runtime
def test_latents_stand_busiest_first_or_in_the_models_order(live: str, opened: Opener) -> None:
    page, explorer = opened(f"{live}#beta=0.05")
    rates = page.evaluate("e => e.content.latents.rates[e.index]", explorer)

    def titles() -> list[str]:
        found: list[str] = page.evaluate("[...document.querySelectorAll('#latents title')].map((t) => t.textContent)")
        return found

    first = titles()
    page.uncheck("#sorted")
    assert titles() == [f"latent {j}: {rate:.3f} nats" for j, rate in enumerate(rates)]
    assert sorted(first) == sorted(titles())
    heights = page.evaluate(
        "[...document.querySelectorAll('#latents .bar')].map((b) => Number(b.getAttribute('height')))"
    )
    assert np.argsort(heights).tolist() == np.argsort(rates).tolist()


@needs_runtime
def test_of_many_moves_the_last_is_what_is_shown(live: str, opened: Opener) -> None:
    page, explorer = opened(f"{live}#beta=0.1")
    page.evaluate(
        """async () => {
            const slider = document.querySelector('#beta');
            for (let k = 0; k <= 200; k += 1) {
                slider.value = k;
                slider.dispatchEvent(new Event('input', { bubbles: true }));
                if (k % 7 === 0) { await new Promise((resolve) => setTimeout(resolve, 3)); }
            }
        }"""
    )
    exact = settle(page, explorer)
    known = page.evaluate("e => Object.values(e.views).flatMap((view) => view.known.map((k) => k.beta))", explorer)
    assert set(known) == {exact} and page.evaluate("e => e.index", explorer) == 200
    assert page.locator(".stale").count() == 0


@needs_runtime
def test_pictures_made_beforehand_are_there_while_the_model_works(run: FinishedRun, live: str, opened: Opener) -> None:
    page, explorer = opened(f"{live}#beta=0.1")
    page.evaluate("e => { e.views.samples.model.ask = () => new Promise(() => {}); }", explorer)
    page.locator("#beta").press("End")
    page.wait_for_timeout(200)
    x = first_examples(load_data(run.spec, "test"), COUNT)
    for section, truth in (
        ("reconstructions", reconstructions(run.model, x, [10.0])[0]),
        ("samples", prior_samples(run.model, [10.0], COUNT)[0]),
    ):
        canvases = pixels(page, section)
        for canvas, values in zip(canvases[1::2] if section == "reconstructions" else canvases, truth, strict=True):
            assert canvas == pytest.approx(255 * values.clip(0, 1).ravel(), abs=1)
    assert page.locator("figcaption.stale").count() == COUNT  # rates that are another beta's
    assert page.locator("canvas.stale").count() == 0
    page.select_option("#to", label="image 4")
    assert page.locator("#interpolation canvas.stale").count() == 7  # nothing was made between these two


@needs_runtime
def test_the_theme_follows_the_system_until_the_button_is_pressed(live: str, opened: Opener) -> None:
    page, _ = opened(live, scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(20, 24, 29)"
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    page.click("#theme")
    assert page.evaluate(background) == "rgb(245, 247, 250)"
    page.reload()
    page.wait_for_function("() => !document.querySelector('#main').hidden")
    assert page.evaluate(background) == "rgb(245, 247, 250)"
    page.wait_for_function("() => document.querySelector('#timing').textContent !== ''")


@needs_runtime
def test_it_asks_for_no_motion(live: str, opened: Opener) -> None:
    page, _ = opened(live, reduced_motion="reduce")
    script = """[...document.querySelectorAll('*')].filter((element) => {
        const style = getComputedStyle(element);
        return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0;
    }).length"""
    assert page.evaluate(script) == 0


def test_sentences_change_with_the_slider(sentences: str, opened: Opener, browser: Any) -> None:
    page, explorer = opened(f"{sentences}#beta=0.01")
    found = page.evaluate("e => e.content.sentences", explorer)

    def written(section: str) -> list[str]:
        texts: list[str] = page.locator(f"#{section} .written").all_inner_texts()
        return texts

    for key, row in (("Home", 0), ("End", 23)):
        page.locator("#beta").press(key)
        settle(page, explorer)
        assert written("reconstructions") == found["reconstructions"][row]
        assert written("samples") == found["samples"][row]
        assert written("interpolation") == found["way"][row]
    assert page.inner_text("#nearest") == "Made beforehand at 24 β; shown is the nearest, β = 10."
    assert not page.locator("#ends").is_visible()
    assert active(page) <= 3


def test_words_that_were_kept_are_marked_in_order(sentences: str, opened: Opener) -> None:
    page, _ = opened(sentences)
    script = "(pair) => import('./sentences.js').then((m) => m.kept(pair[0].split(' '), pair[1].split(' ')))"
    assert page.evaluate(script, ["the dog sees a tree", "the cat sees a fish"]) == [True, False, True, True, False]
    assert page.evaluate(script, ["a b", "b a"]).count(True) == 1
    assert page.evaluate(script, ["x y", "z"]) == [False, False]


def test_opened_as_a_file_it_says_how_to_serve_it(sentences: str, browser: Any, tmp_path: Path) -> None:
    page_file = Path(__file__).parents[2] / "src/multirate/integrations/explorer/page/index.html"
    shutil.copy(page_file, tmp_path / "index.html")
    context = browser.new_context()
    page = context.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    assert "multirate explore RUN" in page.inner_text("#status")
    assert not page.locator("#main").is_visible()
    context.close()
