"""The reports of runs: copied into the runs' folders, and found again there or where they were made."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from components.errors import InputError
from pipelines.runs.run_folders import run_folder, run_ids
from pipelines.settings.tree import Settings

REPORT, CARD, FIGURES = "report.html", "model_card.md", "report.json"


def copy(made: str, run_dir: Path) -> Path:
    """Copies a run's report and model card into its folder, each whole or not at all.

    Args:
        made: Folder of the step that made them.
        run_dir: The run's folder.

    Returns:
        Where the report is: where it was made, if there is no room for a copy.
    """
    with contextlib.suppress(OSError):
        for name in (CARD, REPORT):
            beside = run_dir / f"{name}.part"
            shutil.copyfile(Path(made, name), beside)
            beside.rename(run_dir / name)
        return run_dir / REPORT
    return Path(made, REPORT)


def of_run(settings: Settings, run_id: str | None) -> Path:
    """Returns the report of a run, of the newest one that has got one where none is named.

    A run that failed or was killed after the report was made has not copied it: this does.

    Raises:
        InputError: There is no such run, or no report of it.
    """
    if run_id is None:
        for newest in run_ids(settings):
            report = _find(settings, newest)
            if report:
                return report
        raise InputError(
            f"No run in {settings.output_root} has a report yet: catsdogs run makes one, once it gets as far "
            "as EvaluationReport."
        )
    report = _find(settings, run_folder(settings, run_id).name)
    if report is None:
        raise InputError(
            f"The run {run_id} has no report: it did not get as far as EvaluationReport, and "
            f"{settings.runs_dir / run_id / 'run.json'} states how it ended."
        )
    return report


def _find(settings: Settings, run_id: str) -> Path | None:
    copied = settings.runs_dir / run_id / REPORT
    if copied.is_file():
        return copied
    from pipelines.runs import metadata  # not above: most reports are found without ML Metadata

    store = metadata.open_store(settings.metadata_path)
    made = metadata.run_outputs(store, run_id).get("EvaluationReport.report") if store else None
    if made is None or not Path(made.artifact.uri, REPORT).is_file():
        return None
    return copy(made.artifact.uri, settings.runs_dir / run_id)
