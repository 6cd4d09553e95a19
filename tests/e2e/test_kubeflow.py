"""A week on Kubeflow: the compiled pipeline, run as KFP's driver and launcher run it, each step a process.

The processes are forks of one that has imported TFX and TensorFlow, which is most of what a new one would do
here. tests/pipelines/kubeflow/container and `make kubeflow-check` start new ones.

Each run builds on the ones before it, so the fixtures form a chain; the tests look at what they left behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from components import fingerprint
from components.image_example_gen.drawing import jpeg
from serving.versions import versions
from tests.e2e.driver import BEFORE_TRANSFORM, JUDGEMENT, STEPS, Run, Workshop
from tests.e2e.served import answer, feature, records
from tests.kubeflow_backend import backend as kfp
from tests.kubeflow_backend.prepared import Prepared
from tests.processes import mark, marked
from trainer import features

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LOOKS = {"DataFingerprint", "AcceptedDataLookup", "BlessedModelLookup"}
BASELINES = {"AcceptedData", "BlessedModel"}
IMPORTED = ("tfx.v1", "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor")
PICTURES = 200
TOLERANCE = 1e-3
TAKEN_OVER = "Nothing that this step depends on has changed: its outputs are taken from"
SETTINGS = {
    "training.image_size": 96,
    "training.frozen.epochs": 2,
    "training.fine_tuning.epochs": 1,
    "training.unfrozen_blocks": 1,
    "evaluation.min_accuracy": 0.6,
    "evaluation.max_accuracy_loss": 0.3,  # of some 20 pictures, each is 5 %
}


def image(kind: str, build: int) -> str:
    """Returns the name of an image: each build has a digest of its own."""
    return f"registry.example/catsdogs-{kind}@sha256:{build:064x}"


def options(**more: object) -> list[str]:
    """Returns the options of a command."""
    values = SETTINGS | {name.replace("__", "."): value for name, value in more.items()}
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def draw(folder: Path, index: int, seed: int = 0) -> None:
    """Draws a cat (even index) or a dog (odd index)."""
    kind = ("cats", "dogs")[index % 2]
    (folder / kind).mkdir(parents=True, exist_ok=True)
    (folder / kind / f"{index:04}.jpg").write_bytes(jpeg(index, seed, index % 2))


@dataclass(frozen=True)
class Cluster:
    """A cluster with the two volumes of `configs/kubeflow.yaml`.

    Attributes:
        workshop: The code that the images hold.
        folder: Of the cluster.
        backend: Kubeflow Pipelines in it.
        containers: In which its steps run.
    """

    workshop: Workshop
    folder: Path
    backend: kfp.Backend
    containers: Prepared

    @classmethod
    def new(cls, workshop: Workshop, folder: Path) -> Cluster:
        """Sets up an empty cluster; every build of the image holds what the workshop then holds."""
        images = {image(kind, build): workshop.code for kind in ("cpu", "gpu") for build in (1, 2)}
        claims = {"catsdogs-state": folder / "state", "catsdogs-pictures": folder / "pictures"}
        for volume in claims.values():
            volume.mkdir(parents=True)
        containers = Prepared(folder / "python", IMPORTED, images, claims, mark(folder))
        return cls(workshop, folder, kfp.Backend(folder / "kfp", containers), containers)

    @property
    def pictures(self) -> Path:
        """The volume with the pictures."""
        return self.folder / "pictures"

    @property
    def pushed(self) -> list[Path]:
        """The versions in the folder that TensorFlow Serving watches, oldest first."""
        served = self.folder / "state" / "catsdogs" / "serving_model" / "catsdogs"
        return [served / str(version) for version in versions(served)]

    def compiled(self, build: int) -> Path:
        """Compiles the pipeline as the workshop's code has it, for a build of the images."""
        file = self.folder / f"pipeline-{build}.yaml"
        more = {f"kubeflow__images__{kind}": image(kind, build) for kind in ("cpu", "gpu")}
        self.workshop.compile(file, *options(**more))
        return file

    def stored(self, step: kfp.Step, output: str) -> Path:
        """Returns the folder in the artifact store that holds an output."""
        uri = self.backend.artifact(step, output).uri
        return self.backend.store.folder / uri.replace("://", "/")

    def metadata(self, step: kfp.Step, output: str) -> dict[str, object]:
        """Returns the metadata of an output."""
        return dict(self.backend.artifact(step, output).metadata)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("week"))


