"""All settings of a run as one typed, validated tree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from components.image_example_gen.config import DataConfig
from components.quality_gate.limits import GateLimits
from pipelines.settings.beam import BeamConfig
from pipelines.settings.kubeflow import KubeflowConfig
from pipelines.settings.serving import ServingConfig, is_gcs_address
from serving.repository.storage import PushConfig
from trainer.training_config import ConfigSection, TrainingConfig


class Settings(ConfigSection):
    """Everything that a run depends on.

    Attributes:
        pipeline_name: Name of the pipeline and of the served model.
        output_root: Folder for metadata, artifacts, logs and served models.
        kubeflow: Settings that only `catsdogs compile` uses.
    """

    pipeline_name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")] = "catsdogs"
    output_root: Path = Path("output")
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: GateLimits = GateLimits()
    beam: BeamConfig = BeamConfig()
    serving: ServingConfig = ServingConfig()
    kubeflow: KubeflowConfig = KubeflowConfig()

    @model_validator(mode="after")
    def _check_max_pixels(self) -> Settings:
        if self.data.max_pixels > self.serving.max_pixels:
            raise ValueError(
                f"data.max_pixels is {self.data.max_pixels} and serving.max_pixels is "
                f"{self.serving.max_pixels}: the model would reject images of its own test split, so "
                "data.max_pixels must be at most serving.max_pixels"
            )
        return self

    @property
    def mark_file(self) -> Path:
        """The file with which a run marks the output root as one of catsdogs."""
        return self.output_root / ".catsdogs"

    @property
    def metadata_path(self) -> Path:
        """The SQLite file of the ML Metadata store."""
        return self.output_root / "metadata.sqlite"

    @property
    def artifacts_dir(self) -> Path:
        """The pipeline root, where components write their artifacts."""
        return self.output_root / "artifacts"

    @property
    def checkpoints_dir(self) -> Path:
        """Checkpoints: one sub-folder for each unfinished training."""
        return self.output_root / "checkpoints"

    @property
    def feature_cache_dir(self) -> Path:
        """Feature caches: one sub-folder for each training."""
        return self.output_root / "feature_cache"

    @property
    def approvals_dir(self) -> Path:
        """Approvals of this pipeline's runs on Kubeflow: one sub-folder for each approval store."""
        return self.output_root / "approvals" / self.pipeline_name

    @property
    def runs_dir(self) -> Path:
        """One sub-folder for each run: resolved settings, logs, run record."""
        return self.output_root / "runs"

    @property
    def serving_destination(self) -> str:
        """The model repository, a folder or a gs:// address, with one sub-folder for each version."""
        return self.serving.destination or str(self.output_root / "serving_model" / self.pipeline_name)

    @property
    def serving_base_path(self) -> str:
        """Path of `serving_destination` as TensorFlow Serving sees it."""
        if self.serving.base_path:
            return self.serving.base_path
        if is_gcs_address(self.serving_destination):
            return self.serving_destination
        return f"/models/{self.pipeline_name}"

    @property
    def push_config(self) -> PushConfig:
        """How a push to `serving_destination` behaves."""
        return PushConfig(self.pipeline_name, self.serving_base_path, self.serving.keep_versions)
