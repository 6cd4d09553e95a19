"""Converts Matplotlib charts to inline SVG that uses the page's fonts and its light and dark colours."""

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

# Placeholder colours, replaced in the SVG by the CSS variables below.
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
    "text.parse_math": False,  # a class name may contain "$"
    "font.size": 9.5,
    "axes.edgecolor": LINE,
    "axes.formatter.useoffset": False,  # "0.6931", not "1e-5 + 6.931e-1"
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
_SIZE = (4.7, 3.3)  # inches of 72 units: about the width of a phone, so that text stays readable
_CANNOT_BE_DRAWN = Markup(
    '<p class="soft">This chart could not be drawn. See the log of the EvaluationReport component.</p>'
)

_log = logging.getLogger(__name__)


def draw_chart(draw: Callable[..., str], name: str, *arguments: Any) -> Markup:
    """Draws a chart and returns it as inline SVG.

    Args:
        draw: A function of `charts` that draws on the axes and returns the `aria-label` of the chart.
        name: Unique name on the page; prefix of all IDs in the SVG.
        *arguments: Further arguments of `draw`.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        description = draw(axes, *arguments)
        handles, labels = axes.get_legend_handles_labels()
        if len(handles) > 1:  # outside the axes, so that it covers no data
            figure.legend(
                handles, labels, loc="outside upper left", ncols=3, handlelength=1.8, columnspacing=1.2
            )
        return _inline(figure, name, description)


def draw_chart_or_message(draw: Callable[..., str], name: str, *arguments: Any) -> Markup:
    """Returns a chart, or a message if it cannot be drawn, so that a chart never fails the component."""
    try:
        return draw_chart(draw, name, *arguments)
    except Exception:
        _log.exception("The chart %s could not be drawn.", name)
        return _CANNOT_BE_DRAWN


def _inline(figure: Figure, name: str, description: str) -> Markup:
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata=_WITHOUT_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would apply to the whole page
    text = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], name), text)  # tags only, never text
    (box,) = re.findall(r'viewBox="([^"]*)"', text[: text.index(">")])
    body = text[text.index(">") + 1 :]
    return Markup(f'<svg class="chart" role="img" viewBox="{box}" aria-label="{escape(description)}">{body}')


def _tag(tag: str, name: str) -> str:
    """Returns a tag with unique IDs, the page's fonts and colours, and rounded coordinates."""
    tag = re.sub(r" font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', tag)
    tag = re.sub(r'(?:xlink:)?href="#([^"]*)"', rf'href="#{name}-\1"', tag)
    tag = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", tag)
    tag = re.sub(r"(\d+\.\d\d)\d+", r"\1", tag)  # hundredths of a point are enough
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var({variable})")
    return tag.replace('<text style="', '<text style="fill: var(--ink); ')
