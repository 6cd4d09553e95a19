"""Checks that valid settings can also run on Kubeflow, before anything reaches the cluster."""

from __future__ import annotations

from pathlib import Path

from components.errors import InputError
from components.image_example_gen.sources import check_source
from pipelines.settings.beam import BeamConfig
from pipelines.settings.serving import is_gcs_address
from pipelines.settings.tree import Settings
from trainer.training_config import NAMED_WEIGHTS

# A Kubernetes name has at most 63 characters; KFP names a run after the pipeline, plus a hyphen and five.
_LONGEST_NAME = 57


def check_output(output: Path) -> None:
    """Checks the path of the output file.

    Raises:
        InputError: It does not end in .yaml or .yml, or its folder does not exist.
    """
    if output.suffix not in {".yaml", ".yml"}:
        raise InputError(
            f"The output file is {output}, but Kubeflow Pipelines accepts only YAML: it must end with "
            ".yaml or .yml."
        )
    if not output.parent.is_dir():
        raise InputError(f"{output} cannot be written: the folder {output.parent} does not exist.")
    if output.is_dir():
        raise InputError(f"{output} cannot be written: it is a folder.")


def check_settings(settings: Settings) -> None:
    """Checks the settings without a cluster.

    Raises:
        InputError: A run on Kubeflow would fail with these settings.
    """
    _check_name(settings.pipeline_name)
    _check_images(settings)
    _check_root(settings)
    _check_volumes(settings)
    _check_weights(settings.training.weights)
    _check_beam(settings.beam)


def _check_name(name: str) -> None:
    if len(name) > _LONGEST_NAME:
        raise InputError(
            f"The pipeline_name {name!r} has {len(name)} characters, but on Kubeflow it must have at most "
            f"{_LONGEST_NAME}, because Kubernetes limits the names of runs to 63: choose a shorter one."
        )


def _check_images(settings: Settings) -> None:
    for kind in ("cpu", "gpu"):
        if getattr(settings.kubeflow.images, kind) is None:
            raise InputError(
                f"The setting kubeflow.images.{kind} is missing: `make image` builds the image; push it and "
                "set this to its digest, REGISTRY/NAME@sha256:…."
            )


def _check_root(settings: Settings) -> None:
    root, store = settings.kubeflow.pipeline_root, settings.kubeflow.artifact_store
    if root is None:
        raise InputError(
            "The setting kubeflow.pipeline_root is missing: it must be minio://BUCKET/FOLDER, "
            "s3://BUCKET/FOLDER or gs://BUCKET/FOLDER."
        )
    if store.endpoint is not None and root.startswith("gs://"):
        raise InputError(
            f"The setting kubeflow.artifact_store.endpoint is {store.endpoint!r}, but kubeflow.pipeline_root "
            f"is {root}, which takes no endpoint: remove the endpoint, or use s3:// or minio://."
        )


def _check_volumes(settings: Settings) -> None:
    data = settings.data
    paths: dict[str, Path | None] = {"output_root": settings.output_root}
    if data.source == "folder":
        paths["data.folder"] = data.folder
    elif data.source == "tfds":
        paths["data.tfds.data_dir"] = data.tfds.data_dir
    else:
        check_source(data.source_spec, data.class_names)
    destination = settings.serving_destination
    if not is_gcs_address(destination):
        paths["serving.destination"] = Path(destination)
    mounted = ", ".join(volume.mount_path for volume in settings.kubeflow.volumes) or "none"
    for setting, path in paths.items():
        if path is None or not settings.kubeflow.on_volume(path):
            alternative = ", or a gs:// address" if setting == "serving.destination" else ""
            raise InputError(
                f"The setting {setting} is {path}, which is on no volume and would be lost with the pod: "
                f"choose a folder below a mount_path of kubeflow.volumes ({mounted}){alternative}."
            )


def _check_weights(weights: str) -> None:
    if weights not in NAMED_WEIGHTS:
        raise InputError(
            f"The setting training.weights is {weights}, a local file that is not in the container image: on "
            f"Kubeflow it must be {', '.join(NAMED_WEIGHTS[:-1])} or {NAMED_WEIGHTS[-1]}."
        )


def _check_beam(beam: BeamConfig) -> None:
    if beam.runner == "local":
        return
    for setting in ("master", "job_endpoint"):
        if getattr(beam.flink, setting) is None:
            raise InputError(
                f"The setting beam.runner is flink, but beam.flink.{setting} is missing: set it to HOST:PORT "
                f"of the cluster's {'JobManager' if setting == 'master' else 'job server'}."
            )
    if beam.flink.environment != "external":
        raise InputError(
            f"The setting beam.flink.environment is {beam.flink.environment}, but the TaskManagers cannot "
            "reach Beam workers in the pod of a task: set it to external."
        )
