"""A sequence of runs: first, unchanged, killed after an edit, resumed, refused, overridden, rolled back.

Each run builds on the ones before it, so the fixtures form a chain.
"""

from __future__ import annotations

import html
import json
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.quality_gate import verdict as verdicts
from components.quality_gate.verdict import Verdict
from serving import warmup
from serving.repository.manifest import Manifest
from serving.repository.model_repository import ModelRepository, open_repository
from serving.repository.storage import PushConfig
from tests.e2e.driver import BEFORE_TRANSFORM, JUDGEMENT, LOOKUPS, STEPS, Run, Workshop
from tests.e2e.served import feature, predict, records
from trainer import backbones, batch_norm_folding, features, model
from trainer.preprocessing import parse_transformed
from trainer.signatures import CLASS_ACTIVATION_SIGNATURE, EXAMPLES_SIGNATURE
from trainer.training_config import TrainingConfig

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SIZE = 96
IMAGES = 320
TOLERANCE = 1e-5


def settings(**changes: object) -> list[str]:
    """Returns the options of a small run with the real network, weights and phases."""
    values: dict[str, object] = {
        "data.sample.count": IMAGES,
        "data.split": "{train: 0.7, eval: 0.1, test: 0.2}",  # a test split large enough to detect a bad model
        "training.image_size": SIZE,
        "training.frozen.epochs": 2,
        "training.fine_tuning.epochs": 1,
        "evaluation.min_accuracy": 0.6,
        "evaluation.min_slice_accuracy": 0.6,
        "evaluation.max_calibration_error": "null",  # poorly calibrated after three epochs
        "evaluation.min_prediction_consistency": 0.5,  # and inconsistent
    }
    values |= {name.replace("__", "."): value for name, value in changes.items()}
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def longer() -> list[str]:
    """Returns the options of a run with many short epochs, which can be killed in its first phase."""
    small = {"training__frozen__epochs": 60, "training__frozen__learning_rate": 1e-4}
    return settings(**small, training__patience=60)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("afternoon"))


@pytest.fixture(scope="module")
def first(workshop: Workshop) -> Run:
    run = workshop.run(*settings())
    assert run.status == 0, run.output
    return run


@pytest.fixture(scope="module")
def unchanged(workshop: Workshop, first: Run) -> Run:
    return workshop.run(*settings())


@pytest.fixture(scope="module")
def killed(workshop: Workshop, unchanged: Run) -> Run:
    """A run with edited preprocessing, killed after its first epoch."""
    workshop.edit("trainer/preprocessing.py", "tf.round(resized)", "tf.floor(resized)")
    return workshop.run_until(lambda run: "frozen: epoch 1 of 60 done" in run.log("Trainer"), *longer())


@pytest.fixture(scope="module")
def survivors(workshop: Workshop, killed: Run) -> list[str]:
    """The command lines of processes that are alive ten seconds after the kill."""
    deadline = time.monotonic() + 10
    while workshop.processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    return workshop.processes()


@pytest.fixture(scope="module")
def resumed(workshop: Workshop, survivors: list[str]) -> Run:
    return workshop.run(*longer())


@pytest.fixture(scope="module")
def refused(workshop: Workshop, resumed: Run) -> Run:
    return workshop.run(
        *settings(
            training__weights="random",
            training__frozen__epochs=1,
            training__fine_tuning__epochs=0,
            evaluation__min_accuracy=0.1,  # only the comparison with the baseline fails
            evaluation__min_slice_accuracy=0.1,
            evaluation__min_prediction_consistency=0.1,
        )
    )


@pytest.fixture(scope="module")
def overridden(workshop: Workshop, refused: Run) -> Run:
    return workshop.bless(refused, "--reason", "A test of the lamp.", "--by", "ada")


@pytest.fixture(scope="module")
def rolled_back(workshop: Workshop, overridden: Run) -> Run:
    """Rolls back the two newest versions and repeats the run of the older one, as a schedule would.

    Its model is good, and is now compared with the bad model that was blessed last.
    """
    served = repository(overridden)
    served.roll_back(None)
    served.roll_back(None)
    return workshop.run(*longer())


def repository(run: Run) -> ModelRepository:
    config = PushConfig("catsdogs", "/models/catsdogs", 5)
    return open_repository(str(run.pushed[-1].parent), config)


