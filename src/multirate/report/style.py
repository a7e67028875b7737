"""How figures look, and how they are kept: one style, no global state, files that are whole or absent."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirate.errors import UsageError
from multirate.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart; markers differ as well.
MULTI_RATE_COLORS = ("#0072B2", "#009E73", "#56B4E9")
BASELINE_COLORS = ("#D55E00", "#CC79A7", "#E69F00")
BASELINE_MARKERS = ("D", "s", "^")
INK = "#1f2933"
MUTED = "#616e7c"
RULE = "#e4e7eb"

FORMATS = ("png", "svg", "pdf")

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "multirate",
    # Names of runs and data sets are text, also where they have a dollar sign in them.
    "text.parse_math": False,
    "pdf.fonttype": 42,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw a block in this style, from matplotlib's defaults, whatever the user's own settings; they are given back."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> "Figure":
    """Make a figure that no global list knows of, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def log_beta_axis(axes: "Axes") -> None:
    """Make x a logarithmic axis of beta with plain labels: 0.01, 0.1, 1, 10."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("β")


def save(figure: "Figure", path: str | Path) -> Path:
    """Write a figure atomically; the same figure gives the same bytes.

    Args:
        figure: of this package, or any other.
        path: its suffix is the format: png (200 dots per inch), svg or pdf.

    Returns:
        The path.

    Raises:
        UsageError: if the format is another one.
        DataError: if the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise UsageError(f"cannot save a figure as {path.name}; end the name in .{', .'.join(FORMATS)}")
    return write_atomic(path, _render(figure, kind))


def to_svg(figure: "Figure", prefix: str) -> str:
    """Return a figure as an ``<svg>`` element to put inside a page.

    Args:
        figure: what to draw.
        prefix: put before each id of the drawing, so that several drawings in one page do not collide.

    Returns:
        The element, without XML prolog, as wide as its text reads well; CSS can narrow it.
    """
    text = _render(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    opening, rest = text.split(">", 1)
    opening = (
        re.sub(r'\s(?:width|height)="[^"]*"', "", opening) + f' style="width:{figure.get_figwidth() * 7.2:.1f}rem"'
    )
    return f"{opening}>{rest}".strip()


def _render(figure: "Figure", kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata: dict[str, None] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with style():
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()
