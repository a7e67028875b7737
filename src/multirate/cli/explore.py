"""``multirate explore``."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make a page on which you drag beta and see what the run's model makes of it, and serve it on this machine.

    Example: multirate explore runs/mnist

    The folder is self-contained: it works without network, and any static host can serve it. Runtime of the page is
    onnxruntime-web, downloaded once; MULTIRATE_ONNXRUNTIME_WEB or --runtime names a copy.
    """

    run: PositionalRun
    """Folder of an evaluated multi-rate run."""
    out: Path | None = None
    """Folder to make, by default explorer in the run's."""
    examples: int | None = None
    """How many test examples to show, and how many draws from the prior: 8 pictures or 4 sentences by default."""
    runtime: Path | None = None
    """Archive or folder of onnxruntime-web, in place of a download."""
    data_dir: str | None = None
    """Folder of the original data files, in place of the run's."""
    serve: bool = True
    """Serve the folder on 127.0.0.1 until Ctrl-C."""
    port: int = 0
    """Port to serve on; 0 takes a free one."""
    browser: bool = True
    """Open the page in a browser, where there is a screen."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Make the folder, serve it and say where."""
    from multirate.experiments.run import open_run
    from multirate.integrations.explorer.build import explore_run
    from multirate.integrations.explorer.server import Server, open_browser

    screen = Screen(options.shared)
    screen.say(f"making the explorer of {options.run} ...")
    made = explore_run(
        open_run(options.run),
        options.out,
        examples=options.examples,
        runtime=options.runtime,
        data_dir=options.data_dir,
    )
    for note in made.notes:
        screen.say(f"note: {note}")
    screen.say(f"wrote {made.folder}, {made.bytes / 1e6:.1f} MB; any web server can serve it")
    found = {"explorer": str(made.folder), "kind": made.kind, "notes": list(made.notes), "bytes": made.bytes}
    if not options.serve:
        screen.result(found)
        return
    server = Server(made.folder, options.port)
    screen.result(found | {"url": server.url})
    screen.say(f"serving it at {server.url} (Ctrl-C ends it)")
    sys.stdout.flush()
    if options.browser and not screen.json:
        open_browser(server.url)
    server.run()
