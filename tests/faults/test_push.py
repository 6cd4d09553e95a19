"""Kills pushes and rollbacks (kill -9) at random moments; a server watches and a client sends requests."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.local import server_process
from serving.repository import object_store
from serving.repository.folder import FolderStorage
from serving.repository.model_repository import ModelRepository, open_repository
from serving.repository.object_store import ObjectStorage
from serving.repository.storage import PushConfig
from tests.components import pushing
from tests.serving import saved_models
from tests.serving.repository import cloud_storage

pytestmark = pytest.mark.slow

FEW_KILLS = 5  # in make test
MANY_KILLS = pytest.param(50, marks=pytest.mark.faults)
CONFIG = PushConfig("catsdogs", "/models/catsdogs", 3)


class Client(threading.Thread):
    """Sends requests to a server in a loop.

    Attributes:
        correct_responses: Number of correct responses.
        failures: Descriptions of all other responses, and of versions in an error state.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.correct_responses = 0
        self.failures: list[str] = []
        self._model = f"{url}/v1/models/catsdogs"
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.02):
            try:
                body = self._post({"instances": [[4.0]]})
                assert body == {"predictions": [[4.0]]}, body
                for version in self.versions():
                    assert version["status"]["error_code"] == "OK", version
                self.correct_responses += 1
            except (AssertionError, OSError) as error:
                self.failures.append(repr(error))

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def versions(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(self._model, timeout=10) as response:
            versions: list[dict[str, Any]] = json.load(response)["model_version_status"]
        return versions

    def serves(self, number: int) -> bool:
        state = {version["version"]: version["state"] for version in self.versions()}
        return state.get(str(number)) == "AVAILABLE"

    def _post(self, body: dict[str, object]) -> object:
        request = urllib.request.Request(f"{self._model}:predict", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pushing.model_artifact(tmp_path_factory.mktemp("model"), saved_models.half_plus_two, files=50)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "catsdogs"


@pytest.fixture(scope="module")
def repository(served: Path) -> ModelRepository:
    return open_repository(str(served), CONFIG)


@pytest.fixture(scope="module")
def client(model: Path, served: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    for text in ("the first", "the second"):
        pushing.change_model(model, text)
        pushing.run_to_end(pushing.push, str(model), str(served))
    log = tmp_path_factory.mktemp("log") / "log"
    with server_process.run_local_server(served, log=log) as address:
        server_process.wait_until_ready(address.process, address.rest_url, "catsdogs", 60, log)
        client = Client(address.rest_url)
        client.start()
        yield client
        client.stop()


def check_intact(address: str) -> None:
    """Checks that a server finds only whole versions, and that their labels and the history fit them."""
    repository = open_repository(address, CONFIG)
    stored = (
        ObjectStorage(address, CONFIG)
        if address.startswith("gs://")
        else FolderStorage(Path(address), CONFIG)
    )
    versions = repository.versions()
    assert versions.served is not None
    for number in versions.known:
        assert repository.damage(number) is None
        for name, expected in repository.files(number).items():
            content = stored.read(name, number)
            assert content is not None
            assert hashlib.sha256(content).hexdigest() == expected.sha256
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((stored.read("models.config") or b"").decode(), config)
    assert set(config.model_config_list.config[0].version_labels.values()) <= set(versions.live)
    history = (stored.read("history.jsonl") or b"").decode()
    entries = repository.history()
    assert len(entries) == len(history.splitlines())
    pushed = [entry.after or 0 for entry in entries if entry.action == "push"]
    assert pushed == sorted(set(pushed))
    assert all(not set(entry.removed) & set(versions.known) for entry in entries)


def check_next_push(model: Path, address: str, *emulator: str) -> None:
    """Checks that a push after a killed one succeeds, and is recorded after the version served before."""
    repository = open_repository(address, CONFIG)
    before = repository.versions().served
    pushing.change_model(model, f"after {before}")
    pushing.run_to_end(pushing.push, str(model), address, *emulator)
    served = repository.versions().served
    push = [entry for entry in repository.history() if entry.action == "push"][-1]
    assert (push.before, push.after) == (before, served)
    assert len(repository.versions().known) <= CONFIG.keep_versions
    check_intact(address)


def wait_for(client: Client, number: int) -> None:
    deadline = time.monotonic() + 20
    while not client.serves(number):
        assert time.monotonic() < deadline, client.versions()
        time.sleep(0.1)


@pytest.mark.parametrize("kills", [FEW_KILLS, MANY_KILLS])
def test_a_killed_push_to_a_folder_leaves_whole_versions(
    model: Path, served: Path, repository: ModelRepository, client: Client, kills: int
) -> None:
    pushing.change_model(model, "the third")
    duration = pushing.run_to_end(pushing.push, str(model), str(served))

    def attempt(moment: float) -> bool:
        pushing.change_model(model, f"killed after {moment}")
        before = repository.versions()
        was_running = pushing.kill_after(moment, pushing.push, str(model), str(served))
        check_intact(str(served))
        assert set(before.live[-2:]) <= set(repository.versions().live)
        check_next_push(model, str(served))
        return was_running

    pushing.kill_at_random(kills, 1, duration, attempt)
    newest = repository.versions().served
    assert newest is not None
    wait_for(client, newest)
    assert len(repository.versions().known) == CONFIG.keep_versions
    own = {".lock", "history.jsonl", "models.config", *map(str, repository.versions().live)}
    assert {entry.name for entry in served.iterdir()} == own
    assert client.failures == []
    assert client.correct_responses > kills


@pytest.mark.parametrize("kills", [FEW_KILLS, MANY_KILLS])
def test_a_killed_rollback_is_completed_by_the_next_one(
    served: Path, repository: ModelRepository, client: Client, kills: int
) -> None:
    target, *newer = repository.versions().live
    duration = pushing.run_to_end(pushing.roll_back, target, str(served))

    def attempt(moment: float) -> bool:
        repository.roll_back(newer[-1])
        before = repository.versions()
        was_running = pushing.kill_after(moment, pushing.roll_back, target, str(served))
        check_intact(str(served))
        assert repository.versions().known == before.known
        repository.roll_back(target)
        assert repository.versions().served == target
        return was_running

    pushing.kill_at_random(kills, 2, duration, attempt)
    wait_for(client, target)
    repository.roll_back(newer[-1])
    assert client.failures == []


@pytest.mark.parametrize("kills", [FEW_KILLS, MANY_KILLS])
def test_a_killed_push_to_an_object_store_leaves_whole_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    monkeypatch.setattr(object_store, "_LOAD_SECONDS", 0.0)  # no server is watching
    model = pushing.model_artifact(tmp_path / "model", saved_models.half_plus_two, files=3)
    address = "gs://models/catsdogs"
    with cloud_storage.emulated("models") as emulator:
        repository = open_repository(address, CONFIG)
        pushing.change_model(model, "the first")
        duration = pushing.run_to_end(pushing.push, str(model), address, emulator)

        def attempt_push(moment: float) -> bool:
            pushing.change_model(model, f"killed after {moment}")
            was_running = pushing.kill_after(moment, pushing.push, str(model), address, emulator)
            check_intact(address)
            check_next_push(model, address, emulator)
            return was_running

        pushing.kill_at_random(kills, 3, duration, attempt_push)
        newest, before = repository.versions().served, repository.versions().stable
        assert newest is not None
        assert before is not None

        def attempt_rollback(moment: float) -> bool:
            was_running = pushing.kill_after(moment, pushing.roll_back, before, address, emulator)
            check_intact(address)
            repository.roll_back(newest)
            assert repository.versions().served == newest
            return was_running

        pushing.kill_at_random(kills // 2, 4, duration / 2, attempt_rollback)
