"""The arguments of the Beam steps: workers in the step's own pod, or a Beam service elsewhere."""

from __future__ import annotations

from math import ceil

from pipelines.kubeflow.quantities import parse
from pipelines.kubeflow.settings import StepSettings
from pipelines.settings import Settings

LOCAL_RUNNER = "FnApiRunner"


def options(settings: Settings) -> dict[str, str]:
    """Returns `kubeflow.beam_args` by name, without the dashes; a flag's value is empty."""
    pairs = (argument.removeprefix("--").partition("=") for argument in settings.kubeflow.beam_args)
    return {name: value for name, _, value in pairs}


def is_remote(settings: Settings) -> bool:
    """Returns whether Beam's work is done outside the step's pod."""
    return options(settings).get("runner", LOCAL_RUNNER) not in {LOCAL_RUNNER, "DirectRunner"}


def arguments(settings: Settings, step: StepSettings) -> list[str]:
    """Returns the arguments of a Beam step.

    Args:
        settings: All settings.
        step: What this step gets; its cores become threads, unless beam.workers says how many.
    """
    given = options(settings)
    if is_remote(settings):
        defaults = {"sdk_container_image": str(settings.kubeflow.images.cpu)}
    else:
        cores = parse(step.cpu_limit or step.cpu_request or "1")
        defaults = {
            "runner": LOCAL_RUNNER,
            "direct_running_mode": "multi_threading",
            "direct_num_workers": str(settings.beam.workers or ceil(cores)),
            "sdk_container_image": "none",  # or TFX would pack its own source for remote workers
        }
    missing = [f"--{name}={value}" for name, value in defaults.items() if name not in given]
    return [*settings.kubeflow.beam_args, *missing]
