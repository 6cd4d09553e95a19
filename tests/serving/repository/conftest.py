"""Model repositories in both kinds of storage, and a look into them from outside."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.repository import object_store
from serving.repository.manifest import Manifest, files_in
from serving.repository.objects import Objects
from serving.repository.publish import ModelRepository, open_repository
from serving.repository.storage import PushConfig
from tests.serving.repository import cloud_storage

_folders = itertools.count()


class Stored:
    """The files of a repository, by their names in it, as somebody sees and changes them who goes past it."""

    def __init__(self, address: str) -> None:
        self._objects = Objects(address) if address.startswith("gs://") else None
        self._folder = Path(address)

    def names(self) -> set[str]:
        if self._objects:
            return set(self._objects.list())
        found = (path for path in self._folder.rglob("*") if path.is_file() and path.name != ".lock")
        return {path.relative_to(self._folder).as_posix() for path in found}

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
        """What TensorFlow Serving reads of `models.config`."""
        document = model_server_config_pb2.ModelServerConfig()
        text_format.Parse(self.read("models.config"), document)
        return dict(document.model_config_list.config[0].version_labels)


def publish(repository: ModelRepository, contents: str) -> int:
    with repository.staging() as staging:
        version = staging / "version"
        (version / "variables").mkdir(parents=True)
        (version / "saved_model.pb").write_text("graph")
        (version / "variables" / "variables.index").write_text(contents)
        return repository.publish(version, Manifest(files=files_in(version), model_name="catsdogs"))


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
    """How long servers were given to load a version before a label moved to it; nobody waits here."""
    given: list[float] = []
    monkeypatch.setattr(object_store, "sleep", given.append)
    return given


@pytest.fixture(params=["folder", "gs"])
def address(request: pytest.FixtureRequest) -> str:
    """Of a repository that does not exist yet."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def repository(address: str) -> ModelRepository:
    return open_repository(address, PushConfig("catsdogs", "/models/catsdogs", keep_versions=3))


@pytest.fixture
def stored(address: str) -> Stored:
    return Stored(address)


@pytest.fixture
def push(repository: ModelRepository) -> Callable[[str], int]:
    """`push(contents)`: publishes a model of those contents, returns its version."""
    return lambda contents: publish(repository, contents)
