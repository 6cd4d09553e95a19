"""The artifact types that TFX does not have.

Their names have a dot because Kubeflow Pipelines takes no others from outside TFX; after it stands that of
the class, by which a step on Kubeflow imports it.
"""

from tfx.types.artifact import Artifact


class RejectedImages(Artifact):
    """What ingest set aside: `rejected.csv` (file, reason, detail) and `counts.json`."""

    TYPE_NAME = "catsdogs.RejectedImages"


class DataVerdict(Artifact):
    """That the data were accepted, and on which grounds."""

    TYPE_NAME = "catsdogs.DataVerdict"


class EvaluationReportFiles(Artifact):
    """What a run says of itself: `report.html`, `model_card.md`, and all figures of both in `report.json`."""

    TYPE_NAME = "catsdogs.EvaluationReportFiles"
