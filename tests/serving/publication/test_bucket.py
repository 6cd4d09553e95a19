"""Publishes to an emulated Cloud Storage, and rolls back there."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from serving.errors import ServingError, UsageError
from serving.publication import bucket as publishing
from serving.publication import models_config
from serving.publication.bucket import BucketPlace
from serving.publication.manifest import Manifest, files_in
from serving.publication.objects import NONE, Objects
from serving.publication.place import RolledBack, Terms
from serving.publication.stock import Stock
from tests.serving.publication import cloud_storage

Push = Callable[[str], int]
_folders = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def _store() -> Iterator[None]:
    with cloud_storage.emulated("models"):
        yield


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long servers were given to load a version before a label moved to it; nobody waits here."""
    given: list[float] = []
    monkeypatch.setattr(publishing, "sleep", given.append)
    return given


@pytest.fixture
def address() -> str:
    return f"gs://models/served/{next(_folders)}"


@pytest.fixture
def objects(address: str) -> Objects:
    return Objects(address)


@pytest.fixture
def place(address: str) -> BucketPlace:
    return BucketPlace(address, Terms("catsdogs", address, keep_versions=3))


def publish(place: BucketPlace, contents: str) -> int:
    with place.staging() as staging:
        version = staging / "version"
        (version / "variables").mkdir(parents=True)
        (version / "saved_model.pb").write_text("graph")
        (version / "variables" / "variables.index").write_text(contents)
        return place.publish(version, Manifest(files=files_in(version), model_name="catsdogs"))


@pytest.fixture
def push(place: BucketPlace) -> Push:
    return lambda contents: publish(place, contents)


def config(objects: Objects) -> tuple[tuple[int, ...], dict[str, int], tuple[int, ...]]:
    return models_config.read(objects.read("models.config")[0].decode())


