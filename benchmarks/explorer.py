"""How long a drag takes in the explorer, in headless Chromium, from the browser's input event to what is drawn.

    python benchmarks/explorer.py runs/mnist/explorer
    python benchmarks/explorer.py runs/mnist/explorer --pictures docs     # also docs/explorer.png and explorer-dark.png

The slider is dragged over its whole length. *near* is when the point, the numbers, the latents and all pictures at the
nearest of the betas made beforehand are there; *exact* is when every picture is the model's own at the slider's beta,
measured at moves that are waited for one by one.
"""

import argparse
import shutil
import threading
from pathlib import Path
from typing import Any

from measuring import save, spread
from playwright.sync_api import Page, sync_playwright

from multirate.integrations.explorer.server import Server

MOVES, WAITED = 100, 20
WIDTH, HEIGHT = 1280, 860
SHOWN_AT, DARK_AT = 0.3, 4.6
SETTLED = "e => e.ready && e.timing !== null && e.timing.beta === e.content.steps.beta[e.index]"
LISTEN = "e => { e.times = []; e.moved = (time) => e.times.push(time); }"


def opened(page: Page, url: str) -> Any:
    """Open the page and wait until all its pictures are there."""
    page.goto("about:blank")
    page.goto(url)
    explorer = page.evaluate_handle("import('./main.js').then((module) => module.explorer)")
    page.wait_for_function(SETTLED, arg=explorer, timeout=120_000)
    return explorer


def drag(page: Page, explorer: Any) -> list[float]:
    """Drag the slider from one end to the other; return the milliseconds until each frame of the drag was drawn."""
    box = page.locator("#beta").bounding_box()
    assert box is not None
    page.evaluate(LISTEN, explorer)
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 11, middle)
    page.mouse.down()
    for move in range(1, MOVES + 1):
        page.mouse.move(box["x"] + 11 + (box["width"] - 22) * move / MOVES, middle)
        page.wait_for_timeout(16)
    page.mouse.up()
    page.wait_for_function(SETTLED, arg=explorer, timeout=120_000)
    found: list[float] = page.evaluate("e => e.times", explorer)
    return found


def exact(page: Page, explorer: Any) -> list[float]:
    """Return the milliseconds until all pictures were the model's own, at moves that are waited for."""
    found = []
    for _ in range(WAITED):
        page.locator("#beta").press("ArrowLeft")
        page.wait_for_timeout(50)
        page.wait_for_function(SETTLED, arg=explorer, timeout=120_000)
        found.append(float(page.evaluate("e => e.timing.exact ?? e.timing.near", explorer)))
    return found


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="+", help="of explorers")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the first one")
    parser.add_argument("--name", default="explorer", help="of the file of results")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for index, folder in enumerate(options.folder):
            with Server(folder) as server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                explorer = opened(page, f"{server.url}#beta=1")
                row = {
                    "setting": page.inner_text("#title"),
                    "pictures": page.locator("canvas").count(),
                    "near": spread(drag(page, explorer)),
                    "exact": spread(exact(page, explorer)),
                }
                rows.append(row)
                print(row["setting"], *(f"{kind} {row[kind]['median']:.1f} ms" for kind in ("near", "exact")), sep=", ")
                page.close()
                if index == 0 and options.pictures:
                    for name, scheme, beta in (("explorer", "light", SHOWN_AT), ("explorer-dark", "dark", DARK_AT)):
                        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
                        opened(page, f"{server.url}#beta={beta}")
                        page.screenshot(path=options.pictures / f"{name}.png")
                        page.close()
                server.shutdown()
        version = browser.version
        browser.close()
    save(options.name, rows, browser=f"Chromium {version}", moves=MOVES, waited=WAITED, units="milliseconds")


if __name__ == "__main__":
    main()
