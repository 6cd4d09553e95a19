"""Checks the results of a pipeline run.

The verdict and the report exist, the pushed model predicts correctly, and the image works as a Beam worker.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from components.errors import InputError
from components.quality_gate.verdict import VERDICT_FILE
from scripts.kubeflow_check.containers import Podman
from tests.kubeflow_backend.backend import Backend, Run
from tests.kubeflow_backend.containers import Container

STATE_CLAIM, IMAGES_CLAIM = "catsdogs-state", "catsdogs-pictures"  # the claims of configs/kubeflow.yaml

_IMAGES_PER_CLASS = 10
_MIN_ACCURACY = 0.8
_PORT = 50000
_POOL_SECONDS = 1800
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


def check_beam_worker(
    flags: Sequence[str],
    image: str,
    folder: Path,
    claims: Mapping[str, Path],
    images: int,
    report: Callable[[str], None],
) -> str:
    """Runs a Beam pipeline whose worker pool is a container of the image.

    Args:
        flags: Podman's flags for this machine.
        image: The CPU image.
        folder: Folder for the logs.
        claims: Folder behind each claim.
        images: Number of images to ingest.
        report: Called with progress messages.

    Returns:
        The result in one sentence.

    Raises:
        InputError: The worker did not process all images.
    """
    pod, pool = _pod(folder, "beam"), f"catsdogs-check-pool-{os.getpid()}"
    mounts, pool_log, log = {"/data": IMAGES_CLAIM}, folder / "beam-pool.log", folder / "beam.log"
    program = ["python", "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={_PORT}"]
    # The timeout ends the pool if the check is killed.
    workers = Podman([*flags, "--detach", f"--timeout={_POOL_SECONDS}"], claims, frozenset(claims))
    command = workers.command(Container("worker pool", image, program, {}, pod, mounts, pool_log), pool)
    submitter = Podman(flags, claims, frozenset(claims), report, network=f"container:{pool}")
    program = ["python", "-c", (_PROGRAMS / "ingest_on_worker.py").read_text(), f"localhost:{_PORT}"]
    try:
        started = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if started.returncode:
            raise InputError(f"Beam's worker pool did not start: {started.stderr.strip()}")
        status = submitter.run(Container("ingestion on a worker", image, program, {}, pod, mounts, log))
    finally:
        with pool_log.open("wb") as output:
            subprocess.run(["podman", "logs", pool], stdout=output, stderr=output, check=False)
        subprocess.run(["podman", "rm", "--force", "--ignore", pool], capture_output=True, check=False)
    if status:
        raise InputError(f"The Beam pipeline failed: see {log} and {pool_log}.")
    counts = json.loads((pod / "minio/rejected/counts.json").read_text())["accepted"]
    written = sum(sum(by_class.values()) for by_class in counts.values())
    if "Starting worker with command" not in pool_log.read_text() or written != images:
        raise InputError(f"Beam's worker wrote {written} of {images} images: see {pool_log}.")
    return f"A Beam worker in its own container wrote all {written} images"


def _pod(folder: Path, name: str) -> Path:
    pod = folder / "pods" / name
    pod.mkdir(parents=True)
    return pod
