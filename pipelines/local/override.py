"""A person's decision to bless a model that the gate has refused: checked, and kept with the run."""

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
from pipelines.local.worker import SETTINGS
from pipelines.runs import metadata
from pipelines.runs.run_folders import record_override, run_folder
from pipelines.settings.loading import load_stored
from pipelines.settings.tree import Settings

FIRST_STEP = "PredictionTable"  # all before it made the model, and is taken from the run as it is


@dataclass(frozen=True)
class Decision:
    """What a person has decided on a run.

    Attributes:
        run_id: The run whose model was refused.
        settings: The settings of that run.
        reason: Why its model is to be blessed.
        by: Who decides.
        first_step: The first step that looks at the model again.
    """

    run_id: str
    settings: Settings
    reason: str
    by: str
    first_step: str = FIRST_STEP

    def taken(self) -> str:
        """Checks that the model can be blessed, and returns the decision as the gate takes it.

        For the holder of the output root's lock: nobody may change what is decided on.

        Raises:
            InputError: There is nothing that can be set aside.
        """
        with silence_stderr():  # reading the verdict imports TensorFlow
            store = metadata.open_store(self.settings.metadata_path)
            outputs = metadata.outputs(store, self.run_id) if store else {}
            refused = _check_refused(self.run_id, outputs.get("QualityGate.blessing"), self._again)
        model = refused.model_uri
        if not Path(model).exists():
            raise InputError(f"The model of the run {self.run_id} is gone from {model}: {self._again}.")
        return json.dumps(
            {
                "reason": self.reason,
                "by": self.by,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "model": model,
                "rules": [rule.name for rule in refused.failed],
            },
            indent=2,
        )

    def record(self, taken: str, carried_out_in: str) -> None:
        """Adds the decision to those on the run.

        Raises:
            PipelineError: The run's folder cannot be written.
        """
        try:
            record_override(self.settings.runs_dir / self.run_id, json.loads(taken), carried_out_in)
        except OSError as error:
            raise disk_error(error, self.settings.output_root) from error

    @property
    def _again(self) -> str:
        stored = self.settings.runs_dir / self.run_id / SETTINGS
        return f"run its settings again (catsdogs run --config {stored}), and bless what that gives"


def decide(settings: Settings, run_id: str, reason: str, by: str) -> Decision:
    """Reads the settings of a run for a decision on it; nothing is written.

    Args:
        settings: Where the run is.
        run_id: The run.
        reason: Why its model is to be blessed.
        by: Who decides.

    Raises:
        InputError: There is no such run, its settings cannot be read, or it was made elsewhere.
    """
    if not reason.strip():
        raise InputError("--reason is empty: say in a few words why the model is to be blessed all the same.")
    own = load_stored(run_folder(settings, run_id) / SETTINGS)
    if own.output_root.resolve() != settings.output_root.resolve():
        raise InputError(
            f"The run {run_id} was made in {own.output_root}, where its settings have all that it uses, and "
            f"not in {settings.output_root}: move the output_root back to where the run was made, or name "
            "that place (--set output_root=DIR)."
        )
    return Decision(run_id, own, reason.strip(), by)


def _check_refused(run_id: str, blessing: metadata.Output | None, again: str) -> Verdict:
    """Returns the refusal, in which there is nothing that nobody may set aside.

    Raises:
        InputError: There is none, it cannot be read, or there is such a thing in it.
    """
    if blessing is None or not Path(blessing.artifact.uri, VERDICT_FILE).is_file():
        raise InputError(
            f"The run {run_id} has no verdict that could be set aside: it did not get as far as QualityGate."
        )
    try:
        refused = verdicts.read(blessing.artifact.uri)
        assert refused is not None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"What the gate said of the run {run_id} cannot be read: {again}.") from None
    if refused.blessed:
        raise InputError(f"The model of the run {run_id} is blessed already: there is nothing to set aside.")
    final = [rule.words for rule in refused.failed if rule.name in NOT_OVERRIDABLE]
    if final:
        raise InputError(f"Nobody may set aside why the run {run_id} was refused: {' '.join(final)}")
    return refused
