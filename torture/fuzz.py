"""Damages files by the ten thousand and hands them to every reader: only documented errors, or something valid.

Each reader has a process of its own, forked from this one. Inputs that reach a line of multirate for the first time are
kept and damaged further (coverage guidance by ``sys.settrace``). A fault is

- an undocumented exception, or an error that is no printable line or does not name the file;
- something accepted that is not what it should be, or a valid file refused;
- more than 5 seconds of the processor or 20 on the clock, more than 1 GiB (or 2 GiB asked for), a crash;
- a file written or changed outside of the folder; an event of pickle, of another process or of the network.

Each kind of fault keeps its first input in ``--failures``.
"""

import argparse
import itertools
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from torture.hostile import hostile
from torture.mutations import LARGEST, damaged, scramble
from torture.oracle import PATIENCE, Oracle, Verdict
from torture.readers import Reader, readers
from torture.shared import record

_BLIND = 0.25
_CORPUS = 400
# Lines are watched for so many inputs of a reader, and for every fourth after them: watching takes most of the time.
_TRACED = 200
# What takes longer to read, a bomb, is not damaged further.
_QUICK = 0.05
_MEMORY = Path("/dev/shm")
# A process that says nothing for so long hangs where no alarm reaches it.
_SILENCE = 3 * PATIENCE
_KINDS = ("missing", "empty", "folder", "pipe", "loop", "device")


@dataclass
class Fault:
    """One kind of fault of one reader."""

    reader: str
    outcome: str
    fault: str
    where: str
    number: int
    count: int = 1
    kept: str = ""


@dataclass(frozen=True)
class Trial:
    """What a worker says of one input."""

    number: int
    verdict: Verdict
    content: bytes | None


class Fuzzer:
    """Tries one reader in processes of its own.

    Args:
        reader: to try.
        seed: of the damage.
        failures: where inputs that failed are kept.
    """

    def __init__(self, reader: Reader, seed: int, failures: Path) -> None:
        self.reader = reader
        self.outcomes: Counter[str] = Counter()
        self.faults: dict[tuple[str, str, str], Fault] = {}
        self.slowest = 0.0
        self.memory = 0
        self.lines = 0
        self._seed = seed
        self._failures = failures

    def run(self, count: int) -> None:
        """Try so many inputs; a process that dies is a fault, and the next one goes on after its input."""
        done = 0
        while done < count:
            done = self._run_process(done, count)

    def _run_process(self, start: int, count: int) -> int:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None) as place:
            process = context.Process(target=_work, args=(self.reader, self._seed, start, count, Path(place), theirs))
            process.start()
            theirs.close()
            number, silent = start, False
            try:
                while ours.poll(_SILENCE) or ours.poll(_SILENCE):
                    trial: Trial = ours.recv()
                    self._note(trial)
                    number = trial.number + 1
                silent = True
                process.kill()
            except EOFError:
                pass
            process.join()
            if number < count:
                outcome = "hang" if silent else "crash"
                path = Path(place) / "target" / self.reader.file
                content = path.read_bytes() if path.is_file() else None
                said = (Path(place) / "output").read_text(errors="replace").strip().rpartition("\n")[2]
                fault = f"the process ended with {process.exitcode}; {said}"
                self._note(Trial(number, Verdict(outcome, fault, "", _SILENCE, 0, False), content))
                number += 1
        return number

    def _note(self, trial: Trial) -> None:
        verdict = trial.verdict
        self.outcomes[f"fault: {verdict.outcome}" if verdict.fault else verdict.outcome] += 1
        self.slowest, self.memory = max(self.slowest, verdict.seconds), max(self.memory, verdict.memory)
        self.lines += verdict.is_new
        if not verdict.fault:
            return
        key = (verdict.outcome, verdict.where, "" if verdict.where else verdict.fault[:40])
        if key in self.faults:
            self.faults[key].count += 1
            return
        fault = Fault(self.reader.name, verdict.outcome, verdict.fault, verdict.where, trial.number)
        if trial.content is not None:
            self._failures.mkdir(parents=True, exist_ok=True)
            safe = "".join(c if c.isalnum() else "-" for c in self.reader.name)
            kept = self._failures / f"{safe}-{trial.number}-{Path(self.reader.file).name}"
            kept.write_bytes(trial.content)
            fault.kept = kept.name
        self.faults[key] = fault

    def summary(self) -> dict[str, Any]:
        """Return what is recorded of the reader."""
        return {
            "inputs": sum(self.outcomes.values()),
            "outcomes": dict(sorted(self.outcomes.items())),
            "kept_for_new_lines": self.lines,
            "slowest_seconds": round(self.slowest, 3),
            "peak_megabytes": round(self.memory / 1e6, 1),
        }


