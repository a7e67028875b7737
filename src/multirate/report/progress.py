"""The curve while it is being learnt: one line a validation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multirate.errors import DataError
from multirate.report.style import INK, MULTI_RATE_COLORS, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Shown at most, the last among them.
_EPOCHS = 8


def curves_so_far(history: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw the validation curve of each epoch, faint for early ones; of a long run the last and seven before it.

    Args:
        history: validation lines: epoch, beta, rate and distortion of each.

    Returns:
        The figure.

    Raises:
        DataError: if there is no line.
    """
    if not history:
        raise DataError("no validation was measured; give validation data (--validate)")
    epochs = sorted({line["epoch"] for line in history})
    shown = sorted({epochs[round(i * (len(epochs) - 1) / max(_EPOCHS - 1, 1))] for i in range(_EPOCHS)})
    with style():
        figure = new_figure(6.0, 4.2)
        axes = figure.add_subplot()
        for rank, epoch in enumerate(shown):
            points = sorted((line["rate"], line["distortion"]) for line in history if line["epoch"] == epoch)
            newest = epoch == shown[-1]
            strength = 1.0 if newest else 0.15 + 0.5 * rank / len(shown)
            axes.plot(
                *zip(*points, strict=True),
                "o-",
                color=MULTI_RATE_COLORS[0],
                alpha=strength,
                lw=2.2 if newest else 1.2,
                ms=4 if newest else 3,
                label=f"epoch {epoch}" if newest or rank == 0 else None,
            )
        for line in history:
            if line["epoch"] == shown[-1]:
                place = (line["rate"], line["distortion"])
                axes.annotate(
                    f"β = {line['beta']:.2g}", place, xytext=(6, 5), textcoords="offset points", color=INK, fontsize=8
                )
        axes.set_xlabel("rate (nats per example)")
        axes.set_ylabel("distortion (nats per example)")
        axes.set_title(f"validation after epoch {shown[-1]}")
        axes.margins(x=0.12, y=0.12)
        axes.legend(loc="upper right")
    return figure