def verdict(workshop: Workshop, run: Run) -> Verdict:
    found = verdicts.read(workshop.artifacts(run, "QualityGate")["blessing"].uri)
    assert found is not None
    return found


def finished_epochs(run: Run) -> list[str]:
    return re.findall(r"(\S+: epoch \d+ of \d+) done,", run.log("Trainer"))


def raw_records(workshop: Workshop, run: Run, split: str) -> list[bytes]:
    return records(Path(workshop.artifacts(run, "ImageExampleGen")["examples"].uri), split)


def stored_pixels(workshop: Workshop, run: Run) -> np.ndarray:
    """Returns the pixels that Transform wrote for `eval`: uint8 [N, SIZE, SIZE, 3]."""
    transformed = records(Path(workshop.artifacts(run, "Transform")["transformed_examples"].uri), "eval")
    return np.stack([parse_transformed(record, SIZE)[0] for record in transformed])


class TestFirstRun:
    def test_all_steps_are_done_and_a_model_is_pushed(self, first: Run) -> None:
        assert first.steps("done") == STEPS
        [version] = first.pushed
        assert version.name in first.output
        assert first.record["outcome"]["push"]["path"] == str(version)

    def test_the_run_record_has_metrics_and_verdict(self, workshop: Workshop, first: Run) -> None:
        images = len(raw_records(workshop, first, "test"))
        shown = " ".join(first.output.split())
        found = verdict(workshop, first)
        report = str(first.report.relative_to(workshop.output.parent))
        for value in (f"{first.accuracy:.2%}", f"{images} ", found.sentence.rstrip("."), report):
            assert value in shown
        assert found.sentence in html.unescape(first.report.read_text())
        assert first.report.with_name("model_card.md").is_file()

    def test_every_image_is_in_one_split(self, workshop: Workshop, first: Run) -> None:
        splits = [
            set(feature(features.ENCODED, raw_records(workshop, first, split)))
            for split in ("train", "eval", "test")
        ]
        assert sum(map(len, splits)) == len(set.union(*splits)) == IMAGES

    def test_plain_tensorflow_predicts_jpeg_bytes(self, workshop: Workshop, first: Run) -> None:
        images = feature(features.ENCODED, raw_records(workshop, first, "test"))
        given = predict(first.pushed[0], images)

        assert set(given) == {"dog_probability", "label"}
        probability = given["dog_probability"]
        assert probability.dtype == np.float32
        assert probability.shape == (len(images),)
        assert probability.std() > 0.05  # predictions depend on the images
        assert list(given["label"]) == [b"dog" if p >= 0.5 else b"cat" for p in probability]

    def test_the_pushed_model_has_the_recorded_accuracy(self, workshop: Workshop, first: Run) -> None:
        raw = raw_records(workshop, first, "test")
        given = predict(first.pushed[0], feature(features.ENCODED, raw))["label"]
        right = given == np.array(feature(features.CLASS_NAME, raw), object)
        assert right.mean() == pytest.approx(first.accuracy, abs=1e-9)

    def test_bytes_examples_and_training_input_agree(self, workshop: Workshop, first: Run) -> None:
        [version] = first.pushed
        raw = raw_records(workshop, first, "eval")
        recipe = TrainingConfig(image_size=SIZE)
        network = batch_norm_folding.fold_batch_norm(
            model.build(backbones.build(recipe.backbone, SIZE, None), recipe)
        )
        weights = tf.train.Checkpoint(weights=[variable.value for variable in network.variables])
        stored = weights.read(str(version / "variables" / "variables"))
        stored.assert_existing_objects_matched()

        from_bytes = predict(version, feature(features.ENCODED, raw))["dog_probability"]
        serve_examples = tf.saved_model.load(str(version)).signatures[EXAMPLES_SIGNATURE]
        from_examples = serve_examples(examples=tf.constant(raw))["dog_probability"]
        as_trained = model.add_augmentation(network, recipe)(stored_pixels(workshop, first), training=False)

        np.testing.assert_allclose(from_examples, from_bytes, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(as_trained[:, 0], from_bytes, rtol=0, atol=TOLERANCE)

    def test_the_manifest_names_the_run_of_the_version(self, first: Run) -> None:
        manifest = Manifest.from_json((first.pushed[0] / "manifest.json").read_bytes())
        assert first.folder is not None
        assert manifest.run_id == first.folder.name
        assert manifest.metrics["accuracy"] == pytest.approx(first.accuracy)
        assert manifest.signatures == (CLASS_ACTIVATION_SIGNATURE, "serving_default", EXAMPLES_SIGNATURE)
        assert len(manifest.data_fingerprint or "") == len(manifest.code_fingerprints["trainer"]) == 64
        assert warmup.REQUESTS_FILE in manifest.files
        assert repository(first).damage(manifest.version) is None


class TestUnchangedRun:
    def test_everything_is_cached(self, unchanged: Run) -> None:
        assert unchanged.status == 0, unchanged.output
        assert unchanged.steps("cached") == STEPS - LOOKUPS

    def test_nothing_is_pushed_twice(self, first: Run, unchanged: Run) -> None:
        assert unchanged.pushed == first.pushed
        assert first.pushed[0].name in unchanged.output

    def test_the_model_is_not_compared_with_itself(self, workshop: Workshop, unchanged: Run) -> None:
        assert set(workshop.artifacts(unchanged, "BlessedModel")) == {"candidate"}
        assert set(workshop.artifacts(unchanged, "BestModel")) == {"candidate"}
        assert not {"newest", "best"} & set(workshop.artifacts(unchanged, "PredictionTable"))


class TestKilledAfterAnEdit:
    def test_the_edit_reruns_transform_and_later_nodes_only(self, killed: Run) -> None:
        assert killed.status == -signal.SIGKILL, killed.output
        for step in BEFORE_TRANSFORM:
            assert f"{step}: cached" in killed.output
        assert "Transform: done" in killed.output
        assert "Trainer: running" in killed.output

    def test_the_edited_code_ran(self, workshop: Workshop, first: Run, resumed: Run) -> None:
        before, after = (stored_pixels(workshop, run).astype(int) for run in (first, resumed))
        assert set(np.unique(before - after)) == {0, 1}  # rounded and truncated

    def test_no_process_survives(self, survivors: list[str]) -> None:
        assert survivors == []

    def test_the_next_run_reuses_every_finished_step(self, resumed: Run) -> None:
        assert resumed.status == 0, resumed.output
        assert resumed.steps("cached") == BEFORE_TRANSFORM | {"Transform"}

    def test_training_resumes_after_the_last_finished_epoch(self, killed: Run, resumed: Run) -> None:
        before = finished_epochs(killed)
        [*_, number] = re.findall(r"frozen: resuming after epoch (\d+) of 60", resumed.log("Trainer"))
        assert before
        assert int(number) - len(before) in {0, 1}  # an epoch is logged just after its checkpoint is saved
        frozen = [f"frozen: epoch {n} of 60" for n in range(int(number) + 1, 61)]
        assert finished_epochs(resumed) == [*frozen, "fine-tuning: epoch 1 of 1"]

    def test_cached_features_are_reused(self, killed: Run, resumed: Run) -> None:
        for split in ("train", "eval"):
            assert f"features of {split}: cached" not in killed.log("Trainer")
            assert f"features of {split}: cached" in resumed.log("Trainer")

    def test_the_resumed_run_pushes(self, first: Run, killed: Run, resumed: Run) -> None:
        assert killed.pushed == first.pushed
        assert resumed.pushed[:-1] == first.pushed
        assert resumed.pushed[-1].name in resumed.output

    def test_the_model_is_compared_with_the_first_one(
        self, workshop: Workshop, first: Run, resumed: Run
    ) -> None:
        artifacts = workshop.artifacts(resumed, "PredictionTable")
        # It is the best one, too, and ML Metadata keeps one of the two names that it goes in under.
        baselines = {artifacts[name].id for name in ("newest", "best") if name in artifacts}
        assert baselines == {workshop.artifacts(first, "Trainer")["model"].id}
        assert artifacts["model"].id == workshop.artifacts(resumed, "Trainer")["model"].id
        judged = verdict(workshop, resumed)
        assert judged.baselines == {"newest": "compared", "best": "same"}
        difference = judged.comparisons["newest"].difference
        assert difference.value == pytest.approx(resumed.accuracy - first.accuracy)


class TestRefusedModel:
    def test_changed_training_settings_rerun_from_the_trainer(self, refused: Run) -> None:
        assert refused.steps("cached") == BEFORE_TRANSFORM | {"Transform"}
        assert refused.steps("done") >= LOOKUPS | {"Trainer", "PredictionTable", "Evaluator", "QualityGate"}

    def test_the_command_reports_the_refusal(self, refused: Run) -> None:
        assert refused.status == 3, refused.output
        assert refused.record["state"] == "refused"
        assert refused.folder is not None
        assert f"catsdogs bless {refused.folder.name}" in refused.output

    def test_it_is_refused_for_being_worse_than_its_baselines(
        self, workshop: Workshop, resumed: Run, refused: Run
    ) -> None:
        found = verdict(workshop, refused)
        assert {rule.name for rule in found.failed} == {"newest model", "best model"}
        assert refused.accuracy < resumed.accuracy - 0.1
        assert str(found.comparisons["newest"].only_baseline_right) in found.sentence
        assert found.sentence in " ".join(refused.output.split())
        assert found.sentence in html.unescape(refused.report.read_text())

    def test_it_is_not_served(self, resumed: Run, refused: Run) -> None:
        assert refused.record["outcome"]["push"] is None
        assert refused.pushed == resumed.pushed


class TestOverriddenRefusal:
    def test_nodes_before_the_gate_are_reused_from_the_refused_run(
        self, refused: Run, overridden: Run
    ) -> None:
        assert overridden.status == 0, overridden.output
        run_again = {"BlessedModel", "BestModel", "QualityGate", "EvaluationReport", "Pusher"}
        assert overridden.steps("done") == run_again
        assert overridden.steps("cached") == JUDGEMENT - run_again
        assert overridden.steps("reused") >= {"ImageExampleGen", "DataGate", "Trainer"}
        assert len(overridden.pushed) == len(refused.pushed) + 1

    def test_the_override_is_recorded_and_displayed(
        self, workshop: Workshop, refused: Run, overridden: Run
    ) -> None:
        found = verdict(workshop, overridden)
        assert found.override is not None
        assert (found.override.by, found.override.reason) == ("ada", "A test of the lamp.")
        assert found.override.lifted == ("newest model", "best model")
        assert not found.best
        assert refused.folder is not None
        assert overridden.folder is not None
        kept = json.loads((refused.folder / "overrides.jsonl").read_text())
        assert (kept["by"], kept["run"]) == ("ada", overridden.folder.name)
        assert kept["rules"] == ["newest model", "best model"]
        assert overridden.pushed[-1].name in overridden.output
        assert "A test of the lamp." in overridden.report.read_text()

    def test_it_is_listed_as_overridden(self, workshop: Workshop, overridden: Run) -> None:
        listed = json.loads(workshop.run_command("runs", "--json"))
        assert [run["verdict"] for run in listed[:3]] == ["overridden", "refused", "blessed"]
        assert overridden.folder is not None
        assert [run["overridden_in"] for run in listed[:3]] == [None, overridden.folder.name, None]
        assert workshop.run_command("report") == f"{overridden.report}\n"


class TestGoodModelAfterTheBadOne:
    def test_it_is_blessed_after_the_overridden_model(self, workshop: Workshop, rolled_back: Run) -> None:
        found = verdict(workshop, rolled_back)
        assert found.blessed
        assert found.comparisons["newest"].only_candidate_right > 0
        assert not found.comparisons["newest"].worse

    def test_it_is_compared_with_the_overridden_and_the_best_model(
        self, workshop: Workshop, first: Run, refused: Run, rolled_back: Run
    ) -> None:
        artifacts = workshop.artifacts(rolled_back, "PredictionTable")
        assert artifacts["newest"].id == workshop.artifacts(refused, "Trainer")["model"].id
        assert artifacts["best"].id == workshop.artifacts(first, "Trainer")["model"].id


def test_a_rolled_back_model_is_not_pushed_again(resumed: Run, rolled_back: Run) -> None:
    assert rolled_back.status == 3, rolled_back.output
    assert rolled_back.record["outcome"]["blessed"]
    assert resumed.pushed[-1].name in rolled_back.output
    assert rolled_back.pushed == resumed.pushed[:-1]


def test_no_temporary_files_remain(workshop: Workshop, rolled_back: Run) -> None:
    assert workshop.processes() == []
    assert not list((workshop.output / "checkpoints").glob("*"))
