"""The arguments of the Beam steps: workers in the step's own pod, or a Beam service elsewhere."""

from __future__ import annotations

from math import ceil

from pipelines.settings.quantities import parse
from pipelines.settings.tree import Settings

LOCAL_RUNNER = "FnApiRunner"
READS_PICTURES = "ImageExampleGen"

_IN_THE_POD = {LOCAL_RUNNER, "DirectRunner"}


def options(settings: Settings) -> dict[str, str]:
    """Returns `kubeflow.beam_args` by name, without the dashes; a flag's value is empty."""
    pairs = (argument.removeprefix("--").partition("=") for argument in settings.kubeflow.beam_args)
    return {name: value for name, _, value in pairs}


def is_remote(settings: Settings, step: str) -> bool:
    """Returns whether Beam's work for a step is done outside its pod.

    Pictures on a volume are read in the pod, which mounts it, and not by workers elsewhere, which do not.
    """
    if step == READS_PICTURES and settings.data.source != "sample":
        return False
    return options(settings).get("runner", LOCAL_RUNNER) not in _IN_THE_POD


def arguments(settings: Settings, step: str) -> list[str]:
    """Returns the arguments of a Beam step; its cores become threads, unless beam.workers says how many."""
    if is_remote(settings, step):
        given = list(settings.kubeflow.beam_args)
        defaults = {"sdk_container_image": str(settings.kubeflow.images.cpu)}
    else:
        runner = options(settings).get("runner", LOCAL_RUNNER)
        given = list(settings.kubeflow.beam_args) if runner in _IN_THE_POD else []
        resources = settings.kubeflow.task(step)
        cores = parse(resources.cpu_limit or resources.cpu_request or "1")
        defaults = {
            "runner": LOCAL_RUNNER,
            "direct_running_mode": "multi_threading",
            "direct_num_workers": str(settings.beam.workers or ceil(cores)),
            "sdk_container_image": "none",  # or TFX would pack its own source for remote workers
        }
    named = {argument.removeprefix("--").partition("=")[0] for argument in given}
    return [*given, *(f"--{name}={value}" for name, value in defaults.items() if name not in named)]
