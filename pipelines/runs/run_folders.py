"""The folders of past runs: their records, and the decisions against their verdicts."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from components.errors import InputError
from pipelines.runs import lock, run_record
from pipelines.runs.run_record import RunRecord
from pipelines.settings.tree import Settings

OVERRIDES = "overrides.jsonl"  # one decision a line, whatever becomes of it


def run_ids(settings: Settings) -> list[str]:
    """Returns the names of the runs that have a folder, the newest first; other folders are left out."""
    if not settings.runs_dir.is_dir():
        return []
    folders = (folder.name for folder in settings.runs_dir.iterdir() if folder.is_dir())
    return sorted(filter(run_record.is_run_id, folders), reverse=True)


def run_folder(settings: Settings, run_id: str) -> Path:
    """Returns the folder of a run.

    Raises:
        InputError: There is none of this name.
    """
    known = run_ids(settings)
    if run_id in known:
        return settings.runs_dir / run_id
    if not known:
        raise InputError(f"There are no runs in {settings.output_root} yet: catsdogs run makes the first.")
    close = difflib.get_close_matches(run_id, known, n=1, cutoff=0)
    raise InputError(
        f"There is no run {run_id!r} in {settings.output_root}. Did you mean {close[0]!r}? "
        "catsdogs runs lists all of them."
    )


def past(settings: Settings) -> list[RunRecord]:
    """Returns the records of all runs, newest first; one that was killed is `interrupted`."""
    at_work = lock.holder(settings.output_root)
    records = [run_record.read(settings.runs_dir / run_id) for run_id in run_ids(settings)]
    for record in records:
        if record.state == "running" and at_work != f"run {record.run_id}":
            record.state = "interrupted"
    return records


def record_override(run_dir: Path, decision: dict[str, Any], carried_out_in: str) -> None:
    """Adds a decision to those on a run.

    Args:
        run_dir: The run's folder.
        decision: As the gate takes it.
        carried_out_in: The run that is started for it.
    """
    with (run_dir / OVERRIDES).open("a", encoding="utf-8") as file:
        file.write(json.dumps({**decision, "run": carried_out_in}, ensure_ascii=False) + "\n")


def overridden_in(runs_dir: Path, run_id: str) -> str | None:
    """Returns the newest run in which the refusal of another one was overridden.

    Args:
        runs_dir: Where the runs' folders are.
        run_id: The refused run.

    Returns:
        None where nobody decided so, or no such decision was carried out to its end.
    """
    try:
        lines = (runs_dir / run_id / OVERRIDES).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            later = str(json.loads(line)["run"])
        except (ValueError, KeyError, TypeError):  # half written
            continue
        outcome = run_record.read(runs_dir / later).outcome  # none where it was killed, cleaned or failed
        if outcome and outcome.overridden:
            return later
    return None
