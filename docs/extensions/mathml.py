"""Formulas as MathML, which browsers draw by themselves: no script, no network; the font is in ``_static/fonts``.

docutils has the converter from LaTeX; Sphinx gives formulas to MathJax or to images only, of which the first is a
script of megabytes and the second needs a TeX system where the site is built.
"""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
# Names that the converter has not, to names that it has.
ALIASES = ((r"\dots", r"\ldots"), (r"\dfrac", r"\frac"), (r"\textstyle", ""), (r"\Big", ""))
# An argument without braces is one command, or one character: the converter would read the 12 of \tfrac12 as a number.
ARGUMENT = r"\s*(\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|\\[a-zA-Z]+|[^\s{}\\])"
FRACTION = re.compile(r"\\(t?frac)(?![a-zA-Z])" + ARGUMENT + ARGUMENT)
ROOT = re.compile(r"\\(sqrt)\s*(\d)")
ACCENT = re.compile(r"\\(tilde|hat|bar)(?![a-zA-Z])" + ARGUMENT)
# How the converter's elements are to stand beside each other, as TeX sets them.
THIN = "0.1667em"
FUNCTION = r"<mi>(?:log|exp|sin|cos)</mi>"
SPACED = (
    (re.compile(rf"({FUNCTION}\s*)<mo>&ApplyFunction;</mo>"), rf'\1<mspace width="{THIN}"/>'),
    (re.compile(rf"(</(?:mi|mn|mfrac|msub|msup|msubsup)>\s*)(?={FUNCTION})"), rf'\1<mspace width="{THIN}"/>'),
    (re.compile(r"<mo>(?=(?:max|min|sup|inf)</mo>\s*<mo [^>]*>[(\[])"), f'<mo lspace="{THIN}" rspace="0">'),
    (
        re.compile(r"<mo(?=(?: movablelimits=\"true\")?>(?:max|min|sup|inf)</mo>)"),
        f'<mo lspace="{THIN}" rspace="{THIN}"',
    ),
    (
        re.compile(r"<mo(?: class=\"math(?:open|close)\")?>(?=[|\u2016\u2225]</mo>)"),
        '<mo stretchy="false" lspace="0" rspace="0">',
    ),
)


def mathml(latex: str, *, block: bool = False) -> str:
    """Convert a formula.

    Args:
        latex: without dollars.
        block: whether it stands alone on a line.

    Returns:
        A ``math`` element.

    Raises:
        MathError: if the converter does not know a command.
    """
    for name, known in ALIASES:
        latex = re.sub(re.escape(name) + r"(?![a-zA-Z])", lambda _, known=known: known, latex)
    latex = FRACTION.sub(lambda found: f"\\{found[1]}{_braced(found[2])}{_braced(found[3])}", latex)
    latex = ROOT.sub(r"\\\1{\2}", latex)
    latex = ACCENT.sub(lambda found: f"{{\\{found[1]}{_braced(found[2])}{{}}}}", latex)
    drawn = str(tex2mathml(" ".join(latex.split()), as_block=block))
    for pattern, spaced in SPACED:
        drawn = pattern.sub(spaced, drawn)
    return drawn


def _braced(argument: str) -> str:
    return argument if argument.startswith("{") else f"{{{argument}}}"


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write an inline formula."""
    _write(translator, node, block=False)


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Write a displayed formula."""
    translator.body.append('<div class="math-block">')
    try:
        _write(translator, node, block=True)
    finally:
        translator.body.append("</div>\n")


def _write(translator: Any, node: nodes.Element, *, block: bool) -> None:
    latex = node.astext()
    try:
        translator.body.append(mathml(latex, block=block))
    except MathError as error:
        LOGGER.warning("the formula %r cannot be drawn: %s", latex, error, location=node)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer under the name ``mathml``."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
