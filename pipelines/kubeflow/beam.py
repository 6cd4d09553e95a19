"""Builds the Beam arguments of each task: threads in its own pod, or a remote runner."""

from __future__ import annotations

from math import ceil

from pipelines.settings.quantities import parse_quantity
from pipelines.settings.tree import Settings

LOCAL_RUNNER = "FnApiRunner"
INGEST_TASK = "ImageExampleGen"

_LOCAL_RUNNERS = {LOCAL_RUNNER, "DirectRunner"}


def options(settings: Settings) -> dict[str, str]:
    """Returns `kubeflow.beam_args` as name → value, without the dashes; the value of a flag is empty."""
    pairs = (argument.removeprefix("--").partition("=") for argument in settings.kubeflow.beam_args)
    return {name: value for name, _, value in pairs}


def is_remote(settings: Settings, task: str) -> bool:
    """Returns True if a task's Beam pipeline runs outside its pod.

    Images on a volume are read in the pod, because remote workers do not mount the volume.
    """
    if task == INGEST_TASK and settings.data.source != "sample":
        return False
    return options(settings).get("runner", LOCAL_RUNNER) not in _LOCAL_RUNNERS


def arguments(settings: Settings, task: str) -> list[str]:
    """Returns the Beam arguments of a task; a local runner uses `beam.workers` threads, else one per core."""
    if is_remote(settings, task):
        given = list(settings.kubeflow.beam_args)
        defaults = {"sdk_container_image": str(settings.kubeflow.images.cpu)}
    else:
        runner = options(settings).get("runner", LOCAL_RUNNER)
        given = list(settings.kubeflow.beam_args) if runner in _LOCAL_RUNNERS else []
        resources = settings.kubeflow.task(task)
        cores = parse_quantity(resources.cpu_limit or resources.cpu_request or "1")
        defaults = {
            "runner": LOCAL_RUNNER,
            "direct_running_mode": "multi_threading",
            "direct_num_workers": str(settings.beam.workers or ceil(cores)),
            "sdk_container_image": "none",  # otherwise TFX packages its own source for remote workers
        }
    named = {argument.removeprefix("--").partition("=")[0] for argument in given}
    return [*given, *(f"--{name}={value}" for name, value in defaults.items() if name not in named)]
