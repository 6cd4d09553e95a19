"""Renders the model card: the report as Markdown."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from components.evaluation_report import page
from components.evaluation_report.json_values import JsonObject
from serving.printable import printable

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~&])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


def render(report: JsonObject) -> str:
    """Returns the model card; file names and other external text are escaped."""
    template = _environment().get_template("model_card.md.j2")
    return template.render(
        report=report,
        compared_models=page.compared_models(report),
        rules=page.rules_to_show(report["verdict"]),
    )


@cache
def _environment() -> jinja2.Environment:
    environment = page.make_environment(finalize=_escaped, keep_trailing_newline=True)
    environment.filters |= {"code_block": _code_block}
    return environment


def _escaped(value: Any) -> Any:
    """Escapes Markdown characters in text; `Markup` is trusted and only unescaped from HTML."""
    if isinstance(value, str) and not isinstance(value, Markup):
        text = _SPECIAL.sub(r"\\\1", printable(_CONTROL.sub(" ", value)))
        return text.replace("://", "\\://").replace("www.", "www\\.")
    return value.unescape() if isinstance(value, Markup) else value


def _code_block(text: str) -> Markup:
    """Returns a YAML code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return _Verbatim(f"{fence}yaml\n{text.rstrip()}\n{fence}")


class _Verbatim(Markup):
    """Text that is inserted unchanged."""

    def unescape(self) -> str:
        """Returns the text unchanged."""
        return str(self)
