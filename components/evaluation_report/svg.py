"""Matplotlib's charts as inline SVG that follows the page's colours and fonts, light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
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


class Chart:
    """A chart under way.

    Attributes:
        figure: Matplotlib's, to draw on.
        svg: What came of it, once `charted` has ended.
    """

    def __init__(self) -> None:
        self.figure = Figure(figsize=_SIZE, layout="constrained")
        self.svg = Markup()


@contextmanager
def charted(name: str, description: str) -> Iterator[Chart]:
    """Opens a chart to draw on within the house style.

    Args:
        name: Unlike that of any other chart on the page: the ids within start with it.
        description: What a person hears who cannot see it.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        chart = Chart()
        yield chart
        chart.svg = _inline(chart.figure, name, description)


def _inline(figure: Figure, name: str, description: str) -> Markup:
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata=_WITHOUT_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would hold for the whole page
    text = re.sub(r" font-family: [^;\"]*;?", "", text)
    text = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(?:xlink:)?href="#([^"]*)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"(\d+\.\d\d)\d+", r"\1", text)  # hundredths of a point are enough
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"<text style=\"", '<text style="fill: var(--ink); ', text)
    (box,) = re.findall(r'viewBox="([^"]*)"', text[: text.index(">")])
    body = text[text.index(">") + 1 :]
    return Markup(f'<svg class="chart" role="img" viewBox="{box}" aria-label="{escape(description)}">{body}')
