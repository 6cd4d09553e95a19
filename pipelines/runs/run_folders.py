"""The run folders: their run records, and the overrides of their verdicts."""

from __future__ import annotations

import difflib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.errors import InputError
from pipelines.runs import lock, run_record
from pipelines.runs.run_record import RunRecord
from pipelines.settings.tree import Settings

OVERRIDES_FILE = "overrides.jsonl"  # one override request a line, also those that had no effect


def run_ids(settings: Settings) -> list[str]:
    """Returns the ids of the runs that have a folder, newest first; ignores other folders."""
    if not settings.runs_dir.is_dir():
        return []
    folders = (folder.name for folder in settings.runs_dir.iterdir() if folder.is_dir())
    return sorted(filter(run_record.is_run_id, folders), key=_start, reverse=True)


def new_run_id(settings: Settings) -> str:
    """Returns the id of a run that starts now.

    Ids order the runs: where the clock is behind the newest run, the id is one second after that run's.
    """
    starts = [_start(run_id) + timedelta(seconds=1) for run_id in run_ids(settings)[:1]]
    return max([datetime.now(UTC), *starts]).strftime(run_record.RUN_ID_FORMAT)


def _start(run_id: str) -> datetime:
    return run_record.parse_run_id(run_id).astimezone(UTC)


def run_folder(settings: Settings, run_id: str) -> Path:
    """Returns the folder of a run.

    Raises:
        InputError: There is no run with this id; the message names the closest one.
    """
    known = run_ids(settings)
    if run_id in known:
        return settings.runs_dir / run_id
    if not known:
        raise InputError(f"There are no runs in {settings.output_root} yet: start one with catsdogs run.")
    close = difflib.get_close_matches(run_id, known, n=1, cutoff=0)
    raise InputError(
        f"There is no run {run_id!r} in {settings.output_root}. Did you mean {close[0]!r}? "
        "catsdogs runs lists all of them."
    )


def load_run_records(settings: Settings) -> list[RunRecord]:
    """Returns the records of all runs, newest first; the state of a killed run is `interrupted`."""
    lock_purpose = lock.holder_purpose(settings.output_root)
    records = [run_record.read_record(settings.runs_dir / run_id) for run_id in run_ids(settings)]
    for record in records:
        if record.state == "running" and lock_purpose != f"run {record.run_id}":
            record.state = "interrupted"
    return records


def append_override(run_dir: Path, override: dict[str, Any], new_run_id: str) -> None:
    """Appends an override request to those of a refused run.

    Args:
        run_dir: The refused run's folder.
        override: The request, as the quality gate reads it.
        new_run_id: The run that blesses and pushes the model.
    """
    with (run_dir / OVERRIDES_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({**override, "run": new_run_id}, ensure_ascii=False) + "\n")


def find_overriding_run(runs_dir: Path, run_id: str) -> str | None:
    """Returns the newest run that overrode the refusal of another run.

    Args:
        runs_dir: The folder with all run folders.
        run_id: The refused run.

    Returns:
        The run id; None if the refusal was not overridden, or no overriding run was completed.
    """
    try:
        lines = (runs_dir / run_id / OVERRIDES_FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            new_run_id = str(json.loads(line)["run"])
        except (ValueError, KeyError, TypeError):  # a partly written line
            continue
        outcome = run_record.read_record(runs_dir / new_run_id).outcome  # None if killed, removed or failed
        if outcome and outcome.overridden:
            return new_run_id
    return None
