"""A week on Kubeflow: the compiled pipeline, run as KFP's driver and launcher run it, each step a process.

The processes are forks of one that has imported TFX and TensorFlow, which is most of what a new one would do
here. tests/pipelines/kubeflow/container and `make kubeflow-check` start new ones.

Each run builds on the ones before it, so the fixtures form a chain; the tests look at what they left behind.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from components.errors import DataRejected
from components.image_example_gen.drawing import jpeg
from components.quality_gate.verdict import VERDICT_FILE, Verdict
from pipelines.settings.kubeflow import TASKS
from serving.repository.versions import list_versions
from tests.e2e.driver import Run, Workshop
from tests.e2e.served import feature, predict, records
from tests.kubeflow_backend import backend as kfp
from tests.kubeflow_backend.containers import Container
from tests.kubeflow_backend.prepared import Prepared
from tests.processes import mark, marked
from trainer import features

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ALL = set(TASKS)
UP_TO_STATISTICS = {"ImageExampleGen", "StatisticsGen"}
VERDICT = {"QualityGate", "Pusher"}
IMPORTED = ("tfx.v1", "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor")
IMAGES = 200
TOLERANCE = 1e-3
EDIT = "\n_EDITED = True\n"
SETTINGS = {
    "training.image_size": 96,
    "training.frozen.epochs": 2,
    "training.fine_tuning.epochs": 1,
    "training.unfrozen_blocks": 1,
    "evaluation.min_accuracy": 0.6,
    "evaluation.max_accuracy_loss": 0.3,  # of some 20 images, each is 5 %
    "evaluation.max_calibration_error": "null",
    "evaluation.min_prediction_consistency": 0.5,
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
        """The volume with the images."""
        return self.folder / "pictures"

    @property
    def pushed(self) -> list[Path]:
        """The versions in the folder that TensorFlow Serving watches, oldest first."""
        served = self.folder / "state" / "catsdogs" / "serving_model" / "catsdogs"
        return [served / str(version) for version in list_versions(served)]

    def compiled(self, build: int, **more: object) -> Path:
        """Compiles the pipeline as the workshop's code has it, for a build of the images."""
        pod = self.folder / "-".join(("pipeline", str(build), *more))
        pod.mkdir()
        images = {f"kubeflow__images__{kind}": image(kind, build) for kind in ("cpu", "gpu")}
        command = ["python", "-m", "pipelines.cli", "compile", "--output", "pipeline.yaml"]
        command += options(**images, **more)
        log = pod / "log"
        status = self.containers.run(Container("compile", image("cpu", build), command, {}, pod, {}, log))
        assert status == 0, log.read_text()
        return pod / "pipeline.yaml"

    def stored(self, step: kfp.Step, output: str) -> Path:
        """Returns the folder in the artifact store that holds an output."""
        uri = self.backend.artifact(step, output).uri
        return self.backend.store.folder / uri.replace("://", "/")

    def metadata(self, step: kfp.Step, output: str) -> dict[str, object]:
        """Returns the metadata of an output."""
        return dict(self.backend.artifact(step, output).metadata)

    def verdict(self, run: kfp.Run) -> Verdict:
        """Returns what the gate has decided."""
        return verdict_in(self.stored(run.tasks["QualityGate"], "blessing"))


def compared_with(run: kfp.Run, task: str) -> set[str]:
    """Returns the URIs of the baselines in the log of a task."""
    return set(re.findall(r"The input \w+ is (\S+), approved in", run.tasks[task].output))


def verdict_in(blessing: Path) -> Verdict:
    """Returns the verdict in the folder of a ModelBlessing."""
    return Verdict.from_dict(json.loads((blessing / VERDICT_FILE).read_text()))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("week"))


