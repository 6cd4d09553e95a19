"""The settings of a run: one typed, validated tree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from components.image_example_gen.config import DataConfig
from components.quality_gate.limits import GateLimits
from pipelines.settings.kubeflow import KubeflowConfig
from pipelines.settings.serving import ServingConfig, is_gcs_address
from serving.repository.storage import PushConfig
from trainer.training_config import ConfigSection, Count, TrainingConfig


class BeamConfig(ConfigSection):
    """How the Beam steps run on this machine.

    Attributes:
        workers: Threads; None means one per core.
    """

    workers: Count | None = None


class Settings(ConfigSection):
    """Everything that a run depends on.

    Attributes:
        pipeline_name: Name of the pipeline and of the served model.
        output_root: Folder of the metadata, artifacts, logs and served models.
        kubeflow: What only `catsdogs compile` takes notice of.
    """

    pipeline_name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")] = "catsdogs"
    output_root: Path = Path("output")
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: GateLimits = GateLimits()
    beam: BeamConfig = BeamConfig()
    serving: ServingConfig = ServingConfig()
    kubeflow: KubeflowConfig = KubeflowConfig()

    @property
    def metadata_path(self) -> Path:
        """The ML Metadata store, an SQLite file."""
        return self.output_root / "metadata.sqlite"

    @property
    def artifacts_dir(self) -> Path:
        """The pipeline root: what the components write."""
        return self.output_root / "artifacts"

    @property
    def checkpoints_dir(self) -> Path:
        """One sub-folder a training that is under way or was cut short."""
        return self.output_root / "checkpoints"

    @property
    def feature_cache_dir(self) -> Path:
        """What trainings have kept of the frozen part of the network: one sub-folder each."""
        return self.output_root / "feature_cache"

    @property
    def approvals_dir(self) -> Path:
        """What was approved by this pipeline's runs on Kubeflow: one sub-folder a ledger."""
        return self.output_root / "approvals" / self.pipeline_name

    @property
    def runs_dir(self) -> Path:
        """One sub-folder a run: resolved settings, logs, summary."""
        return self.output_root / "runs"

    @property
    def serving_destination(self) -> str:
        """What TensorFlow Serving watches, one sub-folder a version: a folder, or a gs:// address."""
        return self.serving.destination or str(self.output_root / "serving_model" / self.pipeline_name)

    @property
    def serving_base_path(self) -> str:
        """What TensorFlow Serving calls `serving_destination`."""
        if self.serving.base_path:
            return self.serving.base_path
        at_google = is_gcs_address(self.serving_destination)
        return self.serving_destination if at_google else f"/models/{self.pipeline_name}"

    @property
    def push_config(self) -> PushConfig:
        """How a push to `serving_destination` behaves."""
        return PushConfig(self.pipeline_name, self.serving_base_path, self.serving.keep_versions)
