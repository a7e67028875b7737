"""A run's folder: ``config.yaml``, ``metrics.jsonl``, ``checkpoints/`` and ``model/``."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from multirate.errors import DataError, TrainingError, UsageError
from multirate.files import append_line, write_atomic
from multirate.locking import alone
from multirate.reading import read_file, reason
from multirate.training.config import TrainConfig
from multirate.yamlfile import read_yaml

LIBRARIES = ("multirate", "torch", "numpy", "accelerate")
# Options that change neither weights nor metrics, so that a run may be resumed with others.
FREE_OPTIONS = ("checkpoint_every", "device")


class RunFolder:
    """Paths of one run and its two text files; without a path it keeps nothing, and every method is a no-op.

    Args:
        path: the run's folder, or None.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)

    @property
    def checkpoints(self) -> Path | None:
        """Where checkpoints go."""
        return None if self.path is None else self.path / "checkpoints"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder within a block, by the first of a run's processes for all of them.

        Raises:
            DataError: if another process works in it, or it cannot be written.
        """
        if self.path is None or os.environ.get("RANK", "0") != "0":
            yield
        else:
            with alone(self.path):
                yield

    def exists(self) -> bool:
        """Return whether a run was started here."""
        return self.path is not None and (self.path / "config.yaml").exists()

    def check_free(self) -> None:
        """Raise unless a new run can start here.

        Raises:
            UsageError: if there is a run already.
        """
        if self.exists():
            raise UsageError(f"{self.path} already holds a run; pass --resume (resume=True) or choose another folder")

    def write_config(self, document: dict[str, Any]) -> None:
        """Write ``config.yaml``.

        Args:
            document: plain values, see :func:`describe`.

        Raises:
            DataError: if the file cannot be written.
        """
        if self.path is not None:
            write_atomic(self.path / "config.yaml", yaml.safe_dump(document, sort_keys=False))

    def check_same(self, document: dict[str, Any]) -> None:
        """Raise unless ``document`` describes the run that is here.

        Args:
            document: of the run about to be resumed.

        Raises:
            TrainingError: naming the first field that differs, with both values.
        """
        if self.path is None:
            return
        try:
            stored = read_yaml(self.path / "config.yaml")
        except (OSError, DataError) as error:
            raise TrainingError(f"cannot read {self.path / 'config.yaml'}: choose another folder") from error
        if not isinstance(stored, dict):
            raise TrainingError(f"{self.path / 'config.yaml'} is empty or no record of a run; choose another folder")
        for section in ("training", "model", "data"):
            before = stored.get(section)
            if section == "training" and isinstance(before, dict):  # of a version that did not have an option yet
                before = {
                    **{key: value for key, value in asdict(TrainConfig()).items() if key in document[section]},
                    **before,
                }
            difference = _first_difference(section, before, document[section])
            if difference is not None:
                raise TrainingError(f"cannot resume {self.path}: {difference}; use the same or choose another folder")

    def append(self, line: dict[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``.

        Raises:
            DataError: if the file cannot be written; it is then as it was.
        """
        if self.path is not None:
            append_line(self.path / "metrics.jsonl", json.dumps(line))

    def truncate(self, step: int) -> list[dict[str, Any]]:
        """Drop the lines of ``metrics.jsonl`` after ``step``, one that was being written, and those without a step.

        Args:
            step: of the checkpoint that the run goes on from.

        Returns:
            The lines that stay.

        Raises:
            DataError: if the file cannot be read or written.
        """
        if self.path is None or not (self.path / "metrics.jsonl").exists():
            return []
        kept = []
        try:
            before = read_file(self.path / "metrics.jsonl").decode("utf-8", "replace")
        except OSError as error:
            raise DataError(f"cannot read {self.path / 'metrics.jsonl'}: {reason(error)}; remove it") from error
        for text in before.splitlines():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                break
            reached = line.get("step") if isinstance(line, dict) else None
            if not isinstance(reached, int):
                continue
            if reached > step:
                break
            kept.append(line)
        after = "".join(json.dumps(line) + "\n" for line in kept)
        if after != before:
            write_atomic(self.path / "metrics.jsonl", after)
        return kept


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide a run's numbers, as far as they are installed."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the commit of multirate, if it is installed from git or run from a clone, else None."""
    try:
        record = json.loads(metadata.distribution("multirate").read_text("direct_url.json") or "{}")
        if "vcs_info" in record:
            return str(record["vcs_info"]["commit_id"])
    except metadata.PackageNotFoundError:
        pass
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or not (root / "src" / "multirate").is_dir():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--verify", "-q", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _first_difference(path: str, stored: Any, wanted: Any) -> str | None:
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in {**stored, **wanted}:
            if path == "training" and key in FREE_OPTIONS:
                continue
            difference = _first_difference(f"{path}.{key}", stored.get(key), wanted.get(key))
            if difference is not None:
                return difference
        return None
    return None if stored == wanted else f"{path} was {stored} and is now {wanted}"
