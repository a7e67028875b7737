"""Kills real runs of the command line at random moments, lets them go on, and compares with runs that nobody touched.

Each command runs in a process of its own. A kill (SIGKILL) comes at a random time, from the first instruction to the
last, or as soon as the n-th change is seen in the run's folder, or as soon as the n-th half-written file is there. The
same command then goes on, and may be killed again, until it is done. Every file of the folder must then be what the
unbroken run wrote, bit for bit, but for the times of :data:`torture.comparing.TIMES`; nothing may be left over.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torture.comparing import TIMES, differences, gaps, unfinished
from torture.shared import record

FOLDER = "run"
SMALL = ("--data", "digits", "--examples", "512", "--batch-size", "64", "--latents", "4")
TIMING = ("--log-every", "3", "--checkpoint-every", "5", "--validate", "--decay", "plateau")
TEXT = "the rate of a code is what it costs to send , and the distortion is what is lost on the way .\n"
# Seconds after which a run that was not killed hangs.
LIMIT = 300.0
# A run makes so many of its kills at a random time, at a change, at a half-written file.
MOMENTS = ("time", "change", "writing")


@dataclass(frozen=True)
class Subject:
    """Something to kill.

    Args:
        name: of the kind.
        variant: of the kind.
        command: words after ``multirate``; the same command goes on.
        before: commands that make what it starts from.
        steps: of training, to be found in ``metrics.jsonl`` each; None where there are several runs.
    """

    name: str
    variant: str
    command: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    steps: int | None = None


def _train(variant: str, *options: str, steps: int) -> Subject:
    words = ("train", *options, *TIMING, "--resume", "--out", FOLDER)
    return Subject("train", variant, words, steps=steps)


def _sweep(variant: str, *options: str) -> Subject:
    training = ("--model", "mlp", "--hidden", "256", "--epochs", "3", "--log-every", "3", "--checkpoint-every", "5")
    return Subject("sweep", variant, ("sweep", *SMALL, *training, "--betas", "0.1,1,10", *options, "--out", FOLDER))


_TRAINED = ("train", *SMALL, "--model", "mlp", "--hidden", "256", "--epochs", "2", "--out", FOLDER)
_MEASURES = ("--measures", "active_units", "decomposition", "log_likelihood", "--importance-samples", "10")
SUBJECTS = (
    _train("multi-rate MLP", *SMALL, "--model", "mlp", "--hidden", "512", "--epochs", "4", steps=32),
    _train("plain linear VAE", *SMALL, "--model", "linear", "--beta", "0.5", "--epochs", "6", steps=48),
    _train(
        "NVAE with spectral penalty",
        *("--data", "digits", "--data-options", "size=28", "--examples", "64", "--batch-size", "16", "--epochs", "2"),
        *("--model", "nvae", "--spectral-regularization", "0.1"),
        steps=8,
    ),
    _train("LSTM on text", "--data", "words.txt", "--model", "lstm", "--batch-size", "16", "--epochs", "4", steps=32),
    _sweep("one process"),
    _sweep("two processes", "--jobs", "2"),
    Subject("evaluate", "a curve", ("evaluate", FOLDER, "--betas", "8"), (_TRAINED,)),
    Subject("evaluate", "further measures", ("evaluate", FOLDER, "--betas", "3", *_MEASURES), (_TRAINED,)),
    Subject("reproduce", "fig4", ("reproduce", "fig4", "--out", FOLDER)),
    Subject("reproduce", "fig4, two processes", ("reproduce", "fig4", "--jobs", "2", "--out", FOLDER)),
)
NAMES = tuple(dict.fromkeys(subject.name for subject in SUBJECTS))


@dataclass
class Result:
    """What came of one subject.

    Args:
        kills: by moment.
        half_written: kills that left a file half written.
        runs: that were killed and came to their end.
        seconds: of an unbroken run.
        failures: what differed, or went wrong.
    """

    kills: Counter[str] = field(default_factory=Counter)
    half_written: int = 0
    runs: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


class Killer:
    """Runs one subject in folders of its own.

    Args:
        subject: what to run.
        place: a folder for its folders.
        seed: of the moments.
        program: what the command's words follow.
    """

    def __init__(self, subject: Subject, place: Path, seed: int, program: Sequence[str]) -> None:
        self.subject = subject
        self.place = place
        self.program = tuple(program)
        self.random = random.Random(f"{seed} {subject.name} {subject.variant}")
        self.result = Result()
        self.changes = 1
        self.writes = 1

    def run(self, kills: int) -> Result:
        """Make the unbroken run, then kill others until there were so many kills, and let each come to its end."""
        reference = self._begin("reference")
        started = time.monotonic()
        self._watch(reference, self._start(reference), None, LIMIT)
        self.result.seconds = round(time.monotonic() - started, 2)
        self._check(reference, reference)
        while self.result.kills.total() < kills and not self.result.failures:
            trial = self._begin(f"trial-{self.result.runs}")
            while not self._killed_or_done(trial, kills):
                pass
            self._check(reference, trial)
            self.result.runs += 1
        return self.result

    def _begin(self, name: str) -> Path:
        folder = self.place / name
        folder.mkdir(parents=True)
        (folder / "words.txt").write_text("".join(f"{n} {TEXT}" for n in range(160)), encoding="utf-8")
        source = self.place / "prepared"
        if self.subject.before and not source.exists():
            source.mkdir()
            for words in self.subject.before:
                subprocess.run([*self.program, *words], cwd=source, env=_environment(), check=True, capture_output=True)
        if source.exists():
            shutil.copytree(source, folder, dirs_exist_ok=True)
        return folder

    def _start(self, folder: Path) -> subprocess.Popen[bytes]:
        with (folder / "said").open("wb") as said:
            return subprocess.Popen(
                [*self.program, *self.subject.command],
                cwd=folder,
                env=_environment(),
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def _killed_or_done(self, folder: Path, kills: int) -> bool:
        """Start or go on; return whether the run is done, or went wrong."""
        process = self._start(folder)
        moment = None
        if self.result.kills.total() < kills:
            moment = MOMENTS[self.result.kills.total() % len(MOMENTS)]
        if not self._watch(folder, process, moment, LIMIT):
            return True
        assert moment is not None
        self.result.kills[moment] += 1
        self.result.half_written += bool(unfinished(folder / FOLDER) - (folder / FOLDER / ".lock").exists())
        return False

    def _watch(self, folder: Path, process: subprocess.Popen[bytes], moment: str | None, limit: float) -> bool:
        """Kill a process at a moment of a kind; return whether it was killed."""
        started = time.monotonic()
        after = self.random.uniform(0.0, 1.05 * self.result.seconds)
        wanted = self.random.randint(1, self.changes if moment == "change" else self.writes)
        before, seen, writes = _look(folder / FOLDER), 0, 0
        while process.poll() is None:
            now = time.monotonic() - started
            if now > limit:
                self._fail(folder, f"still at work after {limit:.0f} s")
            if moment != "time":
                new = _look(folder / FOLDER)
                if new != before:
                    writes += sum("~" in name for name in new.keys() - before.keys())
                    seen, before = seen + 1, new
            if (
                now > limit
                or (moment == "time" and now >= after)
                or (moment == "change" and seen >= wanted)
                or (moment == "writing" and writes >= wanted)
            ):
                self._kill(process, alone=self.random.random() < 0.5)
                return now <= limit
            time.sleep(0.0005)
        if moment is None and folder.name == "reference":
            self.changes, self.writes = max(1, seen), max(1, writes)
        if process.returncode:
            said = (folder / "said").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            self._fail(folder, f"exit code {process.returncode}: {said[-1] if said else ''}")
        return False

    def _kill(self, process: subprocess.Popen[bytes], *, alone: bool) -> None:
        """Kill a process, with those that it started or alone; wait for it."""
        if alone:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _check(self, reference: Path, folder: Path) -> None:
        run = folder / FOLDER
        for line in differences(reference / FOLDER, run):
            self._fail(folder, line)
        if unfinished(run):
            self._fail(folder, f"{unfinished(run)} half-written files or locks are left")
        if self.subject.steps is not None:
            for line in gaps(run / "metrics.jsonl", 3, self.subject.steps):
                self._fail(folder, line)
        if folder != reference and not self.result.failures:
            shutil.rmtree(folder)

    def _fail(self, folder: Path, line: str) -> None:
        self.result.failures.append(f"{self.subject.name}, {self.subject.variant}, {folder.name}: {line}")


def _look(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file, by name."""
    found: dict[str, tuple[int, int]] = {}
    stack = [str(folder)]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    about = entry.stat(follow_symlinks=False)
                    found[entry.path] = (about.st_size, about.st_mtime_ns)
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
        except OSError:
            continue
    return found


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "COLUMNS": "100"}


