"""Pushes and rolls back, in a folder and in an object store."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import threading
import time
from collections.abc import Callable

import pytest

from serving.errors import ServingError, UsageError
from serving.repository.model_repository import ModelRepository, RolledBack, open_repository
from serving.repository.storage import PushConfig
from serving.repository.versions import ModelVersions
from tests.serving.repository.conftest import StoredFiles, push_model

Push = Callable[[str], int]
NAMES = ("manifest.json", "saved_model.pb", "variables/variables.index")


def test_a_push_writes_files_manifest_config_and_history(
    push: Push, repository: ModelRepository, stored: StoredFiles
) -> None:
    number = push("first")
    assert abs(number - time.time()) < 60
    assert repository.versions() == ModelVersions((number,))
    assert stored.names() == {*(f"{number}/{name}" for name in NAMES), "models.config", "history.jsonl"}
    manifest = repository.manifest(number)
    assert manifest is not None
    assert manifest.version == number
    assert repository.damage(number) is None
    assert repository.size(number) > len("graph") + len("first")
    assert stored.labels() == {"stable": number, "canary": number}
    [entry] = repository.history()
    assert (entry.action, entry.before, entry.after) == ("push", None, number)


def test_version_numbers_increase_within_a_second_and_after_a_wrong_clock(
    push: Push, stored: StoredFiles
) -> None:
    future = int(time.time()) + 10_000
    stored.write(f"{future}/saved_model.pb", "graph")
    assert [push("second"), push("third")] == [future + 1, future + 2]


def test_the_served_model_is_pushed_again_only_if_it_is_damaged(
    push: Push, repository: ModelRepository, stored: StoredFiles
) -> None:
    first = push("first")
    assert push("first") == first
    assert repository.versions() == ModelVersions((first,))
    stored.write(f"{first}/saved_model.pb", "broken")
    again = push("first")
    assert again > first
    assert repository.damage(again) is None


def test_a_rollback_can_be_undone_by_another(
    push: Push, repository: ModelRepository, stored: StoredFiles
) -> None:
    first, second, third = push("first"), push("second"), push("third")

    assert repository.roll_back(first, "too many dogs") == (third, first)
    assert repository.versions() == ModelVersions((first,), (second, third))
    assert stored.labels() == {"stable": first, "canary": first}
    assert repository.damage(third) is None
    entry = repository.history()[-1]
    assert (entry.action, entry.before, entry.after) == ("rollback", third, first)
    assert (entry.reason, bool(entry.user)) == ("too many dogs", True)

    assert repository.roll_back(third) == (first, third)
    assert repository.versions() == ModelVersions((first, third), (second,))
    assert stored.labels() == {"stable": first, "canary": third}

    assert repository.roll_back(third) == (third, third)
    assert len(repository.history()) == 5, "a rollback without effect is not recorded"


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_rollback_to_a_damaged_version_fails(
    push: Push, repository: ModelRepository, stored: StoredFiles, name: str
) -> None:
    first, second = push("first"), push("second")
    before = stored.read("models.config")
    stored.write(f"{first}/{name}", "longer than it was")
    assert re.search(rf"{name} .*\b18\b.*\b5\b", repository.damage(first) or "")
    stored.delete(f"{first}/{name}")
    assert name in (repository.damage(first) or "")
    with pytest.raises(ServingError, match=rf"{first}.*{name}"):
        repository.roll_back(None)
    assert stored.read("models.config") == before
    assert repository.versions().served == second


def test_a_rollback_in_a_missing_repository_creates_no_files(
    repository: ModelRepository, stored: StoredFiles
) -> None:
    with pytest.raises(UsageError, match="catsdogs"):
        repository.roll_back(None)
    assert stored.names() == set()


def test_a_push_removes_old_versions_and_keeps_unknown_files(
    push: Push, repository: ModelRepository, stored: StoredFiles
) -> None:
    foreign = {"backup/saved_model.pb", "notes.txt", "007/saved_model.pb", f"{2**63}/saved_model.pb"}
    for name in foreign:
        stored.write(name, "mine")
    numbers = [push(f"model {index}") for index in range(5)]
    assert repository.versions() == ModelVersions(tuple(numbers[-3:]))
    versions = {f"{number}/{name}" for number in numbers[-3:] for name in NAMES}
    assert stored.names() == {*foreign, *versions, "models.config", "history.jsonl"}
    removed = [entry.removed for entry in repository.history() if entry.action == "remove"]
    assert removed == [(numbers[0],), (numbers[1],)]


def test_the_newest_rolled_back_version_is_never_removed(push: Push, repository: ModelRepository) -> None:
    live = [push(f"model {index}") for index in range(3)]
    rolled_back = push("rolled back")
    assert repository.roll_back(None) == (rolled_back, live[-1])
    live += [push("fourth"), push("fifth")]
    assert repository.versions() == ModelVersions(tuple(live[-3:]), (rolled_back,))
    with pytest.raises(RolledBack):
        push("rolled back")


def test_a_rolled_back_model_is_not_pushed_again_while_it_is_stored(
    push: Push, repository: ModelRepository
) -> None:
    first, second = push("first"), push("second")
    repository.roll_back(None)
    with pytest.raises(RolledBack) as refused:
        push("second")
    assert refused.value.version == second
    assert repository.versions() == ModelVersions((first,), (second,))
    assert push("first") == first


def test_a_push_fails_if_the_highest_possible_number_is_in_use(push: Push, stored: StoredFiles) -> None:
    stored.write(f"{2**63 - 1}/saved_model.pb", "graph")
    with pytest.raises(ServingError, match=str(2**63 - 1)):
        push("second")
    assert stored.names() == {f"{2**63 - 1}/saved_model.pb"}


def test_an_unreadable_manifest_counts_as_damage_and_does_not_block_a_push(
    push: Push, repository: ModelRepository, stored: StoredFiles
) -> None:
    first = push("first")
    stored.write(f"{first}/manifest.json", "{")
    assert "manifest.json" in (repository.damage(first) or "")
    assert push("first") > first


def test_concurrent_pushes_and_rollbacks_keep_every_version_intact(address: str, stored: StoredFiles) -> None:
    repository = open_repository(address, PushConfig("catsdogs", "/models/catsdogs", keep_versions=9))
    numbers = [push_model(repository, "a"), push_model(repository, "b")]

    def run(index: int) -> None:
        # There may be no earlier version, or the pushed one is rolled back immediately.
        with contextlib.suppress(UsageError, RolledBack):
            if index % 3:
                numbers.append(push_model(repository, f"model {index}"))
            else:
                repository.roll_back(None)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(numbers)) == len(numbers) > 2
    versions = repository.versions()
    assert stored.labels() == {"stable": versions.stable, "canary": versions.served}
    assert [repository.damage(number) for number in versions.known] == [None] * len(versions.known)
    pushed = [entry.after for entry in repository.history() if entry.action == "push"]
    assert sorted(number for number in pushed if number) == sorted(numbers)
    if not address.startswith("gs://"):  # a folder has a lock, so changes are sequential
        entries = [entry for entry in repository.history() if entry.action != "remove"]
        assert all(one.after == other.before for one, other in itertools.pairwise(entries))


OLD_MANIFEST = {
    "code_fingerprints": {"trainer": "c0de"},
    "data_fingerprint": "da7a",
    "metrics": {"accuracy": 0.98, "auc": 1, "examples": 1203.0, "loss": 0.06},
    "model_name": "catsdogs",
    "pushed_at": "2026-11-22T11:56:47+00:00",
    "run_id": "2026-11-22T09-31-12",
    "signatures": ["class_activation", "serving_default", "serving_examples"],
    "tensorflow_version": "2.21.0",
}
OLD_CONFIG = """\
# Written by catsdogs after every push and every rollback; what is changed here is overwritten.
# withdrawn: 1795348609
model_config_list {
  config {
    name: "catsdogs"
    base_path: "/models/catsdogs"
    model_platform: "tensorflow"
    model_version_policy {
      %s
    }
    version_labels {
      key: "canary"
      value: 1795348607
    }
    version_labels {
      key: "stable"
      value: 1795348607
    }
  }
}
"""
OLD_HISTORY = """\
{"action": "push", "before": 1795348605, "after": 1795348607, "removed": [], "model": "ab", "reason": null, \
"time": "2026-11-22T11:56:47+00:00", "user": "ada"}
{"action": "remove", "before": 1795348607, "after": 1795348607, "removed": [1795348603], "model": null, \
"reason": null, "time": "2026-11-22T11:56:47+00:00", "user": "ada"}
{"action": "rollback", "before": 1795348609, "after": 1795348607, "removed": [], "model": null, \
"reason": "foxes", "time": "2026-11-22T11:59:00+00:00", "user": "ada"}
"""


@pytest.mark.parametrize(
    "line",
    [
        '{"action": "ro',
        "nonsense",
        "{}",
        "[]",
        "null",
        '{"action": "push"}',
        '{"action": "push", "before": null, "after": "new"}',
        '{"action": "remove", "before": 1, "after": 1, "removed": 7}',
        "[" * 100_000,
    ],
)
@pytest.mark.parametrize("is_last", [False, True])
def test_a_malformed_history_line_does_not_affect_the_others(
    push: Push,
    repository: ModelRepository,
    stored: StoredFiles,
    caplog: pytest.LogCaptureFixture,
    line: str,
    is_last: bool,
) -> None:
    push("first")
    history = stored.read("history.jsonl")
    stored.write("history.jsonl", history + line + ("" if is_last else "\n"))
    assert [entry.action for entry in repository.history()] == ["push"]
    warning = (f"{repository.address}/history.jsonl", "2")
    assert [record.args for record in caplog.records] == ([] if is_last else [warning])
    push("second")
    assert [entry.action for entry in repository.history()] == ["push", "push"]


def write_old_version(stored: StoredFiles, folder: str, contents: str) -> None:
    files = {"saved_model.pb": "graph", "variables/variables.index": contents}
    checksums = {
        name: {"sha256": hashlib.sha256(text.encode()).hexdigest(), "size": len(text)}
        for name, text in files.items()
    }
    number = int(folder.removeprefix("withdrawn-"))
    manifest = {**OLD_MANIFEST, "files": checksums, "version": number}
    for name, text in {**files, "manifest.json": json.dumps(manifest)}.items():
        stored.write(f"{folder}/{name}", text)


def test_a_repository_of_an_earlier_release_can_be_read_rolled_back_and_pushed_to(
    push: Push, repository: ModelRepository, stored: StoredFiles, address: str
) -> None:
    oldest, older, served, rolled_back = 1600000000, 1795348605, 1795348607, 1795348609
    in_bucket = address.startswith("gs://")
    stored.write(f"{oldest}/saved_model.pb", "graph")  # written before manifests existed
    stored.write(f"{oldest}/variables/variables.index", "oldest")
    write_old_version(stored, str(older), "older")
    write_old_version(stored, str(served), "served")
    write_old_version(stored, str(rolled_back) if in_bucket else f"withdrawn-{rolled_back}", "rolled back")
    policy = f"specific {{ versions: {served} }}" if in_bucket else "latest { num_versions: 3 }"
    stored.write("models.config", OLD_CONFIG % policy)
    stored.write("history.jsonl", OLD_HISTORY)

    assert repository.versions() == ModelVersions((oldest, older, served), (rolled_back,))
    assert [repository.damage(number) for number in (oldest, older, served, rolled_back)] == [None] * 4
    assert repository.manifest(oldest) is None
    manifest = repository.manifest(rolled_back)
    assert manifest is not None
    assert (manifest.version, manifest.metrics["accuracy"]) == (rolled_back, 0.98)
    assert [entry.action for entry in repository.history()] == ["push", "remove", "rollback"]

    assert push("served") == served
    with pytest.raises(RolledBack):
        push("rolled back")
    assert repository.roll_back(oldest) == (served, oldest)
    if not in_bucket:  # a bucket has no checksums without a manifest
        assert push("oldest") == oldest
    assert repository.roll_back(rolled_back) == (oldest, rolled_back)
    assert stored.labels() == {"stable": oldest, "canary": rolled_back}
    assert repository.roll_back(served) == (rolled_back, served)
    new = push("new")
    assert new > rolled_back
    assert repository.versions() == ModelVersions((oldest, served, new), (rolled_back,))
    assert [entry.action for entry in repository.history()][3:] == [*["rollback"] * 3, "push", "remove"]
