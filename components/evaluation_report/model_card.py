"""The model card: the facts of the page in Markdown, to lie beside the model wherever it goes."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from components.evaluation_report import page
from components.evaluation_report.json_values import Facts

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~&])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


def render(facts: Facts) -> str:
    """Returns the card; what others named, such as files, cannot become Markdown or HTML in it."""
    template = _environment().get_template("model_card.md.j2")
    return template.render(
        facts=facts, shown_models=page.shown_models(facts), rules=page.shown_rules(facts["verdict"])
    )


@cache
def _environment() -> jinja2.Environment:
    made = page.make_environment(finalize=_escaped, keep_trailing_newline=True)
    made.filters |= {"code_block": _code_block}
    return made


def _escaped(found: Any) -> Any:
    """Takes its meaning from every character that Markdown would read; our own figures have none."""
    if isinstance(found, str) and not isinstance(found, Markup):
        return (
            _SPECIAL.sub(r"\\\1", _CONTROL.sub(" ", found)).replace("://", "\\://").replace("www.", "www\\.")
        )
    return found.unescape() if isinstance(found, Markup) else found


def _code_block(text: str) -> Markup:
    """Fences a text with more backticks than it has anywhere in a row."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return _Verbatim(f"{fence}yaml\n{text.rstrip()}\n{fence}")


class _Verbatim(Markup):
    """A text that goes in as it is."""

    def unescape(self) -> str:
        """Returns the text, in which nothing is escaped."""
        return str(self)
