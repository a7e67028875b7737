"""What it costs to start: ``import multirate`` over ``import torch``, and ``multirate --help``.

    python benchmarks/startup.py

Each is a fresh interpreter, in turns. ``import multirate`` is given alone, and as a user meets it: with the names of a
whole analysis (convert, fit, evaluate, fold) touched, so that everything behind them is loaded.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from measuring import save, spread, take_turns
from rich.console import Console
from rich.table import Table

WHOLE = "import multirate as mr; mr.convert, mr.fit, mr.evaluate, mr.fold, mr.models.resnet"


def run(*command: str) -> Callable[[], object]:
    """Return a function that runs a command to its end."""
    return lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    multirate = shutil.which("multirate", path=str(Path(sys.executable).parent)) or "multirate"
    seconds = take_turns(
        {
            "python": run(sys.executable, "-c", ""),
            "import torch": run(sys.executable, "-c", "import torch"),
            "import torch, multirate": run(sys.executable, "-c", "import torch, multirate"),
            "a whole analysis's names": run(sys.executable, "-c", WHOLE),
            "multirate --help": run(multirate, "--help"),
            "multirate train --help": run(multirate, "train", "--help"),
        },
        options.rounds,
        warmup=1,
    )
    torch_alone = statistics.median(seconds["import torch"])
    bars = {"import torch, multirate": "torch + 0.15 s", "multirate --help": "0.5 s"}
    rows = [
        {
            "setting": name,
            "seconds": spread(values),
            "over_torch": statistics.median(values) - torch_alone,
            "bar": bars.get(name, ""),
        }
        for name, values in seconds.items()
    ]
    table = Table("what", "seconds", "over import torch", "bar", title="starting")
    for row in rows:
        table.add_row(row["setting"], f"{row['seconds']['median']:.3f}", f"{row['over_torch']:+.3f}", row["bar"])
    Console(width=100).print(table)
    print(save("startup", rows))


if __name__ == "__main__":
    main()
