"""What only an object store has, here an emulated one: no renames and no lock, but conditional writes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from serving.errors import ServingError, UsageError
from serving.repository import object_store
from serving.repository.models_config import ServedVersions
from serving.repository.object_store import ObjectStore
from serving.repository.objects import Objects
from serving.repository.publish import ModelRepository, RolledBack, open_repository
from serving.repository.storage import PushConfig
from serving.repository.versions import ModelVersions
from tests.serving.repository.conftest import Stored, publish

Push = Callable[[str], int]
Act = Callable[[], object]


@pytest.fixture
def address(gs: str) -> str:
    return gs


def config(stored: Stored) -> ServedVersions:
    return ServedVersions.from_text(stored.read("models.config"))


def folders(stored: Stored) -> set[int]:
    return {int(name.split("/")[0]) for name in stored.names() if "/" in name}


@pytest.fixture
def seen(stored: Stored, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> list[ServedVersions]:
    """What `models.config` said while labels waited for servers to load a version."""
    found: list[ServedVersions] = []
    monkeypatch.setattr(object_store, "sleep", lambda seconds: found.append(config(stored)))
    return found


def test_a_push_is_whole_before_it_is_named(push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write, upload = Objects.write, Objects.upload

    def note_write(self: Objects, name: str, contents: str, generation: int) -> None:
        written.append(name)
        write(self, name, contents, generation)

    def note_upload(self: Objects, path: Path, name: str) -> None:
        written.append(name)
        upload(self, path, name)

    monkeypatch.setattr(Objects, "write", note_write)
    monkeypatch.setattr(Objects, "upload", note_upload)
    number = push("first")

    assert written[0] == f"{number}/.incomplete"
    names = ("manifest.json", "saved_model.pb", "variables/variables.index")
    assert set(written[1:4]) == {f"{number}/{name}" for name in names}
    assert written[4:] == ["models.config", "history.jsonl"]


def test_labels_move_to_a_version_only_after_servers_could_load_it(
    push: Push, stored: Stored, seen: list[ServedVersions]
) -> None:
    first = push("first")
    assert seen == []
    second = push("second")
    assert seen == [ServedVersions((first, second), {"stable": first, "canary": first})]
    assert config(stored) == ServedVersions((first, second), {"stable": first, "canary": second})


def test_a_rollback_to_the_one_before_is_one_write_and_to_an_older_one_has_it_loaded_first(
    push: Push, repository: ModelRepository, stored: Stored, seen: list[ServedVersions]
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    seen.clear()
    repository.roll_back(second)
    assert seen == []
    assert config(stored) == ServedVersions((second,), {"stable": second, "canary": second}, (third,))
    repository.roll_back(third)
    seen.clear()
    repository.roll_back(first)
    assert seen == [ServedVersions((first, second, third), {"stable": second, "canary": third})]
    assert config(stored) == ServedVersions((first,), {"stable": first, "canary": first}, (second, third))


@pytest.fixture
def when_uploaded(monkeypatch: pytest.MonkeyPatch) -> Callable[[Act], None]:
    """`when_uploaded(act)`: does it once, after the next upload and before the version is named."""

    def arrange(act: Act) -> None:
        add = ObjectStore.add

        def then_act(self: ObjectStore, number: int, staged: Path, manifest_text: str) -> None:
            add(self, number, staged, manifest_text)
            monkeypatch.setattr(ObjectStore, "add", add)
            act()

        monkeypatch.setattr(ObjectStore, "add", then_act)

    return arrange


def test_a_push_that_is_overtaken_takes_a_higher_number(
    push: Push, repository: ModelRepository, stored: Stored, when_uploaded: Callable[[Act], None]
) -> None:
    numbers: list[int] = []
    when_uploaded(lambda: numbers.append(push("another")))
    last = push("first")
    assert last > numbers[0]
    assert repository.versions() == ModelVersions((numbers[0], last))
    assert folders(stored) == {numbers[0], last}


def test_a_model_that_somebody_else_pushes_meanwhile_becomes_one_version(
    push: Push, repository: ModelRepository, stored: Stored, when_uploaded: Callable[[Act], None]
) -> None:
    numbers: list[int] = []
    when_uploaded(lambda: numbers.append(push("first")))
    assert [push("first")] == numbers
    assert repository.versions() == ModelVersions(tuple(numbers))
    assert folders(stored) == set(numbers)


def test_a_model_that_is_rolled_back_meanwhile_is_not_pushed(
    push: Push, repository: ModelRepository, stored: Stored, when_uploaded: Callable[[Act], None]
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    when_uploaded(lambda: repository.roll_back(first))
    with pytest.raises(RolledBack) as refused:
        push("second")
    assert refused.value.version == second
    assert repository.versions() == ModelVersions((first,), (second, third))
    assert folders(stored) == {first, second, third}


def test_a_number_of_a_push_that_has_just_ended_is_not_taken_again(
    push: Push, repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push("first")
    monkeypatch.setattr(ModelVersions, "next_number", lambda self, now: first)
    second = push("second")
    assert second == first + 1
    assert repository.versions() == ModelVersions((first, second))
    assert repository.damage(first) is None


def test_a_rollback_while_a_push_waits_is_not_undone_by_it(
    push: Push, repository: ModelRepository, stored: Stored, monkeypatch: pytest.MonkeyPatch
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


def test_what_a_rollback_has_just_chosen_is_not_removed(
    push: Push, repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    remove = ObjectStore.remove

    def be_slow(self: ObjectStore, numbers: list[int]) -> list[int]:
        repository.roll_back(first)
        return remove(self, numbers)

    monkeypatch.setattr(ObjectStore, "remove", be_slow)
    fourth = push("fourth")
    assert repository.versions() == ModelVersions((first,), (second, third, fourth))
    assert repository.damage(first) is None
    assert repository.history()[-1].action == "rollback"


def test_what_is_being_removed_is_not_rolled_back_to(
    push: Push, address: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_config = PushConfig("catsdogs", address, keep_versions=9)
    repository = open_repository(address, push_config)
    first, *rest = (publish(repository, f"model {index}") for index in range(4))
    damage = ModelRepository.damage

    def then_remove(self: ModelRepository, number: int) -> str | None:
        found = damage(self, number)
        ObjectStore(address, push_config).remove([first])
        return found

    monkeypatch.setattr(ModelRepository, "damage", then_remove)
    with pytest.raises(UsageError, match=str(first)):
        repository.roll_back(first)
    assert repository.versions() == ModelVersions(tuple(rest))
    assert folders(stored) == set(rest)
    assert first not in config(stored).loaded


def test_what_is_not_whole_is_no_version_and_goes_after_a_day(
    push: Push, repository: ModelRepository, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push("first")
    half = {f"{first + 500}/{name}" for name in (".incomplete", "saved_model.pb")}
    for name in half:
        stored.write(name, "half")
    assert repository.versions() == ModelVersions((first,))
    with pytest.raises(UsageError, match=str(first + 500)):
        repository.roll_back(first + 500)

    assert push("second") == first + 501, "a number is used once"
    assert half < stored.names()
    monkeypatch.setattr(object_store, "_OLD", timedelta(seconds=-1))
    push("third")
    assert not half & stored.names()


def test_a_models_config_that_cannot_be_read_is_named(
    push: Push, repository: ModelRepository, stored: Stored, address: str
) -> None:
    push("first")
    stored.write("models.config", "model_config_list {")
    with pytest.raises(ServingError, match=f"{address}/models.config"):
        repository.versions()


@pytest.mark.parametrize("wrong", ["gs://", "gs://models", "gs://models/", "gs:///served"])
def test_an_address_without_a_folder_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        open_repository(wrong, PushConfig("catsdogs", wrong, 3))


def test_a_bucket_that_is_not_there_is_named(gs: str) -> None:
    with pytest.raises(ServingError, match="gs://nobody-s/m"):
        publish(open_repository("gs://nobody-s/m", PushConfig("catsdogs", "gs://nobody-s/m", 3)), "first")
