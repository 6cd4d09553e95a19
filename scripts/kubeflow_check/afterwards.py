"""What is checked once the pipeline has run.

The verdict and the report are there, the pushed model answers, and the image can be Beam's worker.
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

STATE, PICTURES = "catsdogs-state", "catsdogs-pictures"  # the claims of configs/kubeflow.yaml

_ASKED_OF_A_CLASS = 10
_RIGHT = 0.8  # share of right answers that will do
_PORT = 50000
_POOL_SECONDS = 1800
_PROGRAMS = Path(__file__).parent / "in_image"


def read_verdict(cluster: Backend, run: Run) -> str:
    """Reads what the gate has decided, and looks for the report.

    Args:
        cluster: Where the pipeline has run.
        run: Of the pipeline, with all steps done.

    Returns:
        The verdict's sentence, and where the report lies.

    Raises:
        InputError: The model was refused, so that there is none to ask, or there is no report.
    """
    blessing, report = (
        cluster.store.folder / cluster.artifact(run.tasks[step], output).uri.replace("://", "/")
        for step, output in (("QualityGate", "blessing"), ("EvaluationReport", "report"))
    )
    verdict = json.loads((blessing / VERDICT_FILE).read_text())
    page = report / "report.html"
    if not page.is_file():
        raise InputError(f"EvaluationReport has written no {page}.")
    if not verdict["blessed"]:
        raise InputError(
            f"{verdict['sentence']} Draw more pictures (--pictures), or ask for less (--set evaluation.…); "
            f"the report is {page}."
        )
    return f"{verdict['sentence']} The report: {page}"


def ask(podman: Podman, image: str, folder: Path, served: str, pictures: Path) -> str:
    """Loads the newest pushed model in the image and asks it, as an application would.

    Args:
        podman: Mounts the claims.
        image: The CPU image.
        folder: For the logs.
        served: Where the versions are, as a container sees it.
        pictures: As the host sees them, a folder for each class.

    Returns:
        What it said, in words.

    Raises:
        InputError: There is no model, it cannot be loaded, or its answers are wrong.
    """
    by_class = [sorted(path.iterdir())[:_ASKED_OF_A_CLASS] for path in sorted(pictures.iterdir())]
    asked = [f"/data/{path.relative_to(pictures)}" for paths in by_class for path in paths]
    command = ["python", "-c", (_PROGRAMS / "ask_model.py").read_text(), served, *asked]
    log = folder / "asked.log"
    mounts = {"/state": STATE, "/data": PICTURES}
    if podman.run(Container("pushed model", image, command, {}, _pod(folder, "asking"), mounts, log)):
        raise InputError(f"The pushed model cannot be asked: see {log}.")
    answer = json.loads(log.read_text().splitlines()[-1])
    if answer["right"] < _RIGHT:
        raise InputError(
            f"The pushed model is right on {answer['right']:.0%} of {len(asked)} pictures, and should be on "
            f"{_RIGHT:.0%}: see {log}."
        )
    return f"Version {answer['version']} is right on {answer['right']:.0%} of {len(asked)} pictures"


def serve_beam(
    flags: Sequence[str],
    image: str,
    folder: Path,
    claims: Mapping[str, Path],
    pictures: int,
    report: Callable[[str], None],
) -> str:
    """Lets a container of the image be the worker of a Beam pipeline that another one submits.

    Args:
        flags: What podman needs.
        image: The CPU image.
        folder: For the logs.
        claims: Folder behind each claim.
        pictures: How many there are to be ingested.
        report: Told what goes on.

    Returns:
        What came of it, in words.

    Raises:
        InputError: The worker did not do the work, or not all of it.
    """
    pod, pool = _pod(folder, "beam"), f"catsdogs-check-pool-{os.getpid()}"
    mounts, pool_log, log = {"/data": PICTURES}, folder / "beam-pool.log", folder / "beam.log"
    program = ["python", "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={_PORT}"]
    # It would wait for work for ever if the check were killed.
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
    if "Starting worker with command" not in pool_log.read_text() or written != pictures:
        raise InputError(f"Beam's worker wrote {written} of {pictures} pictures: see {pool_log}.")
    return f"A worker in a container of its own wrote all {written} pictures"


def _pod(folder: Path, name: str) -> Path:
    pod = folder / "pods" / name
    pod.mkdir(parents=True)
    return pod
