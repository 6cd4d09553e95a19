"""`models.config`: the file that configures TensorFlow Serving.

TensorFlow Serving rejects a file in which an existing label names a version that is not loaded. It keeps its
previous configuration and reads the file again a second later. A label therefore moves only to a version
that is loaded by then.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from serving.repository.storage import PushConfig
from serving.repository.versions import LOADED_VERSIONS, ModelVersions

NAME = "models.config"
STABLE, CANARY = "stable", "canary"

_HEADER = "# Written by catsdogs after every push and every rollback; what is changed here is overwritten.\n"
_ROLLED_BACK = re.compile(r"^# withdrawn: (\d+(?: \d+)*)$", re.MULTILINE)


def labels(versions: ModelVersions) -> dict[str, int]:
    """Returns the version of each label: `canary` is the served version, `stable` the one before it.

    Args:
        versions: The versions, with at least one live one.
    """
    assert versions.served is not None
    assert versions.stable is not None
    return {STABLE: versions.stable, CANARY: versions.served}


def folder_config(versions: ModelVersions, config: PushConfig) -> str:
    """Returns the file for a folder, in which the server discovers the versions itself.

    Args:
        versions: The versions, with at least one live one.
        config: Name and base path of the model.
    """
    document, model = _document(config, labels(versions))
    model.model_version_policy.latest.num_versions = LOADED_VERSIONS
    return _to_text(document, versions.rolled_back)


@dataclasses.dataclass(frozen=True)
class ServedVersions:
    """The contents of the file in an object store, where it alone defines the served versions.

    Attributes:
        loaded: Versions that a server loads, ascending.
        labels: Version of each label.
        rolled_back: Versions that were rolled back, ascending.
    """

    loaded: tuple[int, ...] = ()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    rolled_back: tuple[int, ...] = ()

    def to_text(self, config: PushConfig) -> str:
        """Returns the contents of the file.

        Args:
            config: Name and base path of the model.
        """
        document, model = _document(config, self.labels)
        model.model_version_policy.specific.versions.extend(self.loaded)
        return _to_text(document, self.rolled_back)

    @classmethod
    def from_text(cls, text: str) -> ServedVersions:
        """Parses the output of `to_text`.

        Raises:
            ValueError: The text is not such a file.
        """
        from google.protobuf import text_format
        from tensorflow_serving.config import model_server_config_pb2

        document = model_server_config_pb2.ModelServerConfig()
        try:
            text_format.Parse(text, document)
            [model] = document.model_config_list.config
        except text_format.ParseError as error:
            raise ValueError(str(error)) from error
        comment = _ROLLED_BACK.search(text)
        return cls(
            loaded=tuple(sorted(model.model_version_policy.specific.versions)),
            labels=dict(model.version_labels),
            rolled_back=tuple(map(int, comment[1].split())) if comment else (),
        )


def _document(config: PushConfig, version_labels: Mapping[str, int]) -> tuple[Any, Any]:
    from tensorflow_serving.config import model_server_config_pb2

    document = model_server_config_pb2.ModelServerConfig()
    model = document.model_config_list.config.add(
        name=config.model_name, base_path=config.base_path, model_platform="tensorflow"
    )
    model.version_labels.update(version_labels)
    return document, model


def _to_text(document: Any, rolled_back: Sequence[int]) -> str:
    from google.protobuf import text_format

    comment = f"# withdrawn: {' '.join(map(str, rolled_back))}\n" if rolled_back else ""
    return _HEADER + comment + str(text_format.MessageToString(document))
