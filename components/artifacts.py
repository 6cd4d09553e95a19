"""The artifact types that TFX does not provide.

Kubeflow Pipelines accepts a custom artifact type only if its name has a dot. The part after the dot is the
name of the class, which a task on Kubeflow imports.
"""

from tfx.types.artifact import Artifact


class RejectedImages(Artifact):
    """The images that ingest rejected: `rejected.csv` (file, reason, detail) and `counts.json`."""

    TYPE_NAME = "catsdogs.RejectedImages"


class DataVerdict(Artifact):
    """The verdict on accepted data: `verdict.json`."""

    TYPE_NAME = "catsdogs.DataVerdict"


class EvaluationReportFiles(Artifact):
    """The report of a run: `report.html`, `model_card.md`, and all values of both in `report.json`."""

    TYPE_NAME = "catsdogs.EvaluationReportFiles"
