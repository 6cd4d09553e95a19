"""Loads and validates the settings: base.yaml, then a named configuration, then `--set`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipelines.settings.configs import CONFIGS, DEFAULT_CONFIG, config_names
from pipelines.settings.errors import RENAMED, SettingsError, did_you_mean, format_validation_error
from pipelines.settings.serving import is_gcs_address
from pipelines.settings.tree import Settings
from trainer.training_config import NAMED_WEIGHTS


def load(config: str = DEFAULT_CONFIG, overrides: Iterable[str] = ()) -> Settings:
    """Loads base.yaml, merges a configuration and the overrides into it, and validates the result.

    Args:
        config: A name from `configs/` or the path of a YAML file.
        overrides: `KEY=VALUE` strings; keys are dotted (`training.batch_size`), values are YAML.

    Returns:
        The settings, with paths made absolute relative to the working directory.

    Raises:
        SettingsError: A file cannot be read, or a setting is unknown or invalid.
    """
    return _validated([_read(_find(config)), *map(_parse_override, overrides)])


def load_stored(path: Path) -> Settings:
    """Loads the `settings.yaml` of an earlier run, which may use the keys of an earlier version.

    Raises:
        SettingsError: The file cannot be read, or a setting is unknown or invalid.
    """
    tree = _read(path)
    for old, new in RENAMED.items():
        *sections, leaf = old.split(".")
        section: Any = tree
        for name in sections:
            section = section.get(name) or {}
        if leaf in section:
            _merge(tree, _nested(new, section.pop(leaf)))
    return _validated([tree])


def _validated(layers: Iterable[Mapping[str, Any]]) -> Settings:
    # image_size defaults to the backbone's own size, so the default backbone's must not be merged in.
    tree = Settings().model_dump(exclude={"training": {"image_size"}})
    _merge(tree, _read(CONFIGS / "base.yaml"))
    for layer in layers:
        _merge(tree, layer)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(format_validation_error(error, Settings)) from None
    return _absolute(settings)


def dump(settings: Settings, without: Iterable[str] = ()) -> str:
    """Returns the settings as YAML that `load` can read, without the given sections."""
    return yaml.safe_dump(settings.model_dump(mode="json", exclude=set(without)), sort_keys=False)


def _find(config: str) -> Path:
    if config in config_names():
        return CONFIGS / f"{config}.yaml"
    path = Path(config)
    if path.is_file():
        return path
    if path.suffix in {".yaml", ".yml"} or path.exists():
        reason = "is a folder, not a YAML file" if path.is_dir() else "does not exist"
        raise SettingsError(f"The configuration file {config} {reason}.")
    raise SettingsError(f"There is no config or file {config!r}.{did_you_mean(config, config_names())}")


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The configuration file {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise SettingsError(
            f"The configuration file {path} is not YAML: {' '.join(str(error).split())}."
        ) from None
    if not isinstance(tree, dict):
        raise SettingsError(
            f"The configuration file {path} must contain a mapping, not a {type(tree).__name__}."
        )
    return tree


def _parse_override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not all(key.split(".")):
        raise SettingsError(f"--set {text!r} must be KEY=VALUE, for example training.batch_size=64.")
    try:
        tree: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise SettingsError(f"--set {text!r}: the value {value!r} is not YAML; put it in quotes.") from None
    return _nested(key, tree)


def _nested(key: str, value: Any) -> dict[str, Any]:
    """Returns the tree that holds a value under a dotted key."""
    for part in reversed(key.split(".")):
        value = {part: value}
    tree: dict[str, Any] = value
    return tree


def _merge(tree: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _absolute(settings: Settings) -> Settings:
    def absolute(path: Path | None) -> Path | None:
        try:
            return path and path.expanduser().absolute()
        except RuntimeError:
            raise SettingsError(f"The path {path} names the home folder of an unknown user.") from None

    training = settings.training
    if training.weights not in NAMED_WEIGHTS:
        training = training.model_copy(update={"weights": str(absolute(Path(training.weights)))})
    data = settings.data.model_copy(
        update={
            "folder": absolute(settings.data.folder),
            "tfds": settings.data.tfds.model_copy(update={"data_dir": absolute(settings.data.tfds.data_dir)}),
        }
    )
    flink = settings.beam.flink
    flink = flink.model_copy(update={"job_server_jar": absolute(flink.job_server_jar)})
    serving = settings.serving
    if serving.destination and not is_gcs_address(serving.destination):
        serving = serving.model_copy(update={"destination": str(absolute(Path(serving.destination)))})
    return settings.model_copy(
        update={
            "output_root": absolute(settings.output_root),
            "data": data,
            "training": training,
            "beam": settings.beam.model_copy(update={"flink": flink}),
            "serving": serving,
        }
    )
