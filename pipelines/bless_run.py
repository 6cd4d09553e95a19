"""A person's decision to bless a model that the gate has refused: checked, and kept with the run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from components.errors import InputError
from components.quality_gate.verdict import NEVER_LIFTED, VERDICT_FILE, Verdict
from pipelines import runs
from pipelines.local import lock
from pipelines.local.failure import disk_error
from pipelines.local.worker import OVERRIDE, SETTINGS
from pipelines.reports import run_folder
from pipelines.settings import Settings


def decide(settings: Settings, run_id: str, reason: str, by: str) -> str:
    """Checks that a run's model can be blessed, and notes the decision in `override.json` of its folder.

    Args:
        settings: Where the run is.
        run_id: The run.
        reason: Why its model is to be blessed.
        by: Who decides.

    Returns:
        The decision, as the gate takes it.

    Raises:
        InputError: There is no such run, or nothing that can be set aside.
        PipelineError: Another run is at work, or the folder cannot be written.
    """
    if not reason.strip():
        raise InputError("--reason is empty: say in a few words why the model is to be blessed all the same.")
    folder = run_folder(settings, run_id)
    with lock.hold(settings.output_root, f"bless {run_id}"):
        store = runs.open_store(settings.metadata_path)
        outputs = runs.outputs(store, run_id) if store else {}
        check_refused(run_id, outputs.get("QualityGate.blessing"))
        model = outputs["Trainer.model"].artifact.uri
        if not Path(model).exists():
            raise InputError(
                f"The model of the run {run_id} is gone from {model}: run its settings again "
                f"(catsdogs run --config {folder / SETTINGS}), and bless what that gives."
            )
        at = datetime.now(UTC).isoformat(timespec="seconds")
        decision = json.dumps({"reason": reason.strip(), "by": by, "at": at, "model": model}, indent=2) + "\n"
        beside = folder / f"{OVERRIDE}.part"
        try:
            beside.write_text(decision, encoding="utf-8")
            beside.rename(folder / OVERRIDE)
        except OSError as error:
            raise disk_error(error, settings.output_root) from error
    return decision


def check_refused(run_id: str, blessing: runs.Output | None) -> None:
    """Checks that there is a refusal, and that nothing is in it that nobody may set aside.

    Raises:
        InputError: There is not, or there is.
    """
    file = Path(blessing.artifact.uri, VERDICT_FILE) if blessing else None
    if file is None or not file.is_file():
        raise InputError(
            f"The run {run_id} has no verdict that could be set aside: it did not get as far as QualityGate."
        )
    verdict = Verdict.from_dict(json.loads(file.read_text(encoding="utf-8")))
    if verdict.blessed:
        raise InputError(f"The model of the run {run_id} is blessed already: there is nothing to set aside.")
    final = [rule.words for rule in verdict.failed if rule.name in NEVER_LIFTED]
    if final:
        raise InputError(f"Nobody may set aside why the run {run_id} was refused: {' '.join(final)}")
