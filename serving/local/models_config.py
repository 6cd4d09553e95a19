"""Which models are served, which versions of them, under which labels: TensorFlow Serving's models.config."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config.file_system_storage_path_source_pb2 import FileSystemStoragePathSourceConfig
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.errors import UsageError

FILE = "models.config"  # the name beside the versions

_EXAMPLE = 'model_config_list { config { name: … base_path: … model_platform: "tensorflow" } }'


@dataclass(frozen=True)
class ModelConfig:
    """One model that is to be served.

    Attributes:
        name: What requests call it.
        folder: Folder with its versions.
        policy: Which of them are served, a `ServableVersionPolicy`; by default the newest.
        labels: Versions by label, `stable` for example.
    """

    name: str
    folder: Path
    policy: Any = field(default_factory=FileSystemStoragePathSourceConfig.ServableVersionPolicy)
    labels: Mapping[str, int] = field(default_factory=dict)

    def chosen(self, versions: Iterable[int]) -> set[int]:
        """Returns those of the versions that are to be served."""
        match self.policy.WhichOneof("policy_choice"):
            case "all":
                return set(versions)
            case "specific":
                return set(versions).intersection(self.policy.specific.versions)
        return set(sorted(versions)[-max(self.policy.latest.num_versions, 1) :])


Source = Callable[[], Sequence[ModelConfig]]
"""Says anew at each call what is to be served. Raises UsageError where that cannot be read."""


def configs(model_name: str, folder: Path | str, config_file: Path | str | None = None) -> Source:
    """Returns where a server looks up what to serve.

    Args:
        model_name: What requests call the model in `folder`.
        folder: Folder with the versions of one model. Where a models.config lies beside them, that model's
            policy and labels in it hold, but not its base path; without one, the newest version is served.
        config_file: A models.config with any number of models, in place of the two.

    Raises:
        UsageError: A models.config cannot be read.
    """

    def source() -> Sequence[ModelConfig]:
        if config_file is not None:
            return [_config(each, Path(each.base_path)) for each in _read(Path(config_file), listed=True)]
        beside = Path(folder) / FILE
        if not beside.exists():
            return [ModelConfig(model_name, Path(folder))]
        found = {each.name: each for each in _read(beside, listed=False)}
        if model_name not in found:
            raise UsageError(
                f"{beside} says nothing of the model {model_name}, only of {', '.join(found) or 'none'}: "
                "name the model as it does."
            )
        return [_config(found[model_name], Path(folder))]

    source()
    return source


def label_refused(
    asked: Mapping[str, ModelConfig],
    labels: Mapping[str, Mapping[str, int]],
    loaded: Mapping[str, Collection[int]],
) -> str:
    """Returns why TensorFlow Serving refuses what is asked for; nothing where it does not.

    It looks at the labels before it loads anything, so that a label in use cannot move to a version that the
    same file asks to load. Labels that are new may name any version.

    Args:
        asked: The models by name.
        labels: The versions' numbers by model and label, as they are now.
        loaded: The numbers of each model's versions in memory.
    """
    for name, config in asked.items():
        for label, number in config.labels.items():
            used = labels.get(name, {}).get(label)
            if used not in (None, number) and number not in loaded.get(name, ()):
                return (
                    f"Request to assign label to version {number} of model {name}, "
                    "which is not currently available for inference"
                )
    return ""


def _read(path: Path, listed: bool) -> Sequence[Any]:
    """Reads the file; where the models are to be served as `listed`, each must say where it is."""
    try:
        text = path.read_text(encoding="utf-8")
        config = text_format.Parse(text, ModelServerConfig())
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): name a models.config.") from error
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise UsageError(f"{path} is no models.config ({error}): expected {_EXAMPLE}.") from error
    if not config.HasField("model_config_list"):
        raise UsageError(f"{path} lists no models: expected {_EXAMPLE}.")
    models = config.model_config_list.config
    names = [model.name for model in models]
    for model in models:
        if names.count(model.name) > 1:
            raise UsageError(f"{path}: Illegal to list model {model.name} multiple times in config list.")
        if listed and not Path(model.base_path).is_absolute():
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


def _config(model: Any, folder: Path) -> ModelConfig:
    return ModelConfig(model.name, folder, model.model_version_policy, dict(model.version_labels))
