"""Finds the reports of runs and copies them into the run folders."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from components.errors import InputError, PipelineError
from pipelines.runs.run_folders import run_folder, run_ids
from pipelines.settings.tree import Settings

REPORT, CARD, REPORT_JSON = "report.html", "model_card.md", "report.json"


def copy(report_dir: str, run_dir: Path) -> Path:
    """Copies the report and the model card of a run into its folder, each atomically.

    Args:
        report_dir: Folder of the report artifact.
        run_dir: Folder of the run.

    Returns:
        Path of the copied report; path of the original if copying fails.
    """
    with contextlib.suppress(OSError):
        for name in (CARD, REPORT):
            temporary_path = run_dir / f"{name}.part"
            shutil.copyfile(Path(report_dir, name), temporary_path)
            temporary_path.rename(run_dir / name)
        return run_dir / REPORT
    return Path(report_dir, REPORT)


def find_report(settings: Settings, run_id: str | None) -> Path:
    """Returns the report of a run; by default, of the newest run that has one.

    Copies the report into the run folder if the run ended before it was copied.

    Raises:
        InputError: The run does not exist or has no report.
        UnreadableStore: The run ended before its report was copied, and the metadata store is damaged.
    """
    if run_id is None:
        error: PipelineError = InputError(
            f"No run in {settings.output_root} has a report: run `catsdogs run` until it completes "
            "EvaluationReport."
        )
        for newest in run_ids(settings):
            try:
                report = _find(settings, newest)
            except PipelineError as unreadable_store:  # an earlier run may have a copy of its report
                error = unreadable_store
            else:
                if report:
                    return report
        raise error
    report = _find(settings, run_folder(settings, run_id).name)
    if report is None:
        raise InputError(
            f"Run {run_id} has no report because it did not complete EvaluationReport. See "
            f"{settings.runs_dir / run_id / 'run.json'} for how the run ended."
        )
    return report


def _find(settings: Settings, run_id: str) -> Path | None:
    copied = settings.runs_dir / run_id / REPORT
    if copied.is_file():
        return copied
    from pipelines.runs import metadata  # slow to import, and most reports are found without it

    store = metadata.open_store(settings.metadata_path)
    output = metadata.run_outputs(store, run_id).get("EvaluationReport.report") if store else None
    if output is None or not Path(output.artifact.uri, REPORT).is_file():
        return None
    return copy(output.artifact.uri, settings.runs_dir / run_id)