@pytest.fixture(scope="module")
def cluster(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster.new(workshop, tmp_path_factory.mktemp("cluster"))
    for index in range(IMAGES):
        draw(cluster.pictures, index)
    with cluster.containers:
        yield cluster


@pytest.fixture(scope="module")
def pipeline(cluster: Cluster) -> Path:
    return cluster.compiled(build=1)


@pytest.fixture(scope="module")
def both(workshop: Workshop, cluster: Cluster, pipeline: Path) -> tuple[Run, kfp.Run]:
    """The same pipeline, settings and images at the same time, as TFX's LocalDagRunner and KFP run it."""
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
    """One image is another, and two thirds of the dogs are gone."""
    draw(cluster.pictures, 0, seed=1)
    for index in range(1, IMAGES * 2 // 3, 2):
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
    file.write_text(file.read_text() + EDIT)
    return cluster.backend.run(cluster.compiled(build=2), {"max_class_shift": 0.5})


@pytest.fixture(scope="module")
def strict(cluster: Cluster, recoded: kfp.Run) -> Path:
    """The pipeline with a limit that no model can keep to."""
    return cluster.compiled(build=2, evaluation__max_model_mb=0.001)


@pytest.fixture(scope="module")
def refused(cluster: Cluster, strict: Path) -> kfp.Run:
    return cluster.backend.run(strict, {"max_class_shift": 0.5})


@pytest.fixture(scope="module")
def overridden(cluster: Cluster, strict: Path, refused: kfp.Run) -> kfp.Run:
    """The same again, with a person's decision as `catsdogs submit --param override=…` sends it."""
    decision = {"reason": "small enough", "by": "somebody", "at": "2026-11-22T12:00:00+00:00"}
    return cluster.backend.run(strict, {"max_class_shift": 0.5, "override": json.dumps(decision)})


@pytest.fixture(scope="module")
def returned(cluster: Cluster, workshop: Workshop, pipeline: Path, overridden: kfp.Run) -> kfp.Run:
    """Back to the earlier code, whose model is cached; another has been blessed meanwhile."""
    workshop.edit("trainer/run.py", EDIT, "")
    return cluster.backend.run(pipeline, {"max_class_shift": 0.5})


class TestFirstRun:
    def test_every_step_runs_and_a_model_is_pushed(self, first: kfp.Run, pushed_first: list[Path]) -> None:
        assert first.steps("executed") == ALL
        assert len(pushed_first) == 1

    def test_the_pushed_model_says_what_the_local_runners_says(
        self, cluster: Cluster, workshop: Workshop, local: Run, first: kfp.Run, pushed_first: list[Path]
    ) -> None:
        here = records(Path(workshop.artifacts(local, "ImageExampleGen")["examples"].uri), "test")
        there = records(cluster.stored(first.tasks["ImageExampleGen"], "examples"), "test")
        images = feature(features.ENCODED, here)
        assert sorted(images) == sorted(feature(features.ENCODED, there))
        assert len(images) > 10

        ours, theirs = (
            predict(version, images)["dog_probability"] for version in (*local.pushed, *pushed_first)
        )
        print(f"largest difference on {len(images)} test images: {np.abs(ours - theirs).max():.2e}")
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
        assert ours.std() > 0.05  # they look at the images

    def test_there_is_nothing_to_compare_with_yet(self, cluster: Cluster, first: kfp.Run) -> None:
        for task in ("DataGate", "PredictionTable"):
            assert compared_with(first, task) == set()
        assert cluster.verdict(first).baselines == {"newest": "none", "best": "none"}
        assert cluster.metadata(first.tasks["QualityGate"], "blessing")["best"] == "yes"

    def test_the_verdict_is_the_local_runner_s_to_the_figure(
        self, cluster: Cluster, workshop: Workshop, local: Run, first: kfp.Run
    ) -> None:
        here = verdict_in(Path(workshop.artifacts(local, "QualityGate")["blessing"].uri))
        there = cluster.verdict(first)
        assert there.blessed
        assert (there.sentence, there.pictures) == (here.sentence, here.pictures)
        assert [(rule.name, rule.state) for rule in there.rules] == [
            (rule.name, rule.state) for rule in here.rules
        ]
        for ours, theirs in zip(here.rules, there.rules, strict=True):
            if ours.figure is not None and ours.name not in {"serving check", "model size"}:
                assert theirs.figure == pytest.approx(ours.figure, abs=TOLERANCE), ours.name

    def test_the_report_tells_the_verdict(self, cluster: Cluster, first: kfp.Run) -> None:
        report = cluster.stored(first.tasks["QualityGate"], "report")
        page, card = ((report / name).read_text() for name in ("report.html", "model_card.md"))
        sentence = cluster.verdict(first).sentence
        assert sentence in html.unescape(page)
        assert sentence in card


class TestUnchangedRun:
    def test_only_what_has_to_do_with_the_outside_world_runs(self, unchanged: kfp.Run) -> None:
        assert unchanged.steps("executed") == {"Lookup", "Pusher"}, unchanged
        assert unchanged.steps("cached") == ALL - {"Lookup", "Pusher"}

    def test_nothing_is_pushed_twice(
        self, cluster: Cluster, unchanged: kfp.Run, pushed_first: list[Path], pushed_unchanged: list[Path]
    ) -> None:
        assert pushed_unchanged == pushed_first
        pushed = cluster.metadata(unchanged.tasks["Pusher"], "pushed_model")
        assert pushed["pushed_version"] == pushed_first[-1].name


class TestChangedImages:
    def test_what_depends_on_them_runs_again_and_nothing_else(self, rejected: kfp.Run) -> None:
        assert rejected.steps("cached") == set()
        assert rejected.steps("executed") == {"Lookup"} | UP_TO_STATISTICS

    def test_they_are_compared_with_the_accepted_ones_and_refused(
        self, cluster: Cluster, first: kfp.Run, rejected: kfp.Run
    ) -> None:
        accepted = cluster.backend.artifact(first.tasks["StatisticsGen"], "statistics")
        assert compared_with(rejected, "DataGate") == {accepted.uri}
        assert rejected.steps("failed") == {"DataGate"}
        assert f"exit status {DataRejected.exit_status}" in rejected.tasks["DataGate"].error

    def test_nothing_runs_after_that(self, rejected: kfp.Run) -> None:
        assert rejected.steps("omitted") == ALL - {"Lookup", "DataGate"} - UP_TO_STATISTICS


class TestTakenUp:
    def test_what_was_done_is_cached_and_the_rest_runs(self, tolerated: kfp.Run) -> None:
        assert tolerated.succeeded, tolerated
        assert tolerated.steps("cached") == UP_TO_STATISTICS

    def test_the_model_is_compared_with_the_blessed_one(
        self, cluster: Cluster, first: kfp.Run, tolerated: kfp.Run
    ) -> None:
        model = cluster.backend.artifact(first.tasks["Trainer"], "model")
        assert compared_with(tolerated, "PredictionTable") == {model.uri}
        judged = cluster.metadata(tolerated.tasks["QualityGate"], "blessing")
        assert judged["blessed"] == 1
        assert "baseline_model_id" in judged
        verdict = cluster.verdict(tolerated)
        assert verdict.baselines == {"newest": "compared", "best": "same"}
        assert "newest" in verdict.comparisons


class TestChangedCode:
    def test_a_new_image_runs_everything_again(self, recoded: kfp.Run) -> None:
        assert recoded.succeeded, recoded
        assert recoded.steps("executed") == ALL

    def test_the_new_model_is_compared_with_the_one_before(
        self, cluster: Cluster, tolerated: kfp.Run, recoded: kfp.Run
    ) -> None:
        model = cluster.backend.artifact(tolerated.tasks["Trainer"], "model")
        assert model.uri in compared_with(recoded, "PredictionTable")


class TestOverride:
    def test_a_model_that_breaks_a_rule_is_refused_and_not_pushed(
        self, cluster: Cluster, refused: kfp.Run
    ) -> None:
        assert refused.steps("executed") == {"Lookup"} | VERDICT, refused
        verdict = cluster.verdict(refused)
        assert not verdict.blessed
        assert [rule.name for rule in verdict.failed] == ["model size"]
        assert cluster.metadata(refused.tasks["QualityGate"], "blessing")["blessed"] == 0
        assert cluster.metadata(refused.tasks["Pusher"], "pushed_model")["pushed"] == 0

    def test_a_person_may_bless_it_all_the_same(self, cluster: Cluster, overridden: kfp.Run) -> None:
        assert overridden.steps("executed") == {"Lookup"} | VERDICT, overridden
        verdict = cluster.verdict(overridden)
        assert verdict.blessed
        assert verdict.override is not None
        assert (verdict.override.reason, verdict.override.lifted) == ("small enough", ("model size",))
        judged = cluster.metadata(overridden.tasks["QualityGate"], "blessing")
        assert (judged["blessed"], judged["best"]) == (1, "no")
        assert cluster.metadata(overridden.tasks["Pusher"], "pushed_model")["pushed"] == 1
        page = cluster.stored(overridden.tasks["QualityGate"], "report") / "report.html"
        assert "small enough" in html.unescape(page.read_text())


class TestReturn:
    def test_what_depends_on_the_baseline_runs_again_and_nothing_else(self, returned: kfp.Run) -> None:
        assert returned.succeeded, returned
        assert returned.steps("executed") == {"Lookup", "PredictionTable"} | VERDICT, returned

    def test_the_earlier_model_is_compared_with_the_newer_one(
        self, cluster: Cluster, tolerated: kfp.Run, recoded: kfp.Run, returned: kfp.Run
    ) -> None:
        newer, earlier = (
            cluster.backend.artifact(run.tasks["Trainer"], "model") for run in (recoded, returned)
        )
        assert earlier == cluster.backend.artifact(tolerated.tasks["Trainer"], "model")
        assert newer.uri in compared_with(returned, "PredictionTable")
        assert earlier.uri not in compared_with(returned, "PredictionTable")


def test_no_temporary_files_remain(cluster: Cluster, returned: kfp.Run) -> None:
    cluster.containers.close()
    assert marked(cluster.folder) == []
    assert list((cluster.folder / "state" / "catsdogs" / "checkpoints").iterdir()) == []
    assert not list(cluster.backend.folder.glob("runs/*/pods/*"))
