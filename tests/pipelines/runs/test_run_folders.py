"""Ids of runs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.runs import run_folders
from pipelines.runs.run_record import RUN_ID_FORMAT, parse_run_id
from pipelines.settings.loading import load
from pipelines.settings.tree import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(overrides=[f"output_root={tmp_path}"])


def _start(settings: Settings, run_id: str = "") -> str:
    """Creates the folder of a run, and returns its id."""
    run_id = run_id or run_folders.new_run_id(settings)
    (settings.runs_dir / run_id).mkdir(parents=True)
    return run_id


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_run_id_is_the_time_in_utc(settings: Settings, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        before = datetime.now(UTC).replace(microsecond=0)
        started = parse_run_id(run_folders.new_run_id(settings))
        assert before <= started <= datetime.now(UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_runs_that_start_in_one_second_have_ids_in_their_order(settings: Settings) -> None:
    started = [_start(settings) for _ in range(5)]
    assert len(set(started)) == 5
    assert run_folders.run_ids(settings) == started[::-1]


def test_a_run_after_the_clock_was_set_back_is_the_newest(settings: Settings) -> None:
    ahead = datetime.now(UTC) + timedelta(days=400)
    newest = _start(settings, ahead.strftime(RUN_ID_FORMAT))
    started = [_start(settings), _start(settings)]
    assert run_folders.run_ids(settings) == [*started[::-1], newest]
    assert parse_run_id(started[0]) == ahead.replace(microsecond=0) + timedelta(seconds=1)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_run_after_one_with_an_id_in_local_time_is_the_newest(
    settings: Settings, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        earlier = (datetime.now() - timedelta(minutes=5)).strftime("%Y-%m-%dT%H-%M-%S")
        _start(settings, earlier)
        new = _start(settings)
        assert datetime.now(UTC) - parse_run_id(new) < timedelta(minutes=1)
        assert run_folders.run_ids(settings) == [new, earlier]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_runs_of_an_earlier_version_are_listed_in_order_and_other_folders_ignored(settings: Settings) -> None:
    for name in ("2026-01-02T00-00-00", "2026-01-01T00-00-00", "notes", "2026-01-02T00-00-00Zulu"):
        _start(settings, name)
    new = _start(settings)
    assert run_folders.run_ids(settings) == [new, "2026-01-02T00-00-00", "2026-01-01T00-00-00"]