def _work(reader: Reader, seed: int, start: int, count: int, place: Path, pipe: Connection) -> None:
    """Try inputs in this process, which is a forked one, and say what came of each."""
    target, cache, outside = place / "target", place / "cache", place / "outside"
    for folder in (target, cache, outside):
        folder.mkdir()
    (outside / "sentinel.txt").write_text("untouched")
    os.environ["XDG_CACHE_HOME"] = str(cache)
    os.environ.pop("MULTIRATE_DATA", None)
    os.chdir(target)
    sys.stdout = sys.stderr = (place / "output").open("w")
    if reader.prepare is not None:
        reader.prepare()
    oracle = Oracle(target, cache, outside)
    path = target / reader.file
    for number, content, kind in itertools.islice(_inputs(reader, seed), start, count):
        _lay(reader, target, path, content, kind)
        traced = number < _TRACED or number % 4 == 0
        verdict = oracle.judge(reader.read, path, strict=number % 2 == 1, traced=traced)
        if verdict.outcome == "hang":  # perhaps of the tracing alone, or the process was stopped for a while
            verdict = oracle.judge(reader.read, path, strict=number % 2 == 1, traced=False)
        if kind == "valid" and verdict.outcome != "read":
            verdict = replace(verdict, fault=verdict.fault or "a valid file was refused")
        if verdict.is_new and content is not None and len(content) <= LARGEST and verdict.seconds < _QUICK:
            _CORPORA.setdefault(reader.name, []).append(content)
        pipe.send(Trial(number, verdict, content if verdict.fault else None))
    pipe.close()


_CORPORA: dict[str, list[bytes]] = {}


def _inputs(reader: Reader, seed: int) -> Iterator[tuple[int, bytes | None, str]]:
    """Yield number, content and kind of each input: valid ones, no files, hostile ones, and damage without end."""
    numbers = itertools.count()
    for content in reader.seeds:
        yield next(numbers), content, "valid"
    for kind in _KINDS:
        yield next(numbers), None, kind
    for content in hostile().get(reader.name, []):
        yield next(numbers), content, "file"
    corpus = _CORPORA.setdefault(reader.name, [])
    for number in numbers:
        rng = random.Random(f"{seed} {reader.name} {number}")
        base = rng.choice(corpus[-_CORPUS:] if corpus and rng.random() < 0.5 else reader.seeds)
        yield number, scramble(base, rng) if rng.random() < _BLIND else damaged(reader.mutate, base, rng), "file"


def _lay(reader: Reader, target: Path, path: Path, content: bytes | None, kind: str) -> None:
    """Make the folder hold the files beside the input, and the input, and nothing else."""
    for entry in target.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for name, other in reader.beside.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(other)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")


def fuzz(chosen: Sequence[Reader], inputs: int, seed: int, failures: Path) -> dict[str, Any]:
    """Try readers, each with its share of the inputs.

    Args:
        chosen: the readers.
        inputs: how many files in all, at least.
        seed: of the damage.
        failures: where inputs that failed are kept.

    Returns:
        For the record: counts, outcomes of each reader, the slowest and the largest, faults in full.
    """
    start, total = time.perf_counter(), sum(reader.weight for reader in chosen)
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for reader in chosen:
        fuzzer = Fuzzer(reader, seed, failures)
        least = len(reader.seeds) + len(_KINDS) + len(hostile().get(reader.name, []))
        fuzzer.run(max(least, -int(-inputs * reader.weight // total)))
        found[reader.name] = fuzzer.summary()
        faults += fuzzer.faults.values()
        print(f"{time.perf_counter() - start:6.0f} s  {reader.name}: {found[reader.name]}", flush=True)
        for fault in fuzzer.faults.values():
            print(
                f"          FAULT x{fault.count} {fault.outcome} at {fault.where}: {fault.fault}  [{fault.kept}]",
                flush=True,
            )
    outcomes: Counter[str] = Counter()
    for summary in found.values():
        outcomes.update(summary["outcomes"])
    return {
        "inputs": sum(summary["inputs"] for summary in found.values()),
        "outcomes": dict(outcomes),
        "slowest_seconds": max(summary["slowest_seconds"] for summary in found.values()),
        "peak_megabytes": max(summary["peak_megabytes"] for summary in found.values()),
        "faults": [asdict(fault) for fault in faults],
        "readers": found,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Run from the command line; 1 if there was a fault."""
    parser = argparse.ArgumentParser(
        prog="python -m torture.fuzz", description=__doc__.split("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="damaged files in all")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--only", default="", help="readers whose name holds this")
    parser.add_argument(
        "--failures", type=Path, default=Path("torture/results/failures"), help="where faulty inputs go"
    )
    parser.add_argument("--no-record", action="store_true", help="do not write torture/results/fuzz.json")
    options = parser.parse_args(words)
    chosen = [reader for reader in readers() if options.only in reader.name]
    if not chosen:
        parser.error(f"no reader has {options.only!r} in its name")
    result = fuzz(chosen, options.inputs, options.seed, options.failures)
    if not options.no_record:
        record("fuzz", {"inputs": options.inputs, "seed": options.seed, "only": options.only}, result)
    print(f"{result['inputs']:,} inputs, {len(result['faults'])} kinds of fault")
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
