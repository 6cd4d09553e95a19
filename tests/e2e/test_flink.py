"""Runs whose Beam steps run on a real Flink cluster, whose workers see no other folder than the shared one.

All use one cluster: a clean run, then in another output root one that loses a TaskManager, one that is
killed, and one that resumes these two and loses a TaskManager, too, which is replaced.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from components.image_example_gen.drawing import jpeg
from tests.e2e.driver import Run, Workshop
from tests.e2e.served import count_records
from tests.flink.cluster import FlinkCluster, can_make_namespaces
from tests.flink.packages import FlinkPackages

pytestmark = [pytest.mark.e2e, pytest.mark.flink, pytest.mark.slow]

IMAGES = 300
SIZE = (960, 720)  # pixels; so that an ingest takes long enough to be disturbed
OUTPUTS = {
    "ImageExampleGen": "examples",
    "Transform": "transformed_examples",
    "PredictionTable": "predictions",
}
SETTINGS = {
    "training.image_size": 32,
    "training.weights": "random",
    "training.frozen.epochs": 1,
    "training.fine_tuning.epochs": 0,
}
MAX_SECONDS_AFTER_LOSS = 60.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the workers see, with the images."""
    folder = tmp_path_factory.mktemp("flink") / "shared"
    for index in range(IMAGES):
        images = folder / "images" / ("cats", "dogs")[index % 2]
        images.mkdir(parents=True, exist_ok=True)
        Image.open(io.BytesIO(jpeg(index, 0, index % 2))).resize(SIZE).save(images / f"{index:04}.jpg")
    return folder


@pytest.fixture(scope="module")
def cluster(flink_packages: FlinkPackages, shared: Path) -> Iterator[FlinkCluster]:
    if can_make_namespaces():
        cluster = FlinkCluster(flink_packages, shared)
    else:
        cluster = FlinkCluster(flink_packages, shared, task_managers=1, slots=2, host_network=True)
    with cluster:
        yield cluster


def options(shared: Path, cluster: FlinkCluster | None = None) -> list[str]:
    """Returns the options of a run up to the last step on the cluster."""
    values = SETTINGS | {"data.folder": shared / "images", "data.source": "folder"}
    if cluster:
        values |= {
            "beam.runner": "flink",
            "beam.flink.master": cluster.master,
            "beam.flink.job_endpoint": cluster.job_endpoint,
            "beam.flink.environment": "external",
            "beam.flink.worker_pool": cluster.worker_pool,
        }
    settings = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    return [*settings, "--to", "PredictionTable"]


@dataclass(frozen=True)
class FinishedRun:
    """A run up to the last step on the cluster.

    Attributes:
        run: The run.
        records: What each step of `OUTPUTS` has written, by step and split.
    """

    run: Run
    records: dict[str, Counter[bytes]]


def finish(workshop: Workshop, run: Run) -> FinishedRun:
    """Reads the records of a run that must have succeeded."""
    assert run.status == 0, run.output
    found: dict[str, Counter[bytes]] = {}
    for step, output in OUTPUTS.items():
        artifact = Path(workshop.artifacts(run, step)[output].uri)
        found |= {f"{step}/{split}": counts for split, counts in count_records(artifact).items()}
    return FinishedRun(run, found)


@pytest.fixture(scope="module")
def both(cluster: FlinkCluster, shared: Path) -> tuple[FinishedRun, FinishedRun]:
    """The same run at the same time with the default runner and on the cluster."""
    here, there = Workshop(shared / "here"), Workshop(shared / "there")
    with ThreadPoolExecutor() as pool:
        local = pool.submit(here.run, *options(shared))
        remote = pool.submit(there.run, *options(shared, cluster))
    return finish(here, local.result()), finish(there, remote.result())


class Chain:
    """Runs in one output root on the cluster, some of which are disturbed in mid-ingest."""

    def __init__(self, cluster: FlinkCluster, shared: Path) -> None:
        self._cluster, self._shared = cluster, shared
        self.workshop = Workshop(shared / "chain")

    def run(self, disturb: Callable[[], bool]) -> Run:
        """Runs and calls `disturb` once, in mid-ingest; kills the run (-9) if it returns True."""
        before = set(self.unfinished())
        is_disturbed = False

        def watch(_: Run) -> bool:
            nonlocal is_disturbed
            if is_disturbed or not set(self.unfinished()) - before:
                return False
            is_disturbed = True
            return disturb()

        run = self.workshop.run_until(watch, *options(self._shared, self._cluster))
        assert is_disturbed, run.output
        return run

    def unfinished(self) -> list[Path]:
        """Returns the files that ImageExampleGen has not finished."""
        return [*self.workshop.output.glob("artifacts/ImageExampleGen/examples/*/unfinished/*")]


