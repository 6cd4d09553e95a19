"""Reads TensorFlow Serving's models.config: the models to serve, their version policies and labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config.file_system_storage_path_source_pb2 import FileSystemStoragePathSourceConfig
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.errors import UsageError

_FILE = "models.config"  # in the folder with the versions

_EXAMPLE = 'model_config_list { config { name: … base_path: … model_platform: "tensorflow" } }'


@dataclass(frozen=True)
class ServedModelConfig:
    """The config of one served model.

    Attributes:
        name: The model's name in requests.
        folder: Folder with its versions.
        policy: The `ServableVersionPolicy`. Defaults to the newest version.
        labels: Version numbers by label, such as `stable`.
    """

    name: str
    folder: Path
    policy: Any = field(default_factory=FileSystemStoragePathSourceConfig.ServableVersionPolicy)
    labels: Mapping[str, int] = field(default_factory=dict)

    def select_versions(self, versions: Iterable[int]) -> set[int]:
        """Returns the versions that the policy selects."""
        match self.policy.WhichOneof("policy_choice"):
            case "all":
                return set(versions)
            case "specific":
                return set(versions).intersection(self.policy.specific.versions)
        return set(sorted(versions)[-max(self.policy.latest.num_versions, 1) :])


ConfigSource = Callable[[], Sequence[ServedModelConfig]]
"""Reads the models to serve, at each call. Raises UsageError if a models.config cannot be read."""


def config_source(model_name: str, folder: Path | str, config_file: Path | str | None = None) -> ConfigSource:
    """Returns a function that reads the models to serve.

    Args:
        model_name: The model's name in requests.
        folder: Folder with the versions of the model. If it has a models.config, the model's policy and
            labels come from there, but not its base path; otherwise, the newest version is served.
        config_file: A models.config with any number of models, instead of `model_name` and `folder`.

    Raises:
        UsageError: A models.config cannot be read.
    """

    def source() -> Sequence[ServedModelConfig]:
        if config_file is not None:
            return [
                _to_config(model, Path(model.base_path))
                for model in _read(Path(config_file), needs_base_path=True)
            ]
        path = Path(folder) / _FILE
        if not path.exists():
            return [ServedModelConfig(model_name, Path(folder))]
        models = {model.name: model for model in _read(path, needs_base_path=False)}
        if model_name not in models:
            raise UsageError(
                f"{path} does not list the model {model_name}: "
                f"use one of the names that it lists ({', '.join(models) or 'none'})."
            )
        return [_to_config(models[model_name], Path(folder))]

    source()
    return source


def find_label_conflict(
    configs: Mapping[str, ServedModelConfig],
    labels: Mapping[str, Mapping[str, int]],
    loaded: Mapping[str, Collection[int]],
) -> str:
    """Returns the error of TensorFlow Serving for a new config with an invalid label; empty if there is none.

    TensorFlow Serving checks labels before it loads anything: a label in use cannot move to a version that
    the same config adds. A new label may name any version.

    Args:
        configs: The new config, by model.
        labels: The current version numbers by model and label.
        loaded: Numbers of the versions in memory, by model.
    """
    for name, config in configs.items():
        for label, number in config.labels.items():
            current = labels.get(name, {}).get(label)
            if current not in (None, number) and number not in loaded.get(name, ()):
                return (
                    f"Request to assign label to version {number} of model {name}, "
                    "which is not currently available for inference"
                )
    return ""


def _read(path: Path, needs_base_path: bool) -> Sequence[Any]:
    """Reads and checks a models.config; `needs_base_path` requires an absolute base_path for each model."""
    try:
        text = path.read_text(encoding="utf-8")
        config = text_format.Parse(text, ModelServerConfig())
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): expected a models.config.") from error
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise UsageError(f"{path} is not a models.config ({error}): expected {_EXAMPLE}.") from error
    if not config.HasField("model_config_list"):
        raise UsageError(f"{path} lists no models: expected {_EXAMPLE}.")
    models = config.model_config_list.config
    names = [model.name for model in models]
    for model in models:
        if names.count(model.name) > 1:
            raise UsageError(f"{path}: Illegal to list model {model.name} multiple times in config list.")
        if needs_base_path and not Path(model.base_path).is_absolute():
            raise UsageError(
                f"{path}: Expected model {model.name} to have an absolute path; "
                f"got base_path {model.base_path!r}."
            )
        if model.model_platform != "tensorflow":
            raise UsageError(
                f"{path}: The model {model.name} has the platform {model.model_platform!r}: "
                'expected model_platform: "tensorflow".'
            )
    return models


def _to_config(model: Any, folder: Path) -> ServedModelConfig:
    return ServedModelConfig(model.name, folder, model.model_version_policy, dict(model.version_labels))
