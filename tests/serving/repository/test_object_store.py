"""Behaviour specific to an object store (emulated): no renames, no lock, conditional writes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from serving.errors import ServingError, UsageError
from serving.repository import object_store
from serving.repository.bucket import Bucket
from serving.repository.model_repository import ModelRepository, RolledBack, open_repository
from serving.repository.models_config import ServedVersions
from serving.repository.object_store import ObjectStorage
from serving.repository.storage import PushConfig
from serving.repository.versions import ModelVersions
from tests.serving.repository.conftest import StoredFiles, push_model

Push = Callable[[str], int]
Action = Callable[[], object]


@pytest.fixture
def address(gs: str) -> str:
    return gs


def config(stored: StoredFiles) -> ServedVersions:
    return ServedVersions.from_text(stored.read("models.config"))


def folders(stored: StoredFiles) -> set[int]:
    return {int(name.split("/")[0]) for name in stored.names() if "/" in name}


@pytest.fixture
def waiting_configs(
    stored: StoredFiles, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> list[ServedVersions]:
    """The contents of `models.config` whenever a change waits for servers to load a version."""
    contents: list[ServedVersions] = []
    monkeypatch.setattr(object_store, "sleep", lambda seconds: contents.append(config(stored)))
    return contents


def test_a_version_is_uploaded_completely_before_models_config_names_it(
    push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write, upload = Bucket.write, Bucket.upload

    def record_write(self: Bucket, name: str, contents: str, generation: int) -> None:
        written.append(name)
        write(self, name, contents, generation)

    def record_upload(self: Bucket, path: Path, name: str) -> None:
        written.append(name)
        upload(self, path, name)

    monkeypatch.setattr(Bucket, "write", record_write)
    monkeypatch.setattr(Bucket, "upload", record_upload)
    number = push("first")

    assert written[0] == f"{number}/.incomplete"
    names = ("manifest.json", "saved_model.pb", "variables/variables.index")
    assert set(written[1:4]) == {f"{number}/{name}" for name in names}
    assert written[4:] == ["models.config", "history.jsonl"]


def test_labels_move_after_servers_had_time_to_load_the_version(
    push: Push, stored: StoredFiles, waiting_configs: list[ServedVersions]
) -> None:
    first = push("first")
    assert waiting_configs == []
    second = push("second")
    assert waiting_configs == [ServedVersions((first, second), {"stable": first, "canary": first})]
    assert config(stored) == ServedVersions((first, second), {"stable": first, "canary": second})


def test_a_rollback_to_an_unloaded_version_writes_models_config_twice(
    push: Push, repository: ModelRepository, stored: StoredFiles, waiting_configs: list[ServedVersions]
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    waiting_configs.clear()
    repository.roll_back(second)
    assert waiting_configs == []
    assert config(stored) == ServedVersions((second,), {"stable": second, "canary": second}, (third,))
    repository.roll_back(third)
    waiting_configs.clear()
    repository.roll_back(first)
    assert waiting_configs == [ServedVersions((first, second, third), {"stable": second, "canary": third})]
    assert config(stored) == ServedVersions((first,), {"stable": first, "canary": first}, (second, third))


@pytest.fixture
def after_upload(monkeypatch: pytest.MonkeyPatch) -> Callable[[Action], None]:
    """`after_upload(action)`: runs the action once, after the next upload and before the version is live."""

    def arrange(action: Action) -> None:
        add = ObjectStorage.add

        def add_then_act(self: ObjectStorage, number: int, staged: Path, manifest_text: str) -> None:
            add(self, number, staged, manifest_text)
            monkeypatch.setattr(ObjectStorage, "add", add)
            action()

        monkeypatch.setattr(ObjectStorage, "add", add_then_act)

    return arrange


def test_a_push_that_is_overtaken_gets_a_higher_number(
    push: Push, repository: ModelRepository, stored: StoredFiles, after_upload: Callable[[Action], None]
) -> None:
    numbers: list[int] = []
    after_upload(lambda: numbers.append(push("another")))
    last = push("first")
    assert last > numbers[0]
    assert repository.versions() == ModelVersions((numbers[0], last))
    assert folders(stored) == {numbers[0], last}


def test_concurrent_pushes_of_one_model_create_one_version(
    push: Push, repository: ModelRepository, stored: StoredFiles, after_upload: Callable[[Action], None]
) -> None:
    numbers: list[int] = []
    after_upload(lambda: numbers.append(push("first")))
    assert [push("first")] == numbers
    assert repository.versions() == ModelVersions(tuple(numbers))
    assert folders(stored) == set(numbers)


def test_a_model_that_is_rolled_back_during_the_push_is_not_pushed(
    push: Push, repository: ModelRepository, stored: StoredFiles, after_upload: Callable[[Action], None]
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    after_upload(lambda: repository.roll_back(first))
    with pytest.raises(RolledBack) as refused:
        push("second")
    assert refused.value.version == second
    assert repository.versions() == ModelVersions((first,), (second, third))
    assert folders(stored) == {first, second, third}


def test_the_number_of_a_push_that_just_ended_is_not_reused(
    push: Push, repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push("first")
    monkeypatch.setattr(ModelVersions, "next_number", lambda self, now: first)
    second = push("second")
    assert second == first + 1
    assert repository.versions() == ModelVersions((first, second))
    assert repository.damage(first) is None


def test_a_waiting_push_does_not_undo_a_rollback(
    push: Push, repository: ModelRepository, stored: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push("first")
    with monkeypatch.context() as patch:
        patch.setattr(object_store, "sleep", lambda seconds: repository.roll_back(first))
        with pytest.raises(RolledBack) as refused:
            push("second")
    second = refused.value.version
    assert repository.versions() == ModelVersions((first,), (second,))
    assert config(stored) == ServedVersions((first,), {"stable": first, "canary": first}, (second,))
    assert repository.roll_back(second) == (first, second)
    assert repository.damage(second) is None


def test_a_version_that_was_just_rolled_back_to_is_not_removed(
    push: Push, repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    remove = ObjectStorage.remove

    def roll_back_then_remove(self: ObjectStorage, numbers: list[int]) -> list[int]:
        repository.roll_back(first)
        return remove(self, numbers)

    monkeypatch.setattr(ObjectStorage, "remove", roll_back_then_remove)
    fourth = push("fourth")
    assert repository.versions() == ModelVersions((first,), (second, third, fourth))
    assert repository.damage(first) is None
    assert repository.history()[-1].action == "rollback"


def test_a_rollback_to_a_version_that_is_being_removed_fails(
    push: Push, address: str, stored: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_config = PushConfig("catsdogs", address, keep_versions=9)
    repository = open_repository(address, push_config)
    first, *rest = (push_model(repository, f"model {index}") for index in range(4))
    damage = ModelRepository.damage

    def damage_then_remove(self: ModelRepository, number: int) -> str | None:
        description = damage(self, number)
        ObjectStorage(address, push_config).remove([first])
        return description

    monkeypatch.setattr(ModelRepository, "damage", damage_then_remove)
    with pytest.raises(UsageError, match=str(first)):
        repository.roll_back(first)
    assert repository.versions() == ModelVersions(tuple(rest))
    assert folders(stored) == set(rest)
    assert first not in config(stored).loaded


def test_an_incomplete_version_is_ignored_and_deleted_after_a_day(
    push: Push, repository: ModelRepository, stored: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push("first")
    incomplete = {f"{first + 500}/{name}" for name in (".incomplete", "saved_model.pb")}
    for name in incomplete:
        stored.write(name, "incomplete")
    assert repository.versions() == ModelVersions((first,))
    with pytest.raises(UsageError, match=str(first + 500)):
        repository.roll_back(first + 500)

    assert push("second") == first + 501, "a number is used once"
    assert incomplete < stored.names()
    monkeypatch.setattr(object_store, "_STALE_AFTER", timedelta(seconds=-1))
    push("third")
    assert not incomplete & stored.names()


def test_an_unreadable_models_config_is_an_error_that_names_it(
    push: Push, repository: ModelRepository, stored: StoredFiles, address: str
) -> None:
    push("first")
    stored.write("models.config", "model_config_list {")
    with pytest.raises(ServingError, match=f"{address}/models.config"):
        repository.versions()


@pytest.mark.parametrize("wrong", ["gs://", "gs://models", "gs://models/", "gs:///served"])
def test_an_address_without_a_folder_is_a_usage_error(wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        open_repository(wrong, PushConfig("catsdogs", wrong, 3))


def test_a_missing_bucket_is_an_error_that_names_it(gs: str) -> None:
    with pytest.raises(ServingError, match="gs://nobody-s/m"):
        push_model(open_repository("gs://nobody-s/m", PushConfig("catsdogs", "gs://nobody-s/m", 3)), "first")
