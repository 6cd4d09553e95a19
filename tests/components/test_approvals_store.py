from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from components import fingerprint
from components.approvals.store import Approval, ApprovalStore
from components.errors import PipelineError


@pytest.fixture
def store(tmp_path: Path) -> ApprovalStore:
    return ApprovalStore(tmp_path / "approvals" / "blessed-model")


@pytest.fixture
def subject(tmp_path: Path) -> Callable[[str], Path]:
    """`subject("A")`: a folder that holds a model of that name."""

    def make(name: str) -> Path:
        folder = tmp_path / "subjects" / name
        (folder / "variables").mkdir(parents=True, exist_ok=True)
        (folder / "variables" / "weights").write_text(name)
        return folder

    return make


def record(store: ApprovalStore, folder: Path, **properties: str) -> Approval:
    return store.record(folder, f"minio://bucket/{folder.name}", {"blessed": 1.0}, properties)


def newest(store: ApprovalStore, other_than: Path | None = None, **where: str) -> str | None:
    found = store.newest(fingerprint.of_folder(other_than) if other_than else None, where)
    return found.uri.rpartition("/")[2] if found else None


def test_an_approval_comes_back_as_it_was_given(store: ApprovalStore, subject: Callable[[str], Path]) -> None:
    given = record(store, subject("A"), source="folder /data")
    assert store.newest() == given == Approval.parse(given.text())
    assert "\n" not in given.text()
    assert given.metadata == {"blessed": 1.0}
    assert (Path(given.files) / "variables" / "weights").read_text() == "A"


def test_the_candidate_itself_does_not_count(store: ApprovalStore, subject: Callable[[str], Path]) -> None:
    record(store, subject("A"))
    record(store, subject("B"))
    assert newest(store) == "B"
    assert newest(store, subject("B")) == "A"
    assert newest(store, subject("C")) == "B"


def test_the_candidate_is_known_by_its_contents_wherever_it_lies(
    store: ApprovalStore, subject: Callable[[str], Path], tmp_path: Path
) -> None:
    record(store, subject("A"))
    moved = shutil.copytree(subject("A"), tmp_path / "elsewhere")
    assert newest(store, moved) is None


def test_back_and_forth_every_run_is_compared_with_the_one_before(
    store: ApprovalStore, subject: Callable[[str], Path]
) -> None:
    compared = []
    entries = []
    for name in "ABABA":
        compared.append(newest(store, subject(name)))
        entries.append(record(store, subject(name)).id)
    assert compared == [None, "A", "B", "A", "B"]
    assert len(set(entries)) == 5


def test_what_is_newest_already_is_not_recorded_again(
    store: ApprovalStore, subject: Callable[[str], Path]
) -> None:
    first = record(store, subject("A"))
    assert record(store, subject("A")) == first


def test_lookups_may_ask_for_properties(store: ApprovalStore, subject: Callable[[str], Path]) -> None:
    record(store, subject("A"), source="folder /data")
    record(store, subject("B"), source="sample")
    assert newest(store, source="folder /data") == "A"
    assert newest(store, source="sample") == "B"
    assert newest(store, source="tfds cats_vs_dogs") is None
    # A is the newest of its source still:
    assert record(store, subject("A"), source="folder /data").properties == {"source": "folder /data"}
    assert newest(store) == "B"


def test_the_best_one_is_another_question_than_the_newest(
    store: ApprovalStore, subject: Callable[[str], Path]
) -> None:
    record(store, subject("A"), best="yes")
    record(store, subject("B"), best="no")
    assert (newest(store), newest(store, best="yes")) == ("B", "A")
    # A is approved again: it is the best one still, and now the newest, too.
    record(store, subject("A"), best="yes")
    assert (newest(store), newest(store, best="yes")) == ("A", "A")
    assert newest(store, subject("A")) == "B"
    # And once more, no longer as the best one: that it was stays on record.
    record(store, subject("A"), best="no")
    assert (newest(store), newest(store, best="yes")) == ("A", "A")


def test_only_the_newest_of_a_source_are_kept(
    store: ApprovalStore, subject: Callable[[str], Path], tmp_path: Path
) -> None:
    record(store, subject("rare"), source="sample")
    for index in range(8):
        record(store, subject(f"{index}"), source="folder /data")
    assert newest(store, source="sample") == "rare"
    kept = list((tmp_path / "approvals" / "blessed-model").iterdir())
    assert len(kept) == 6
    assert newest(store) == "7"


def test_many_may_record_at_once(store: ApprovalStore, subject: Callable[[str], Path]) -> None:
    folders = [subject(f"{index}") for index in range(8)]
    with ThreadPoolExecutor(8) as pool:
        approvals = list(pool.map(lambda folder: record(store, folder), folders))
    assert len({approval.id for approval in approvals}) == 8
    assert newest(store) is not None


def test_what_was_cut_short_does_not_count(
    store: ApprovalStore, subject: Callable[[str], Path], tmp_path: Path
) -> None:
    given = record(store, subject("A"))
    folder = Path(given.files).parent
    shutil.copytree(folder, folder.with_name(".2999-01-01"))
    assert newest(store) == "A"


def test_a_clock_that_is_behind_gives_no_earlier_place(
    store: ApprovalStore, subject: Callable[[str], Path], tmp_path: Path
) -> None:
    """Nodes of a cluster do not agree on the time."""
    ahead = record(store, subject("A"))
    folder = tmp_path / "approvals" / "blessed-model"
    later = replace(ahead, id="2999-01-01T00-00-00.999999-0123abcd")
    (folder / ahead.id / "approval.json").write_text(later.text())
    (folder / ahead.id).rename(folder / later.id)
    for name in "BCD":
        record(store, subject(name))
        assert newest(store) == name


def test_what_killed_pods_left_goes_after_a_day(
    store: ApprovalStore, subject: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "approvals" / "blessed-model"
    for name in (".old", ".young"):
        (folder / name / "files").mkdir(parents=True)
    os.utime(folder / ".old", (time.time() - 90_000,) * 2)
    kept = record(store, subject("A")).id
    assert {path.name for path in folder.iterdir()} == {".young", kept}


def test_a_damaged_approval_is_named(store: ApprovalStore, subject: Callable[[str], Path]) -> None:
    folder = Path(record(store, subject("A")).files).parent
    for damage in ('{"id": ', json.dumps({"id": "x"})):
        (folder / "approval.json").write_text(damage)
        with pytest.raises(PipelineError, match=re.escape(str(folder))):
            store.newest()


def test_a_folder_that_cannot_be_written(
    store: ApprovalStore, subject: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "approvals").write_text("a file in the way")
    with pytest.raises(PipelineError, match=re.escape(str(tmp_path / "approvals"))):
        record(store, subject("A"))
