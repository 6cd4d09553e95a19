"""Error messages for invalid settings, with a suggestion for misspelt names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import get_args

from pydantic import BaseModel, ValidationError

from components.errors import InputError


class SettingsError(InputError):
    """A setting is unknown or invalid; the message names it and the remedy."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Returns " Did you mean …?" with the closest valid name, or a list of all valid names."""
    close = difflib.get_close_matches(name.lower(), {known.lower(): known for known in valid}, n=1)
    by_lower = {known.lower(): known for known in valid}
    return f" Did you mean {by_lower[close[0]]!r}?" if close else f" Valid are: {', '.join(valid)}."


def format_validation_error(error: ValidationError, root: type[BaseModel]) -> str:
    """Returns a sentence on the first error: the value, what was expected, and the closest valid name.

    Args:
        error: The error from pydantic.
        root: The model that was validated.
    """
    errors = error.errors()
    # A misspelt required key gives two errors; the unknown name is the helpful one.
    first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
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
        return f"The setting {key} is {value!r}, but must contain the settings {below}."
    expected = _EXPECTED.get(first["type"]) or message.replace("Input should", "it must")
    if first["type"] == "string_type" and isinstance(value, bool | int | float):
        expected += ", in quotes"
    hint = ""
    if first["type"] == "literal_error" and isinstance(value, str):
        close = difflib.get_close_matches(value, re.findall(r"\w+", first["ctx"]["expected"]), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"The setting {key} is {value!r}: {expected}.{hint}"


# Plain texts in place of pydantic's messages.
_EXPECTED = {
    "string_pattern_mismatch": "it must start with a-z and contain only a-z, 0-9 and hyphens",
    "path_type": "it must be a path",
    "string_type": "it must be a string",
    "int_parsing": "it must be a whole number",
    "int_type": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_parsing": "it must be a number",
    "float_type": "it must be a number",
    "bool_parsing": "it must be true or false",
    "bool_type": "it must be true or false",
    "tuple_type": "it must be a list, in brackets",
    "dict_type": "it must be a mapping, in braces",
    "too_short": "it must not be empty",
}


# Keys of earlier versions and their present names.
RENAMED = {
    "data.max_bad_fraction": "data.max_rejected_fraction",
    "evaluation.behaviour_pictures": "evaluation.perturbed_images",
    "evaluation.min_kept_labels": "evaluation.min_prediction_consistency",
    "evaluation.min_slice_pictures": "evaluation.min_slice_images",
    "serving.check.pictures": "serving.check.images",
    "kubeflow.step_defaults": "kubeflow.task_defaults",
    "kubeflow.steps": "kubeflow.tasks",
    "kubeflow.beam_args": "beam.args",
}


def _nearest_key(key: str, root: type[BaseModel]) -> str:
    """Suggests a full key: the same name in another section, or the closest name."""
    if key in RENAMED:
        return f" Did you mean {RENAMED[key]!r}?"
    parent, _, leaf = key.rpartition(".")
    keys = list(_keys(root))
    if parent and parent not in keys:  # items of lists and mappings have no full key
        return did_you_mean(leaf, _section(parent, root).model_fields)
    same_name = [known for known in keys if f".{known}".endswith(f".{leaf}")]
    if same_name:
        return f" Did you mean {' or '.join(map(repr, same_name))}?"
    by_leaf = {known.rpartition(".")[2]: known for known in keys}
    peers = [known for known in keys if known.count(".") == key.count(".")]
    close = difflib.get_close_matches(key, peers, n=1, cutoff=0.75) or [
        by_leaf[name] for name in difflib.get_close_matches(leaf, by_leaf, n=1)
    ]
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Valid are: {', '.join(sorted(_section(parent, root).model_fields))}."


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yields the dotted keys of all settings and sections below one."""
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")


def _section(key: str, root: type[BaseModel]) -> type[BaseModel]:
    """Returns the section with a dotted key, which may pass through lists and mappings."""
    section = root
    for part in key.split("."):
        field = section.model_fields.get(part)  # None for the index or key of an item
        for kind in (field.annotation, *get_args(field.annotation)) if field else ():
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                section = kind
    return section
