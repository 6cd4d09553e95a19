"""Fixtures: model repositories in a folder and in an object store, and direct access to their files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.repository import object_store
from serving.repository.bucket import Bucket
from serving.repository.manifest import Manifest, checksum_files
from serving.repository.model_repository import ModelRepository, open_repository
from serving.repository.storage import PushConfig
from tests.serving.repository import cloud_storage

_folders = itertools.count()


class StoredFiles:
    """Reads and writes the files of a repository directly, by name."""

    def __init__(self, address: str) -> None:
        self._objects = Bucket(address) if address.startswith("gs://") else None
        self._folder = Path(address)

    def names(self) -> set[str]:
        if self._objects:
            return set(self._objects.list())
        paths = (path for path in self._folder.rglob("*") if path.is_file() and path.name != ".lock")
        return {path.relative_to(self._folder).as_posix() for path in paths}

    def read(self, name: str) -> str:
        if self._objects:
            return self._objects.read(name)[0].decode()
        return (self._folder / name).read_text()

    def write(self, name: str, text: str) -> None:
        if self._objects:
            self._objects.write(name, text, self._objects.read(name)[1])
            return
        (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_text(text)

    def delete(self, name: str) -> None:
        if self._objects:
            self._objects.delete(name)
        else:
            (self._folder / name).unlink()

    def labels(self) -> dict[str, int]:
        """The labels in `models.config`, as TensorFlow Serving parses them."""
        document = model_server_config_pb2.ModelServerConfig()
        text_format.Parse(self.read("models.config"), document)
        return dict(document.model_config_list.config[0].version_labels)


def push_model(repository: ModelRepository, contents: str) -> int:
    with repository.staging() as staging:
        version = staging / "version"
        (version / "variables").mkdir(parents=True)
        (version / "saved_model.pb").write_text("graph")
        (version / "variables" / "variables.index").write_text(contents)
        return repository.push(version, Manifest(files=checksum_files(version), model_name="catsdogs"))


@pytest.fixture(scope="module")
def _emulator() -> Iterator[None]:
    with cloud_storage.emulated("models"):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "serving_model" / "catsdogs"


@pytest.fixture
def gs(_emulator: None, waits: list[float]) -> str:
    return f"gs://models/served/{next(_folders)}"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replaces the waits before a label moves; the list holds their seconds."""
    seconds: list[float] = []
    monkeypatch.setattr(object_store, "sleep", seconds.append)
    return seconds


@pytest.fixture(params=["folder", "gs"])
def address(request: pytest.FixtureRequest) -> str:
    """The address of a repository that does not exist yet."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def repository(address: str) -> ModelRepository:
    return open_repository(address, PushConfig("catsdogs", "/models/catsdogs", keep_versions=3))


@pytest.fixture
def stored(address: str) -> StoredFiles:
    return StoredFiles(address)


@pytest.fixture
def push(repository: ModelRepository) -> Callable[[str], int]:
    """`push(contents)`: pushes a model with these contents and returns its version."""
    return lambda contents: push_model(repository, contents)
