"""Numbers and tables as plain text."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Write rows of text, the header first, as lines whose columns are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(lines)


def spoken(name: str) -> str:
    """Write a measure's name as words; what stands in brackets, the name of a network, stays: ``distance [my_net]``."""
    words, bracket, of = name.partition("[")
    return words.replace("_", " ") + (f" [{of}" if bracket else "")


def format_measure(name: str, value: float) -> str:
    """Write one value for people: beta and lambda in 3 digits, counts whole, nats and others with 2 decimals."""
    if name in ("beta", "lambda"):
        return f"{value:.3g}"
    if "kernel_distance[" in name or name in ("kid", "reconstruction_kid"):
        return f"{value:.4f}"
    return f"{value:.0f}" if name == "active_units" else f"{value:.2f}"


def listed(values: Sequence[object]) -> str:
    """Write values in a row: ``1, 2 and 3``."""
    words = [str(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