def run(
    name: str, kills: int, seed: int, place: Path, program: Sequence[str] = (sys.executable, "-m", "multirate")
) -> dict[str, Any]:
    """Kill runs of one kind so many times, over its variants, and return what came of it.

    Args:
        name: of :data:`NAMES`.
        kills: of all variants together.
        seed: of the moments.
        place: a folder to work in.
        program: what the words of a command follow.
    """
    subjects = [subject for subject in SUBJECTS if subject.name == name]
    variants: dict[str, Any] = {}
    total, failures = 0, []
    for number, subject in enumerate(subjects):
        share = (kills + number) // len(subjects)
        if not share:
            continue
        result = Killer(subject, place / f"{name}-{number}", seed, program).run(share)
        total += result.kills.total()
        failures += result.failures
        variants[subject.variant] = {
            "kills": dict(result.kills),
            "kills that left a half-written file": result.half_written,
            "runs compared": result.runs,
            "seconds of an unbroken run": result.seconds,
        }
        state = "the same as the unbroken run" if not result.failures else "; ".join(result.failures)
        print(f"{name}, {subject.variant}: {result.kills.total()} kills, {result.runs} runs: {state}", flush=True)
    return {"kills": total, "variants": variants, "failures": failures}


def main() -> int:
    """Run the harness from the command line."""
    parser = argparse.ArgumentParser(prog="python -m torture.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--subjects", nargs="+", choices=NAMES, default=list(NAMES), help="what to kill")
    parser.add_argument("--kills", type=int, default=30, help="of each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--keep", type=Path, help="empty folder to work in, kept; by default a temporary one")
    options = parser.parse_args()
    settings = {"kills": options.kills, "seed": options.seed, "fields not compared": list(TIMES)}
    failures = 0
    for name in options.subjects:
        with tempfile.TemporaryDirectory(prefix="multirate-kills-") as place:
            found = run(name, options.kills, options.seed, options.keep or Path(place))
        path = record(f"kills-{name}", settings, found)
        failures += len(found["failures"])
        print(f"{name}: {found['kills']} kills, {len(found['failures'])} failures; wrote {path}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
