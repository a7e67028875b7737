"""A sweep of many members of which some fail: the others are done, the failures told, and they alone are done again.

Members fail for real reasons that have nothing to do with each other: a file lies where the folder of one should be, or
where its checkpoints should. When these are gone, the same command has to train the failed members and no other.
"""

import argparse
import io
import json
import math
import os
import random
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from multirate.cli.main import main as multirate
from multirate.curve import Curve
from multirate.experiments.sweep import FAILURES
from torture.shared import record

MEMBER = ("--data", "digits", "--model", "mlp", "--hidden", "8", "--latents", "2", "--epochs", "1")
LOW, HIGH = 0.01, 10.0


def betas_of(members: int) -> list[str]:
    """Return so many betas, log-spaced, in words that tell them apart."""
    ratio = math.log(HIGH / LOW) / max(1, members - 1)
    return [f"{LOW * math.exp(i * ratio):.5g}" for i in range(members)]


def obstacle(folder: Path, number: int) -> Path:
    """Put a file where a member needs a folder, and return it."""
    if number % 2:
        folder.mkdir()
        folder /= "checkpoints"
    folder.write_text("in the way")
    return folder


def called(out: Path, betas: list[str], batch_size: int) -> tuple[int, str, float]:
    """Run the sweep; return its exit code, what it said, and its seconds."""
    words = ["sweep", "--betas", ",".join(betas), *MEMBER, "--batch-size", str(batch_size), "--out", str(out)]
    said = io.StringIO()
    start = time.perf_counter()
    with redirect_stdout(said), redirect_stderr(said):
        code = multirate(words)
    return int(code or 0), said.getvalue(), time.perf_counter() - start


def times_of(out: Path, betas: list[str]) -> dict[str, int | str]:
    """Return when each file of these members was last written, but for locks; of the table of a curve, what it says.

    The table is written anew from the curve each time, since a member may have been killed between the two.
    """
    found: dict[str, int | str] = {}
    for beta in betas:
        for place, _, names in os.walk(out / f"beta-{beta}"):
            files = [Path(place) / name for name in names if not name.startswith(".")]
            for path in files:
                table = path.suffix == ".csv"
                found[str(path.relative_to(out))] = path.read_text() if table else path.stat().st_mtime_ns
    return found


def checked_first(out: Path, code: int, said: str, failing: list[str], members: int) -> list[str]:
    """Return what is wrong after a sweep in which some members failed."""
    reasons = json.loads((out / FAILURES).read_text()) if (out / FAILURES).exists() else {}
    curve = Curve.load(out / "curve.json") if (out / "curve.json").exists() else None
    expected = sorted(map(float, failing))
    checks = {
        f"the exit code is {code}, not 1": code != 1,
        f"{FAILURES} tells of {sorted(reasons)}": sorted(map(float, reasons)) != expected,
        "a reason is empty or of several lines": any(not why.strip() or "\n" in why for why in reasons.values()),
        "a reason does not name its member": any(f"beta-{b}" not in reasons.get(repr(float(b)), "") for b in failing),
        "it does not say how many failed": f"{len(failing)} of {members} runs failed" not in said,
        "there is no curve of the others": curve is None or len(curve.points) != members - len(failing),
        "the curve does not name the betas it lacks": curve is None or curve.details.get("failed_betas") != expected,
    }
    return [f"first: {what}" for what, wrong in checks.items() if wrong]


def checked_second(
    out: Path, code: int, members: int, before: dict[str, int | str], after: dict[str, int | str]
) -> list[str]:
    """Return what is wrong after the failed members were done again."""
    curve = Curve.load(out / "curve.json")
    reasons = json.loads((out / FAILURES).read_text()) if (out / FAILURES).exists() else {}
    written = sorted(name for name in before if before[name] != after.get(name))
    checks = {
        f"the exit code is {code}, not 0": code != 0,
        f"files of finished members were written again: {written[:5]}": bool(written) or before.keys() != after.keys(),
        f"the curve has {len(curve.points)} points": len(curve.points) != members,
        "the curve lacks betas": "failed_betas" in curve.details,
        f"members failed again: {reasons}": bool(reasons),
    }
    return [f"second: {what}" for what, wrong in checks.items() if wrong]


def run(members: int, failing: int, seed: int, batch_size: int = 500, *, remove: bool = True) -> dict[str, Any]:
    """Run a sweep with obstacles, remove them, and run it again.

    Args:
        members: of the sweep.
        failing: how many of them fail.
        seed: of the choice of these.
        batch_size: of training.
        remove: the obstacles; if not, the second sweep fails as the first.

    Returns:
        What was found, as JSON.
    """
    betas = betas_of(members)
    bad = sorted(random.Random(seed).sample(range(members), failing))
    good = [beta for i, beta in enumerate(betas) if i not in bad]
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "sweep"
        out.mkdir()
        obstacles = [obstacle(out / f"beta-{betas[i]}", number) for number, i in enumerate(bad)]
        code, said, first = called(out, betas, batch_size)
        failures = checked_first(out, code, said, [betas[i] for i in bad], members)
        shown = json.loads((out / FAILURES).read_text()) if (out / FAILURES).exists() else {}
        print(f"first: exit code {code}, {len(shown)} failed, {first:.0f} s", flush=True)
        for path in obstacles if remove else ():
            path.unlink()
        before = times_of(out, good)
        again, _, second = called(out, betas, batch_size)
        failures += checked_second(out, again, members, before, times_of(out, good))
        points = len(Curve.load(out / "curve.json").points)
        print(f"second: exit code {again}, {points} points, {second:.0f} s", flush=True)
    return {
        "members": members,
        "failed_at_first": len(shown),
        "reasons": sorted({" ".join(why.replace(place, "").split()) for why in shown.values()})[:4],
        "exit_codes": [code, again],
        "files_of_finished_members": len(before),
        "points_at_last": points,
        "seconds": {"first": round(first, 1), "second": round(second, 1)},
        "failures": failures,
    }


def main() -> int:
    """Run the harness from the command line."""
    parser = argparse.ArgumentParser(prog="python -m torture.members", description=__doc__.partition("\n")[0])
    parser.add_argument("--members", type=int, default=200, help="of the sweep")
    parser.add_argument("--failing", type=int, default=20, help="how many of them fail at first")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of these")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = run(options.members, options.failing, options.seed)
    path = record("members", vars(options), found)
    print(f"{len(found['failures'])} failures {found['failures']}; wrote {path}")
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
