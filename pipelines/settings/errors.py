"""Says in one sentence what is wrong with a setting, and which name was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import get_args

from pydantic import BaseModel, ValidationError

from components.errors import InputError


class SettingsError(InputError):
    """A setting is unknown or out of range; the message names it and the cure."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns " Did you mean …?" for the nearest valid name, else the list of valid ones."""
    close = difflib.get_close_matches(name.lower(), {known.lower(): known for known in valid}, n=1)
    by_lower = {known.lower(): known for known in valid}
    return f" Did you mean {by_lower[close[0]]!r}?" if close else f" Valid are: {', '.join(valid)}."


def sentence(error: ValidationError, root: type[BaseModel]) -> str:
    """Says the first thing that is wrong, with the value, what was expected, and the nearest valid name.

    Args:
        error: What pydantic found.
        root: The top of the settings tree.
    """
    found = error.errors()
    # A misspelt name is also one that is missing.
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    path = [str(part) for part in first["loc"] if part != "[key]"]
    key, value = ".".join(path), first["input"]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"There is no setting {key!r}.{_nearest_key(key, root)}"
    if first["type"] == "value_error":
        full = message if message.endswith("?") else f"{message}."
        return f"{key}: {full}" if key else full
    if first["type"] == "missing":
        return f"The setting {key} is missing."
    if first["type"] == "model_type":
        below = ", ".join(_section(key, root).model_fields)
        return f"The setting {key} is {value!r}, and must hold settings of its own: {below}."
    expected = _EXPECTED.get(first["type"]) or message.replace("Input should", "it must")
    if first["type"] == "string_type" and isinstance(value, bool | int | float):
        expected += ", in quotes"
    hint = ""
    if first["type"] == "literal_error" and isinstance(value, str):
        close = difflib.get_close_matches(value, re.findall(r"\w+", first["ctx"]["expected"]), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"The setting {key} is {value!r}: {expected}.{hint}"


# What pydantic says in the words of programmers.
_EXPECTED = {
    "string_pattern_mismatch": "it must begin with a-z, and hold a-z, 0-9 and hyphens only",
    "path_type": "it must be a path",
    "string_type": "it must be a text",
    "int_parsing": "it must be a whole number",
    "int_type": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_parsing": "it must be a number",
    "float_type": "it must be a number",
    "bool_parsing": "it must be true or false",
    "bool_type": "it must be true or false",
    "tuple_type": "it must be a list, in brackets",
    "dict_type": "it must hold names and values, in braces",
    "too_short": "it must not be empty",
}


# Keys of earlier versions.
RENAMED = {
    "data.max_bad_fraction": "data.max_rejected_fraction",
    "evaluation.behaviour_pictures": "evaluation.perturbed_images",
    "evaluation.min_kept_labels": "evaluation.min_prediction_consistency",
    "evaluation.min_slice_pictures": "evaluation.min_slice_images",
    "serving.check.pictures": "serving.check.images",
    "kubeflow.step_defaults": "kubeflow.task_defaults",
    "kubeflow.steps": "kubeflow.tasks",
}


def _nearest_key(key: str, root: type[BaseModel]) -> str:
    """Suggests a whole key: the same name in another section, or the right one for a misspelt name."""
    if key in RENAMED:
        return f" Did you mean {RENAMED[key]!r}?"
    parent, _, leaf = key.rpartition(".")
    keys = list(_keys(root))
    if (
        parent and parent not in keys
    ):  # an item of a list, or of names and values, has nothing like it elsewhere
        return nearest(leaf, _section(parent, root).model_fields)
    same = [known for known in keys if f".{known}".endswith(f".{leaf}")]
    if same:
        return f" Did you mean {' or '.join(map(repr, same))}?"
    by_leaf = {known.rpartition(".")[2]: known for known in keys}
    peers = [known for known in keys if known.count(".") == key.count(".")]
    close = difflib.get_close_matches(key, peers, n=1, cutoff=0.75) or [
        by_leaf[name] for name in difflib.get_close_matches(leaf, by_leaf, n=1)
    ]
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Valid are: {', '.join(sorted(_section(parent, root).model_fields))}."


def _keys(section: type[BaseModel], above: str = "") -> Iterator[str]:
    """Yields the dotted keys of all settings and sections below one."""
    for name, field in section.model_fields.items():
        yield f"{above}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{above}{name}.")


def _section(key: str, root: type[BaseModel]) -> type[BaseModel]:
    """Returns the section with a dotted key, which may lead through lists, and names and values."""
    found = root
    for part in key.split("."):
        field = found.model_fields.get(part)  # else the number or the name of an item, which are all alike
        for kind in (field.annotation, *get_args(field.annotation)) if field else ():
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found = kind
    return found