def test_a_push_is_whole_before_it_is_named(
    push: Push, place: BucketPlace, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
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

    files = {f"{number}/{name}" for name in ("manifest.json", "saved_model.pb", "variables/variables.index")}
    assert written[0] == f"{number}/.incomplete"
    assert set(written[1:4]) == files
    assert written[4:] == ["models.config", "history.jsonl"]
    assert set(objects.list()) == {*files, "models.config", "history.jsonl"}
    assert place.stock() == Stock((number,))
    assert place.damage(number) is None
    assert place.size(number) > len("graph") + len("first")
    assert config(objects) == ((number,), {"stable": number, "canary": number}, ())


def test_labels_move_to_a_version_only_after_servers_could_load_it(
    push: Push, objects: Objects, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push("first")
    assert waits == []
    seen: list[tuple[tuple[int, ...], dict[str, int], tuple[int, ...]]] = []
    monkeypatch.setattr(publishing, "sleep", lambda seconds: seen.append(config(objects)))
    second = push("second")
    assert seen == [((first, second), {"stable": first, "canary": first}, ())]
    assert config(objects) == ((first, second), {"stable": first, "canary": second}, ())


def test_a_rollback_to_the_one_before_is_one_write_and_is_undone_by_another(
    push: Push, place: BucketPlace, objects: Objects, waits: list[float]
) -> None:
    first, second = push("first"), push("second")
    waits.clear()
    assert place.roll_back(None, "too many dogs") == (second, first)
    assert waits == []
    assert config(objects) == ((first,), {"stable": first, "canary": first}, (second,))
    assert place.stock() == Stock((first,), (second,))
    entry = place.history()[-1]
    assert (entry.action, entry.before, entry.after) == ("rollback", second, first)

    assert place.roll_back(second) == (first, second)
    assert place.stock() == Stock((first, second))
    assert config(objects) == ((first, second), {"stable": first, "canary": second}, ())
    assert place.roll_back(second) == (second, second)
    assert len(place.history()) == 4


def test_a_rollback_to_an_older_one_has_it_loaded_first(
    push: Push, place: BucketPlace, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    seen: list[tuple[tuple[int, ...], dict[str, int], tuple[int, ...]]] = []
    monkeypatch.setattr(publishing, "sleep", lambda seconds: seen.append(config(objects)))
    place.roll_back(first)
    assert seen == [((first, second, third), {"stable": second, "canary": third}, ())]
    assert place.stock() == Stock((first,), (second, third))


def test_the_next_push_goes_forward_after_a_rollback_and_old_versions_go(
    push: Push, place: BucketPlace, objects: Objects
) -> None:
    numbers = [push("first"), push("second"), push("third")]
    place.roll_back(None)
    numbers += [push("fourth"), push("fifth")]
    assert numbers == sorted(set(numbers))
    assert place.stock() == Stock((numbers[1], *numbers[3:]), (numbers[2],))
    folders = {name.split("/")[0] for name in objects.list() if "/" in name}
    assert folders == set(map(str, numbers[1:]))
    assert [entry.removed for entry in place.history() if entry.removed] == [(numbers[0],)]


def test_the_served_model_is_published_once(push: Push, place: BucketPlace) -> None:
    first = push("first")
    assert push("first") == first
    assert place.stock() == Stock((first,))


def test_a_push_that_is_overtaken_takes_a_higher_number(
    push: Push, place: BucketPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = BucketPlace._upload
    numbers: list[int] = []

    def be_slow(self: BucketPlace, staged: Path, described: Manifest) -> int:
        number = upload(self, staged, described)
        if not numbers:
            numbers.append(number)
            numbers.append(publish(place, "another"))
        return number

    monkeypatch.setattr(BucketPlace, "_upload", be_slow)
    last = push("first")
    assert numbers[0] < numbers[1] < last
    assert place.stock() == Stock((numbers[1], last))


def test_a_rollback_while_a_push_waits_is_not_undone_by_it(
    push: Push, place: BucketPlace, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push("first")
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "sleep", lambda seconds: place.roll_back(first))
        with pytest.raises(RolledBack) as refused:
            push("second")
    second = refused.value.version
    assert place.stock() == Stock((first,), (second,))
    assert config(objects) == ((first,), {"stable": first, "canary": first}, (second,))
    assert place.roll_back(second) == (first, second)
    assert place.damage(second) is None


@pytest.fixture
def while_uploading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """`while_uploading(act)`: does it once, after the next upload and before the version is named."""

    def have(act: Callable[[], object]) -> None:
        upload = BucketPlace._upload

        def be_slow(self: BucketPlace, staged: Path, described: Manifest) -> int:
            number = upload(self, staged, described)
            monkeypatch.setattr(BucketPlace, "_upload", upload)
            act()
            return number

        monkeypatch.setattr(BucketPlace, "_upload", be_slow)

    return have


def folders(objects: Objects) -> set[int]:
    return {int(name.split("/")[0]) for name in objects.list() if "/" in name}


def test_a_model_that_somebody_else_pushes_meanwhile_becomes_one_version(
    push: Push,
    place: BucketPlace,
    objects: Objects,
    while_uploading: Callable[[Callable[[], object]], None],
) -> None:
    numbers: list[int] = []
    while_uploading(lambda: numbers.append(push("first")))
    assert [push("first")] == numbers
    assert place.stock() == Stock(tuple(numbers))
    assert folders(objects) == set(numbers)


def test_a_model_that_is_taken_off_meanwhile_is_not_pushed(
    push: Push,
    place: BucketPlace,
    objects: Objects,
    while_uploading: Callable[[Callable[[], object]], None],
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    while_uploading(lambda: place.roll_back(first))
    with pytest.raises(RolledBack) as refused:
        push("second")
    assert refused.value.version == second
    assert place.stock() == Stock((first,), (second, third))
    assert folders(objects) == {first, second, third}


def test_what_a_rollback_has_just_chosen_is_not_removed(
    push: Push, place: BucketPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    remove = BucketPlace._remove

    def be_slow(self: BucketPlace, stock: Stock) -> None:
        place.roll_back(first)
        remove(self, stock)

    monkeypatch.setattr(BucketPlace, "_remove", be_slow)
    fourth = push("fourth")
    assert place.stock() == Stock((first,), (second, third, fourth))
    assert place.damage(first) is None
    assert [entry.action for entry in place.history()][-1] == "rollback"


def test_what_is_being_removed_is_not_rolled_back_to(
    push: Push, address: str, place: BucketPlace, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = BucketPlace(address, Terms("catsdogs", address, keep_versions=9))
    first, *rest = (publish(many, f"model {index}") for index in range(4))
    damage = BucketPlace.damage

    def then_remove(self: BucketPlace, number: int) -> str | None:
        found = damage(self, number)
        place._remove(place.stock())  # it keeps three
        return found

    monkeypatch.setattr(BucketPlace, "damage", then_remove)
    with pytest.raises(UsageError, match=f"There is no version {first} in"):
        place.roll_back(first)
    assert place.stock() == Stock(tuple(rest))
    assert folders(objects) == set(rest)
    assert first not in config(objects)[0]


def test_numbers_that_are_none_to_a_server_are_no_versions(
    push: Push, place: BucketPlace, objects: Objects
) -> None:
    objects.write(f"{2**63}/saved_model.pb", "graph", NONE)
    objects.write("007/saved_model.pb", "graph", NONE)
    first = push("first")
    assert place.stock() == Stock((first,))
    with pytest.raises(UsageError, match=f"There is no version {2**63} in"):
        place.roll_back(2**63)
    objects.write(f"{2**63 - 1}/saved_model.pb", "graph", NONE)
    with pytest.raises(ServingError, match=f"Version {2**63 - 1} is there, the highest number"):
        push("second")


def test_pushes_at_the_same_time_lose_none(address: str, place: BucketPlace, objects: Objects) -> None:
    numbers: list[int] = []

    def run(index: int) -> None:
        own = BucketPlace(address, Terms("catsdogs", address, keep_versions=9))
        numbers.append(publish(own, f"model {index}"))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.stock() == Stock(tuple(sorted(numbers)))
    assert len(set(numbers)) == 4
    assert config(objects)[0] == tuple(sorted(numbers)[-2:])
    assert sum(entry.action == "push" for entry in place.history()) == 4


def test_what_is_not_whole_is_no_version_and_goes_after_a_day(
    push: Push, place: BucketPlace, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push("first")
    objects.write(f"{first + 500}/.incomplete", "being written\n", NONE)
    objects.write(f"{first + 500}/saved_model.pb", "half", NONE)
    assert place.stock() == Stock((first,))
    with pytest.raises(UsageError, match=f"There is no version {first + 500}"):
        place.roll_back(first + 500)

    second = push("second")
    assert second == first + 501, "a number is used once"
    assert f"{first + 500}/saved_model.pb" in objects.list()
    monkeypatch.setattr(publishing, "_OLD", timedelta(seconds=-1))
    push("third")
    assert f"{first + 500}/saved_model.pb" not in objects.list()
    assert f"{first + 500}/.incomplete" not in objects.list()


def test_missing_and_shorter_files_are_damage(push: Push, place: BucketPlace, objects: Objects) -> None:
    first = push("first")
    push("second")
    objects.delete(f"{first}/variables/variables.index")
    assert place.damage(first) == "variables/variables.index is missing"
    with pytest.raises(ServingError, match=r"is damaged \(variables/variables.index is missing\)"):
        place.roll_back(None)


def test_a_pointer_that_cannot_be_read_is_told(push: Push, place: BucketPlace, objects: Objects) -> None:
    push("first")
    objects.write("models.config", "model_config_list {", objects.read("models.config")[1])
    with pytest.raises(ServingError, match=r"models.config cannot be read \(.*\): put back what catsdogs"):
        place.stock()


@pytest.mark.parametrize("address", ["gs://", "gs://models", "gs://models/", "gs:///served"])
def test_an_address_without_a_folder_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"serving.destination is gs://.*, and gs://BUCKET/FOLDER is"):
        BucketPlace(address, Terms("catsdogs", address, 3))


def test_a_bucket_that_is_not_there_is_told() -> None:
    with pytest.raises(ServingError, match=r"gs://nobody-s/m cannot be used \(.*\): check that the bucket"):
        publish(BucketPlace("gs://nobody-s/m", Terms("catsdogs", "gs://nobody-s/m", 3)), "first")