@pytest.fixture(scope="module")
def cluster(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster.new(workshop, tmp_path_factory.mktemp("cluster"))
    for index in range(PICTURES):
        draw(cluster.pictures, index)
    with cluster.containers:
        yield cluster


@pytest.fixture(scope="module")
def pipeline(cluster: Cluster) -> Path:
    return cluster.compiled(build=1)


@pytest.fixture(scope="module")
def both(workshop: Workshop, cluster: Cluster, pipeline: Path) -> tuple[Run, kfp.Run]:
    """The same pipeline, settings and pictures at the same time, as TFX's LocalDagRunner and KFP run it."""
    with ThreadPoolExecutor() as pool:
        here = pool.submit(workshop.run, "--config", "kubeflow", *options(data__folder=cluster.pictures))
        there = pool.submit(cluster.backend.run, pipeline)
    return here.result(), there.result()


@pytest.fixture(scope="module")
def local(both: tuple[Run, kfp.Run]) -> Run:
    run, _ = both
    assert run.status == 0, run.output
    return run


@pytest.fixture(scope="module")
def first(both: tuple[Run, kfp.Run]) -> kfp.Run:
    _, run = both
    assert run.succeeded, run
    return run


@pytest.fixture(scope="module")
def pushed_first(cluster: Cluster, first: kfp.Run) -> list[Path]:
    return cluster.pushed


@pytest.fixture(scope="module")
def unchanged(cluster: Cluster, pipeline: Path, pushed_first: list[Path]) -> kfp.Run:
    return cluster.backend.run(pipeline)


@pytest.fixture(scope="module")
def pushed_unchanged(cluster: Cluster, unchanged: kfp.Run) -> list[Path]:
    return cluster.pushed


@pytest.fixture(scope="module")
def rejected(cluster: Cluster, pipeline: Path, pushed_unchanged: list[Path]) -> kfp.Run:
    """One picture is another, and two thirds of the dogs are gone."""
    draw(cluster.pictures, 0, seed=1)
    for index in range(1, PICTURES * 2 // 3, 2):
        (cluster.pictures / "dogs" / f"{index:04}.jpg").unlink()
    return cluster.backend.run(pipeline)


@pytest.fixture(scope="module")
def tolerated(cluster: Cluster, pipeline: Path, rejected: kfp.Run) -> kfp.Run:
    """The same again, with a parameter of the run that lets it pass."""
    return cluster.backend.run(pipeline, {"max_class_shift": 0.5})


@pytest.fixture(scope="module")
def recoded(cluster: Cluster, workshop: Workshop, tolerated: kfp.Run) -> kfp.Run:
    """The Trainer's code is edited, the images are built and the pipeline is compiled anew."""
    file = workshop.code / "trainer" / "run.py"
    file.write_text(file.read_text() + "\n_EDITED = True\n")
    return cluster.backend.run(cluster.compiled(build=2), {"max_class_shift": 0.5})


@pytest.fixture(scope="module")
def settled(cluster: Cluster, recoded: kfp.Run) -> kfp.Run:
    return cluster.backend.run(cluster.folder / "pipeline-2.yaml", {"max_class_shift": 0.5})


class TestFirstRun:
    def test_every_step_runs_and_a_model_is_pushed(self, first: kfp.Run, pushed_first: list[Path]) -> None:
        assert first.steps("executed") == STEPS | LOOKS
        assert len(pushed_first) == 1

    def test_the_pushed_model_says_what_the_local_runners_says(
        self, cluster: Cluster, workshop: Workshop, local: Run, first: kfp.Run, pushed_first: list[Path]
    ) -> None:
        here = records(Path(workshop.artifacts(local, "ImageExampleGen")["examples"].uri), "test")
        there = records(cluster.stored(first.tasks["ImageExampleGen"], "examples"), "test")
        pictures = feature(features.ENCODED, here)
        assert sorted(pictures) == sorted(feature(features.ENCODED, there))
        assert len(pictures) > 10

        ours, theirs = (
            answer(version, pictures)["dog_probability"] for version in (*local.pushed, *pushed_first)
        )
        print(f"largest difference on {len(pictures)} test pictures: {np.abs(ours - theirs).max():.2e}")
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
        assert ours.std() > 0.05  # they look at the pictures

    def test_there_is_nothing_to_compare_with_yet(self, cluster: Cluster, first: kfp.Run) -> None:
        for baseline in BASELINES:
            assert cluster.metadata(first.tasks[baseline], "subject")["absent"] == 1


class TestUnchangedRun:
    def test_only_what_has_to_do_with_the_outside_world_runs(self, unchanged: kfp.Run) -> None:
        assert unchanged.steps("executed") == LOOKS | {"Pusher"}, unchanged
        assert unchanged.steps("cached") == STEPS - {"Pusher"}

    def test_nothing_is_pushed_twice(
        self, cluster: Cluster, unchanged: kfp.Run, pushed_first: list[Path], pushed_unchanged: list[Path]
    ) -> None:
        assert pushed_unchanged == pushed_first
        pushed = cluster.metadata(unchanged.tasks["Pusher"], "pushed_model")
        assert pushed["pushed_version"] == pushed_first[-1].name


class TestChangedPictures:
    def test_what_depends_on_them_runs_again_and_nothing_else(self, rejected: kfp.Run) -> None:
        assert rejected.steps("cached") == {"CuratedSchema"}
        assert rejected.steps("executed") == (
            {"DataFingerprint", "AcceptedDataLookup", "AcceptedData"}
            | BEFORE_TRANSFORM - {"CuratedSchema", "DataGate"}
        )

    def test_they_are_compared_with_the_accepted_ones_and_refused(self, rejected: kfp.Run) -> None:
        assert rejected.steps("failed") == {"DataGate"}
        assert "the last accepted" in rejected.tasks["DataGate"].output.splitlines()[-1]

    def test_nothing_runs_after_that(self, rejected: kfp.Run) -> None:
        assert rejected.steps("omitted") == {"Transform", "Trainer", "BlessedModel", "BlessedModelLookup"} | (
            JUDGEMENT
        )


class TestTakenUp:
    def test_what_was_done_is_cached_and_the_rest_runs(self, tolerated: kfp.Run) -> None:
        assert tolerated.succeeded, tolerated
        assert tolerated.steps("cached") == (BEFORE_TRANSFORM | {"AcceptedData"}) - {"DataGate"}

    def test_the_model_is_compared_with_the_blessed_one(
        self, cluster: Cluster, first: kfp.Run, tolerated: kfp.Run
    ) -> None:
        baseline = cluster.stored(tolerated.tasks["BlessedModel"], "subject")
        assert fingerprint.of_folder(baseline) == fingerprint.of_folder(
            cluster.stored(first.tasks["Trainer"], "model")
        )
        judged = cluster.metadata(tolerated.tasks["Evaluator"], "blessing")
        assert judged["blessed"] == 1
        assert "baseline_model_id" in judged


class TestChangedCode:
    def test_every_task_starts_as_the_image_is_another(self, recoded: kfp.Run) -> None:
        assert recoded.succeeded, recoded
        assert recoded.steps("executed") == STEPS | LOOKS

    def test_only_what_depends_on_the_code_does_work(self, recoded: kfp.Run) -> None:
        taken_over = {name for name, step in recoded.tasks.items() if TAKEN_OVER in step.output}
        assert taken_over == (BEFORE_TRANSFORM | {"Transform"})

    def test_what_is_taken_over_is_the_same(
        self, cluster: Cluster, tolerated: kfp.Run, recoded: kfp.Run
    ) -> None:
        for name in BEFORE_TRANSFORM | {"Transform"}:
            for output in tolerated.tasks[name].results.artifacts:
                if output != "executor-logs":
                    earlier, now = (cluster.stored(run.tasks[name], output) for run in (tolerated, recoded))
                    assert earlier != now
                    assert fingerprint.of_folder(earlier) == fingerprint.of_folder(now)

    def test_the_new_model_is_compared_with_the_one_before(
        self, cluster: Cluster, tolerated: kfp.Run, recoded: kfp.Run
    ) -> None:
        baseline = cluster.stored(recoded.tasks["BlessedModel"], "subject")
        assert fingerprint.of_folder(baseline) == fingerprint.of_folder(
            cluster.stored(tolerated.tasks["Trainer"], "model")
        )

    def test_then_all_is_cached_again(self, settled: kfp.Run) -> None:
        assert settled.steps("executed") == LOOKS | {"Pusher"}, settled


def test_nothing_is_left_behind(cluster: Cluster, settled: kfp.Run) -> None:
    cluster.containers.close()
    assert marked(cluster.folder) == []
    assert list((cluster.folder / "state" / "catsdogs" / "checkpoints").iterdir()) == []
    assert not list(cluster.backend.folder.glob("runs/*/pods/*"))
