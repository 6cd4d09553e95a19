"""Matplotlib's charts as inline SVG that follows the page's colours and fonts, light and dark."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# What is drawn in these colours gets those of the style sheet: no chart uses them for themselves.
INK, SOFT, LINE, PAPER = "#010101", "#010102", "#010103", "#010104"
FIRST, SECOND, THIRD = "#010105", "#010106", "#010107"
_VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    LINE: "--line",
    PAPER: "--card",
    FIRST: "--first",
    SECOND: "--second",
    THIRD: "--third",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a class may be called "$$"
    "font.size": 9.5,
    "axes.edgecolor": LINE,
    "axes.formatter.useoffset": False,  # "0.6931" is read, "1e-5 + 6.931e-1" is not
    "axes.facecolor": "none",
    "axes.labelcolor": SOFT,
    "axes.labelsize": 9.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "text.color": INK,
    "xtick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.color": LINE,
    "ytick.labelcolor": SOFT,
}
_WITHOUT_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
_SIZE = (4.7, 3.3)  # inches of 72 units: about what a phone is wide, so that text keeps its size there
_CANNOT_BE_DRAWN = Markup('<p class="soft">This chart cannot be drawn: the log of this step says why.</p>')

_log = logging.getLogger(__name__)


def drawn(draw: Callable[..., str], name: str, *facts: Any) -> Markup:
    """Returns a chart in the house style.

    Args:
        draw: One of the functions of `charts`: it draws on the axes, and returns what a person hears who
            cannot see it.
        name: Unlike that of any other chart on the page: the ids within start with it.
        *facts: What else it takes.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        description = draw(axes, *facts)
        handles, labels = axes.get_legend_handles_labels()
        if len(handles) > 1:  # above the chart it covers nothing
            figure.legend(
                handles, labels, loc="outside upper left", ncols=3, handlelength=1.8, columnspacing=1.2
            )
        return _inline(figure, name, description)


def drawn_or_not(draw: Callable[..., str], name: str, *facts: Any) -> Markup:
    """Returns a chart, or words that say why not: no model is held back for a picture."""
    try:
        return drawn(draw, name, *facts)
    except Exception:
        _log.exception("The chart %s cannot be drawn.", name)
        return _CANNOT_BE_DRAWN


def _inline(figure: Figure, name: str, description: str) -> Markup:
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata=_WITHOUT_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would hold for the whole page
    text = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], name), text)  # and nothing that a reader reads
    (box,) = re.findall(r'viewBox="([^"]*)"', text[: text.index(">")])
    body = text[text.index(">") + 1 :]
    return Markup(f'<svg class="chart" role="img" viewBox="{box}" aria-label="{escape(description)}">{body}')


def _tag(tag: str, name: str) -> str:
    """Returns a tag with ids of its own, the page's fonts and colours, and no digits to no purpose."""
    tag = re.sub(r" font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', tag)
    tag = re.sub(r'(?:xlink:)?href="#([^"]*)"', rf'href="#{name}-\1"', tag)
    tag = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", tag)
    tag = re.sub(r"(\d+\.\d\d)\d+", r"\1", tag)  # hundredths of a point are enough
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var({variable})")
    return tag.replace('<text style="', '<text style="fill: var(--ink); ')
