"""Checks the results of a pipeline run.

The verdict and the report exist, and the pushed model predicts correctly.
"""

from __future__ import annotations

import json
from pathlib import Path

from components.errors import InputError
from components.quality_gate.verdict import VERDICT_FILE
from scripts.kubeflow_check.containers import Podman
from tests.kubeflow_backend.backend import Backend, Run
from tests.kubeflow_backend.containers import Container

STATE_CLAIM, IMAGES_CLAIM = "catsdogs-state", "catsdogs-pictures"  # the claims of configs/kubeflow.yaml

_IMAGES_PER_CLASS = 10
_MIN_ACCURACY = 0.8
_PROGRAMS = Path(__file__).parent / "container_programs"


def read_verdict(cluster: Backend, run: Run) -> str:
    """Reads the gate's verdict and checks that the report exists.

    Args:
        cluster: The backend that ran the pipeline.
        run: The finished run.

    Returns:
        The verdict in one sentence and the path of the report.

    Raises:
        InputError: The model was not blessed, or there is no report.
    """
    blessing, report = (
        cluster.store.folder / cluster.artifact(run.tasks[step], output).uri.replace("://", "/")
        for step, output in (("QualityGate", "blessing"), ("QualityGate", "report"))
    )
    verdict = json.loads((blessing / VERDICT_FILE).read_text())
    page = report / "report.html"
    if not page.is_file():
        raise InputError(f"QualityGate has written no {page}.")
    if not verdict["blessed"]:
        raise InputError(
            f"{verdict['sentence']} Draw more images (--images) or lower the limits (--set evaluation.…); "
            f"the report is {page}."
        )
    return f"{verdict['sentence']} The report: {page}"


def check_pushed_model(podman: Podman, image: str, folder: Path, repository: str, images: Path) -> str:
    """Checks the predictions of the newest pushed model in the container image.

    Args:
        podman: Mounts the claims.
        image: The CPU image.
        folder: Folder for the logs.
        repository: Path of the model repository in the container.
        images: Folder on this machine with a sub-folder for each class.

    Returns:
        The result in one sentence.

    Raises:
        InputError: There is no model, it cannot be loaded, or its accuracy is too low.
    """
    by_class = [sorted(path.iterdir())[:_IMAGES_PER_CLASS] for path in sorted(images.iterdir())]
    image_paths = [f"/data/{path.relative_to(images)}" for paths in by_class for path in paths]
    command = ["python", "-c", (_PROGRAMS / "predict.py").read_text(), repository, *image_paths]
    log = folder / "predictions.log"
    mounts = {"/state": STATE_CLAIM, "/data": IMAGES_CLAIM}
    if podman.run(Container("pushed model", image, command, {}, _pod(folder, "predict"), mounts, log)):
        raise InputError(f"The pushed model cannot be loaded: see {log}.")
    result = json.loads(log.read_text().splitlines()[-1])
    if result["accuracy"] < _MIN_ACCURACY:
        raise InputError(
            f"The pushed model is correct on {result['accuracy']:.0%} of {len(image_paths)} images, below "
            f"{_MIN_ACCURACY:.0%}: see {log}."
        )
    return f"Version {result['version']} is correct on {result['accuracy']:.0%} of {len(image_paths)} images"


def _pod(folder: Path, name: str) -> Path:
    pod = folder / "pods" / name
    pod.mkdir(parents=True)
    return pod
