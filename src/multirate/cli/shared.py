"""What all commands share: the options that each of them takes, and how they print."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from multirate.errors import UsageError
from multirate.text import spoken

if TYPE_CHECKING:
    from multirate.curve import Curve

RunPath = Annotated[Path, tyro.conf.arg(metavar="RUN")]
PositionalRun = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class Shared:
    """Options of every command."""

    json: bool = False
    """Print the result as JSON on standard output, and everything else on standard error."""
    debug: bool = False
    """Show the traceback of an error."""


SharedOptions = Annotated[Shared, tyro.conf.arg(name="")]


class Screen:
    """Where a command prints: for people on standard output, or JSON there and the rest on standard error.

    Args:
        shared: the command's shared options.
    """

    def __init__(self, shared: Shared) -> None:
        self.json = shared.json

    def say(self, text: str = "") -> None:
        """Print a line for people."""
        print(text, file=sys.stderr if self.json else sys.stdout)

    def table(self, rows: Sequence[Sequence[str]], title: str | None = None) -> None:
        """Print rows of text, the header first; numbers are aligned to the right."""
        from rich import box
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
        for name in rows[0]:
            table.add_column(escape(spoken(name)), justify="right")
        for row in rows[1:]:
            table.add_row(*row)
        console = Console(file=sys.stderr if self.json else sys.stdout)
        # However narrow the terminal: a number that is cut short is another number.
        needed = console.measure(table, options=console.options.update(width=1000)).maximum
        console.width = max(console.width, 100, needed)
        console.print(table)

    def curve(self, curve: "Curve") -> None:
        """Print a curve's points, with what was measured as the title."""
        examples = counted(curve.examples, "example")
        self.table(curve.table(), f"{curve.label} on {curve.data} {curve.split}, {examples}, {curve.units}")

    def warnings(self, curve: "Curve") -> None:
        """Print what to mind of a curve, on standard error."""
        for message in curve.warnings:
            print(f"multirate: warning: {curve.label}: {message}", file=sys.stderr)

    def result(self, value: Any) -> None:
        """Print the machine-readable result, if it was asked for."""
        if self.json:
            print(json.dumps(value, indent=1, allow_nan=False, default=str))


def counted(number: int, noun: str) -> str:
    """Return ``1 beta`` or ``1,200 betas``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def parse_betas(text: str) -> list[float]:
    """Read betas separated by commas.

    Args:
        text: such as ``0.01,0.1,1,10``.

    Returns:
        Betas in increasing order, each once.

    Raises:
        UsageError: if one is not a positive number.
    """
    betas = set()
    for word in filter(None, (word.strip() for word in text.split(","))):
        try:
            beta = float(word)
        except ValueError:
            beta = -1.0
        if not 0 < beta < float("inf"):
            raise UsageError(f"beta must be a positive number; got {word!r} in {text!r}")
        betas.add(beta)
    if not betas:
        raise UsageError(f"no beta in {text!r}; write them as 0.01,0.1,1,10")
    return sorted(betas)


def parse_grid(text: str) -> int | list[float]:
    """Read a number of betas, or betas separated by commas.

    Args:
        text: ``20`` is twenty betas, log-spaced over the model's range; ``0.5`` and ``0.1,1`` and ``1,`` are betas.

    Returns:
        The count, or the betas in increasing order.

    Raises:
        UsageError: if it is neither, or the count is 1, which is as likely meant as a beta.
    """
    if not text.strip().isdecimal():
        return parse_betas(text)
    if int(text) == 1:
        raise UsageError("1 is a count; for the single beta 1 write 1.0 or 1,")
    return int(text)
