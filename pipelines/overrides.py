"""The decisions against a run's verdict: kept in its folder, one a line, whatever becomes of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "overrides.jsonl"


def record(run_dir: Path, decision: dict[str, Any], carried_out_in: str) -> None:
    """Adds a decision to those on a run.

    Args:
        run_dir: The run's folder.
        decision: As the gate takes it.
        carried_out_in: The run that is started for it.
    """
    with (run_dir / NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps({**decision, "run": carried_out_in}, ensure_ascii=False) + "\n")


def lifted_in(runs_dir: Path, run_id: str) -> str | None:
    """Returns the newest run in which the refusal of another one was overridden.

    Args:
        runs_dir: Where the runs' folders are.
        run_id: The refused run.

    Returns:
        None where nobody decided so, or no such decision was carried out to its end.
    """
    try:
        lines = (runs_dir / run_id / NAME).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            run = str(json.loads(line)["run"])
            summary = json.loads((runs_dir / run / "summary.json").read_text(encoding="utf-8"))
            if summary["outcome"]["overridden"]:
                return run
        except (OSError, ValueError, KeyError, TypeError):  # killed, cleaned away, or failed
            continue
    return None