@dataclass(frozen=True)
class Disturbed:
    """The runs of a chain.

    Attributes:
        chain: The chain.
        lost: The run whose TaskManager is killed and not replaced.
        lost_name: The name of that TaskManager.
        seconds: From its death to the end of the run.
        killed: The run that is killed.
        left: The Flink jobs that then still run.
        resumed: The run that resumes both; its TaskManager is killed and replaced.
    """

    chain: Chain
    lost: Run
    lost_name: str
    seconds: float
    killed: Run
    left: list[str]
    resumed: Run


@pytest.fixture(scope="module")
def disturbed(cluster: FlinkCluster, shared: Path) -> Disturbed:
    chain = Chain(cluster, shared)
    lost_name, died = "", 0.0

    def lose() -> bool:
        nonlocal lost_name, died
        lost_name, died = next(iter(cluster.task_managers)), time.monotonic()
        cluster.kill_task_manager(lost_name)
        return False

    def replace() -> bool:
        lose()
        cluster.add_task_manager()
        return False

    lost = chain.run(lose)
    seconds, name = time.monotonic() - died, lost_name
    cluster.add_task_manager()
    cluster.wait_for_task_managers()
    killed = chain.run(lambda: True)
    left = running_jobs(cluster)
    resumed = chain.run(replace)
    return Disturbed(chain, lost, name, seconds, killed, left, resumed)


def running_jobs(cluster: FlinkCluster) -> list[str]:
    """Returns the ids of Flink's running jobs."""
    return [job["jid"] for job in cluster.get("jobs/overview")["jobs"] if job["state"] == "RUNNING"]


def test_workers_see_no_file_of_the_submitter_but_the_shared_ones(
    cluster: FlinkCluster, shared: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    for pod in cluster.task_managers.values():
        assert pod.sees(shared / "images")
        assert not pod.sees(outside)
        assert not pod.sees(Path(__file__))


def test_records_are_those_of_the_default_runner(both: tuple[FinishedRun, FinishedRun]) -> None:
    local, remote = both
    assert {key.partition("/")[0] for key in local.records} == OUTPUTS.keys()
    ingested = [found for key, found in local.records.items() if key.startswith("ImageExampleGen/")]
    assert sum(found.total() for found in ingested) == IMAGES
    assert remote.records == local.records


@pytest.mark.parametrize("stage", ["{Write, ", "{Predict, "])
def test_every_task_manager_worked(
    cluster: FlinkCluster, both: tuple[FinishedRun, FinishedRun], stage: str
) -> None:
    jobs = [cluster.get(f"jobs/{job['jid']}") for job in cluster.get("jobs/overview")["jobs"]]
    job, vertex = next((job, vertex) for job in jobs for vertex in job["vertices"] if stage in vertex["name"])
    workers = cluster.get(f"jobs/{job['jid']}/vertices/{vertex['id']}/taskmanagers")["taskmanagers"]
    elements = {worker["taskmanager-id"]: worker["metrics"]["read-records"] for worker in workers}
    assert elements.keys() == {"tm1", "tm2"} if can_make_namespaces() else {"tm1"}
    assert all(elements.values()), elements


def test_a_run_that_loses_a_task_manager_fails_within_a_minute(disturbed: Disturbed) -> None:
    sentence = disturbed.lost.output
    assert disturbed.lost.status == 1
    assert disturbed.seconds < MAX_SECONDS_AFTER_LOSS
    assert disturbed.lost.steps("failed") == {"ImageExampleGen"}
    assert disturbed.lost_name in sentence
    assert "Traceback" not in sentence


def test_the_next_run_resumes_and_survives_the_loss_of_a_replaced_task_manager(
    disturbed: Disturbed, both: tuple[FinishedRun, FinishedRun]
) -> None:
    finished = finish(disturbed.chain.workshop, disturbed.resumed)
    assert "CuratedSchema" in disturbed.resumed.steps("cached")
    assert finished.records == both[0].records
    assert disturbed.chain.unfinished() == []


def test_the_job_of_a_killed_run_is_cancelled_by_the_next_one(
    cluster: FlinkCluster, disturbed: Disturbed
) -> None:
    [job] = disturbed.left
    assert cluster.get(f"jobs/{job}")["state"] == "CANCELED"
    assert running_jobs(cluster) == []
