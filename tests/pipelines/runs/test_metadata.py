"""Damaged and interrupted metadata stores; runs that tests make elsewhere cover reading whole ones."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_metadata
import pytest
from ml_metadata.proto import metadata_store_pb2

from pipelines.runs import metadata
from pipelines.runs.run_record import StepState
from tests.pipelines.stores import PastRuns, damage

RUN = "2026-11-20T05-10-01"

# Ends in the middle of a transaction whose changes are partly in the file already, as kill -9 does.
_INTERRUPTED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
for number in range(1000, 3000):
    connection.execute("INSERT INTO Context (id, type_id, name) VALUES (?, 1, ?)", (number, str(number) * 20))
os._exit(0)
"""


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """The path of a store with one run."""
    PastRuns(tmp_path).run(RUN, "Model")
    return tmp_path / "metadata.sqlite"


def _names(path: Path, writable: bool) -> list[str]:
    store = metadata.open_store(path, writable)
    assert store is not None
    return [run.name for run in metadata.run_contexts(store)]


@pytest.mark.parametrize("writable", [False, True])
def test_a_whole_store_is_opened(store_path: Path, writable: bool) -> None:
    metadata.prepare_store(store_path, store_path.parent / "artifacts")
    assert _names(store_path, writable) == [RUN]


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("how", ["garbage", "truncated", "empty"])
def test_a_damaged_store_is_refused_and_not_changed(store_path: Path, how: str, writable: bool) -> None:
    damage(store_path, how)
    content = store_path.read_bytes()
    with pytest.raises(metadata.UnreadableStore) as caught:
        metadata.open_store(store_path, writable)
    assert f"mv {store_path} {store_path}.damaged" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(metadata.UnreadableStore):
        metadata.prepare_store(store_path, store_path.parent / "artifacts")
    assert store_path.read_bytes() == content


def test_a_damaged_page_is_found(store_path: Path) -> None:
    with store_path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(os.urandom(4096))
    with pytest.raises(metadata.UnreadableStore, match=r"\.damaged"):
        metadata.open_store(store_path)


@pytest.mark.parametrize("writable", [False, True])
def test_a_transaction_of_a_killed_process_is_undone(store_path: Path, writable: bool) -> None:
    subprocess.run([sys.executable, "-c", _INTERRUPTED, store_path], check=True)
    assert store_path.with_name("metadata.sqlite-journal").exists()
    assert _names(store_path, writable) == [RUN]


def test_a_store_without_earlier_artifacts_is_left_to_the_pipeline(tmp_path: Path) -> None:
    metadata.prepare_store(tmp_path / "metadata.sqlite", tmp_path / "artifacts")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_new_store_leaves_the_artifacts_of_an_earlier_one_as_they_are(tiny: Any) -> None:
    settings = tiny().settings
    before = {path: path.read_bytes() for path in settings.artifacts_dir.rglob("*") if path.is_file()}
    settings.metadata_path.rename(settings.output_root / "metadata.sqlite.damaged")
    metadata.prepare_store(settings.metadata_path, settings.artifacts_dir)
    assert set(tiny().states.values()) == {StepState.DONE}
    assert {path: path.read_bytes() for path in before} == before
    numbers = {int(path.name) for path in settings.artifacts_dir.glob("*/*/*") if path.name.isdecimal()}
    assert len(numbers) == 2 * len(tiny.last.states), "each execution has folders of its own"


def test_the_newest_run_comes_first_also_after_the_clock_was_set_back(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    store = ml_metadata.MetadataStore(config)
    run_type = store.put_context_type(metadata_store_pb2.ContextType(name="pipeline_run"))
    names = ["2026-11-22T05-10-01Z", "2026-11-22T05-10-02Z", "2026-11-22T05-10-03Z"]
    for name in names:
        store.put_contexts([metadata_store_pb2.Context(type_id=run_type, name=name)])
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE Context SET create_time_since_epoch = 1000 * (10 - id)")
    reopened = metadata.open_store(path)
    assert reopened is not None
    assert [run.name for run in metadata.run_contexts(reopened)] == names[::-1]


def test_a_store_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    path.mkdir()
    with pytest.raises(metadata.UnreadableStore, match=str(path)):
        metadata.open_store(path)
    with pytest.raises(metadata.UnreadableStore, match=str(path)):
        metadata.prepare_store(path, tmp_path / "artifacts")


def test_an_empty_file_from_a_killed_first_run_is_left_to_ml_metadata(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    path.touch()
    metadata.prepare_store(path, tmp_path / "artifacts")
