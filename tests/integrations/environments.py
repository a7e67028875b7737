"""The environments of `make test-integrations`: what is installed, what runs there, and a record of when it did.

python tests/integrations/environments.py extras NAME      prints the extras to install
PYTHON tests/integrations/environments.py run NAME         runs the tests; writes results/integrations/NAME.json
"""

import json
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
# Extras; tests; the libraries whose versions the record names.
ENVIRONMENTS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "compressai": ("compressai", ("tests/integrations/test_compressai.py",), ("compressai", "numpy")),
    "pythae": ("pythae", ("tests/integrations/test_pythae.py",), ("pythae", "numpy")),
    "scvi": (
        "scvi",
        ("tests/integrations/test_scvi.py", "tests/integrations/test_silhouettes.py"),
        ("scvi-tools", "scanpy", "lightning", "numpy"),
    ),
    "trackers": (
        "tensorboard,trackio,wandb",
        ("tests/training/test_tracking.py",),
        ("tensorboard", "trackio", "wandb", "accelerate"),
    ),
}
PAGE_TEST = "tests/docs/test_code_blocks.py::test_the_blocks_of_a_page_run_in_order"


def run(name: str) -> int:
    """Run the tests of one environment, and the blocks of its page, and write what came of it."""
    _, tests, libraries = ENVIRONMENTS[name]
    page = f"docs/integrations/{name}.md"
    chosen = [*tests, *([f"{PAGE_TEST}[{page}]"] if (ROOT / page).exists() else [])]
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.xml"
        options = ["-p", "no:cacheprovider", f"--junitxml={report}"]
        done = subprocess.run([sys.executable, "-m", "pytest", *options, *chosen], cwd=ROOT, check=False)
        if not report.exists():
            sys.exit(f"pytest wrote no report; it ended with {done.returncode}")
        (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "skipped", "failures", "errors")}
    record = {
        "command": f"make test-integration-{name}",
        "when": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit(),
        "python": platform.python_version(),
        "versions": {library: metadata.version(library) for library in ("torch", *libraries)},
        **counts,
        "seconds": round(float(suite.get("time", 0.0))),
    }
    folder = ROOT / "results" / "integrations"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    # A library that cannot be imported would skip its tests, and that is what they are here for.
    return done.returncode or int(counts["skipped"] > 0)


def commit() -> str:
    """Return the commit that was tested, short, and whether there were changes beside it."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def main(words: list[str]) -> int:
    """Do what the first word says, for the environment that the second one names."""
    what, name = words
    if what == "run":
        return run(name)
    print(ENVIRONMENTS[name][0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
