"""Requests to override the quality gate and bless a refused model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.errors import InputError
from components.quality_gate import verdict as verdicts
from components.quality_gate.verdict import NOT_OVERRIDABLE, VERDICT_FILE, Verdict
from pipelines.console import silence_stderr
from pipelines.disk_errors import disk_error
from pipelines.local.worker import SETTINGS_FILE
from pipelines.runs import metadata
from pipelines.runs.run_folders import append_override, run_folder
from pipelines.settings.loading import load_stored
from pipelines.settings.tree import Settings

FIRST_NODE = "PredictionTable"  # the nodes before it produce the model, and their outputs are reused


@dataclass(frozen=True)
class OverrideRequest:
    """A person's request to bless the model of a refused run.

    Attributes:
        run_id: The refused run.
        settings: The settings of that run.
        reason: Why the model should be blessed.
        by: The person who requests the override.
        first_node: The first node to run again.
    """

    run_id: str
    settings: Settings
    reason: str
    by: str
    first_node: str = FIRST_NODE

    def to_override(self) -> str:
        """Checks that the refusal can be overridden, and returns the override as JSON for the quality gate.

        The caller must have the output root's lock, so that the run does not change.

        Raises:
            InputError: There is no refusal, or it cannot be overridden.
            UnreadableStore: The metadata store is damaged.
        """
        with silence_stderr():  # reading the verdict imports TensorFlow
            store = metadata.open_store(self.settings.metadata_path)
            outputs = metadata.run_outputs(store, self.run_id) if store else {}
            refusal = _read_refusal(self.run_id, outputs.get("QualityGate.blessing"), self._remedy)
        model = refusal.model_uri
        if not Path(model).exists():
            raise InputError(f"The model of the run {self.run_id} does not exist in {model}: {self._remedy}.")
        return json.dumps(
            {
                "reason": self.reason,
                "by": self.by,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "model": model,
                "rules": [rule.name for rule in refusal.failed],
            },
            indent=2,
        )

    def append_to_run(self, override: str, new_run_id: str) -> None:
        """Appends the override to the refused run's folder.

        Args:
            override: The result of `to_override`.
            new_run_id: The run that blesses and pushes the model.

        Raises:
            PipelineError: The run's folder cannot be written.
        """
        try:
            append_override(self.settings.runs_dir / self.run_id, json.loads(override), new_run_id)
        except OSError as error:
            raise disk_error(error, self.settings.output_root) from error

    @property
    def _remedy(self) -> str:
        stored_settings = self.settings.runs_dir / self.run_id / SETTINGS_FILE
        return f"repeat the run (catsdogs run --config {stored_settings}), and bless the new run"


def create_override_request(settings: Settings, run_id: str, reason: str, by: str) -> OverrideRequest:
    """Returns a request to override the refusal of a run. Writes nothing.

    Args:
        settings: Name the output root with the run, and where Beam runs now.
        run_id: The refused run.
        reason: Why its model should be blessed.
        by: The person who requests the override.

    Raises:
        InputError: The reason is empty, there is no such run, its settings cannot be read, or its output root
            has been moved.
    """
    if not reason.strip():
        raise InputError("--reason is empty: explain in a few words why the model should be blessed.")
    stored = load_stored(run_folder(settings, run_id) / SETTINGS_FILE)
    if stored.output_root.resolve() != settings.output_root.resolve():
        raise InputError(
            f"The run {run_id} was written to {stored.output_root}, not to {settings.output_root}: move the "
            "output root back to its former path, or name that path (--set output_root=DIR)."
        )
    stored = stored.model_copy(update={"beam": settings.beam})  # the cluster of that run may be gone
    return OverrideRequest(run_id, stored, reason.strip(), by)


def _read_refusal(run_id: str, blessing: metadata.RunOutput | None, remedy: str) -> Verdict:
    """Returns the verdict of a refused run, which can be overridden.

    Raises:
        InputError: There is no verdict, it cannot be read, it is no refusal, or it cannot be overridden.
    """
    if blessing is None or not Path(blessing.artifact.uri, VERDICT_FILE).is_file():
        raise InputError(
            f"The run {run_id} has no verdict to override: it did not reach QualityGate, or metadata.sqlite "
            f"is newer than the run. In that case, {remedy}."
        )
    try:
        verdict = verdicts.read(blessing.artifact.uri)
        assert verdict is not None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"The verdict of the run {run_id} cannot be read: {remedy}.") from None
    if verdict.blessed:
        raise InputError(f"The model of the run {run_id} is blessed already: there is nothing to override.")
    final = [rule.words for rule in verdict.failed if rule.name in NOT_OVERRIDABLE]
    if final:
        raise InputError(f"The refusal of the run {run_id} cannot be overridden: {' '.join(final)}")
    return verdict
