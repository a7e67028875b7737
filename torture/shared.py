"""What every harness records: settings, result, commit, versions and time, in one small JSON file."""

import platform
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from multirate.files import write_json

RESULTS = Path(__file__).parent / "results"

_STARTED = time.perf_counter()
_LIBRARIES = ("multirate", "torch", "numpy", "pillow", "safetensors", "PyYAML", "scipy")


def record(name: str, settings: Mapping[str, Any], result: Mapping[str, Any]) -> Path:
    """Write ``results/NAME.json``, atomically.

    Args:
        name: of the harness.
        settings: what it was asked for: sizes, seeds.
        result: counts, and failures in full; values that JSON holds.

    Returns:
        The file.
    """
    content = {
        "harness": name,
        "settings": dict(settings),
        "commit": commit(),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in _LIBRARIES},
        "seconds": round(time.perf_counter() - _STARTED, 1),
        "result": dict(result),
    }
    return write_json(RESULTS / f"{name}.json", content)


def commit() -> str | None:
    """Return the checkout's commit, with ``-dirty`` where files other than records differ; None outside a checkout."""
    try:
        name = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)torture/results")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{name}-dirty" if changed else name


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=RESULTS.parent, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
