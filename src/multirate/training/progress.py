"""What a person sees during training: a bar in a terminal, a line an epoch elsewhere; on standard error."""

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table


class TrainingProgress:
    """Shows how far a run is, with its loss, rate and distortion.

    Args:
        steps: of the whole run.
        epochs: of the whole run.
        done: steps done before.
        shown: False keeps silent.
    """

    def __init__(self, *, steps: int, epochs: int, done: int, shown: bool) -> None:
        console = Console(file=sys.stderr)
        self._console = console if shown else None
        self._epochs = epochs
        self._epoch = 0
        self._bar: Progress | None = None
        if shown and console.is_terminal:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}/" + str(epochs)),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task("", total=steps, completed=done, epoch=1, numbers="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, step: int, epoch: int) -> None:
        """Show that ``step`` steps are done, in this epoch."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step, epoch=epoch)

    def report(self, line: dict[str, Any]) -> None:
        """Show the numbers of a line of metrics; outside a terminal only the first of each epoch, as a line of text."""
        numbers = f"loss {line['loss']:.2f}  rate {line['rate']:.2f}  distortion {line['distortion']:.2f}"
        if self._bar is not None:
            self._bar.update(self._task, numbers=numbers)
        elif self._console is not None and line["epoch"] != self._epoch:
            self._epoch = line["epoch"]
            print(f"epoch {self._epoch}/{self._epochs}  step {line['step']}  {numbers}", file=sys.stderr)

    def curve(self, lines: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] = ()) -> None:
        """Show the curve so far: the newest validation, a row a beta, with how far its objective has come down.

        Args:
            lines: of the newest validation.
            before: of the one before it.
        """
        if self._console is None or not lines:
            return
        earlier = {line["beta"]: line["objective"] for line in before}
        table = Table(
            box=None, pad_edge=False, title=f"validation after epoch {lines[0]['epoch']}", title_justify="left"
        )
        for name in ("beta", "rate", "distortion", "D + beta R", "change"):
            table.add_column(name, justify="right")
        for line in lines:
            known = line["beta"] in earlier
            change = f"{line['objective'] - earlier[line['beta']]:+.2f}" if known else ""
            numbers = (f"{line[key]:.2f}" for key in ("rate", "distortion", "objective"))
            table.add_row(f"{line['beta']:.3g}", *numbers, change)
        (self._console if self._bar is None else self._bar.console).print(Padding(table, (0, 0, 0, 2)))
