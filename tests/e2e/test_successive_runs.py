"""One user's afternoon: a first run, the same again, changed settings, changed code, a kill, a bad model.

Each run builds on the ones before it, so the fixtures form a chain; the tests look at what they left behind.
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
from tests.e2e.served import answer, feature, records
from trainer import backbones, batch_norm_folding, features, model
from trainer.preprocessing import parse_transformed
from trainer.signatures import CLASS_ACTIVATION_SIGNATURE, EXAMPLES_SIGNATURE
from trainer.training_config import TrainingConfig

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SIZE = 96
PICTURES = 320
TOLERANCE = 1e-5


def settings(**changes: object) -> list[str]:
    """Returns the options of a run: small, but the real network, weights and phases."""
    values: dict[str, object] = {
        "data.sample.count": PICTURES,
        "data.split": "{train: 0.7, eval: 0.1, test: 0.2}",  # enough of test to tell a bad model from luck
        "training.image_size": SIZE,
        "training.frozen.epochs": 2,
        "training.fine_tuning.epochs": 1,
        "evaluation.min_accuracy": 0.6,
        "evaluation.min_slice_accuracy": 0.6,
        "evaluation.max_calibration_error": "null",  # three epochs on few pictures leave it unsure
        "evaluation.min_prediction_consistency": 0.5,  # and unsteady
    }
    values |= {name.replace("__", "."): value for name, value in changes.items()}
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def longer() -> list[str]:
    """Returns the options of a run that can be killed in its first phase: as far, in small steps."""
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
    """Preprocessing is edited; the run is killed while it trains, after its first epoch."""
    workshop.edit("trainer/preprocessing.py", "tf.round(resized)", "tf.floor(resized)")
    return workshop.run_until(lambda run: "frozen: epoch 1 of 60 done" in run.log("Trainer"), *longer())


@pytest.fixture(scope="module")
def survivors(workshop: Workshop, killed: Run) -> list[str]:
    """What lives on ten seconds after the kill."""
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
            evaluation__min_accuracy=0.1,  # nothing but the comparison speaks against it
            evaluation__min_slice_accuracy=0.1,
            evaluation__min_prediction_consistency=0.1,
        )
    )


@pytest.fixture(scope="module")
def overridden(workshop: Workshop, refused: Run) -> Run:
    return workshop.bless(refused, "--reason", "A test of the lamp.", "--by", "ada")


@pytest.fixture(scope="module")
def after_rollback(workshop: Workshop, overridden: Run) -> Run:
    """The newest two versions are taken off, and the run that made the older one is repeated.

    So would a schedule. Its model is a good one, and is now judged beside the bad one that was blessed last.
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
    """Returns what Transform stored of `eval`: uint8 [N, SIZE, SIZE, 3]."""
    transformed = records(Path(workshop.artifacts(run, "Transform")["transformed_examples"].uri), "eval")
    return np.stack([parse_transformed(record, SIZE)[0] for record in transformed])


class TestFirstRun:
    def test_all_steps_are_done_and_a_model_is_pushed(self, first: Run) -> None:
        assert first.steps("done") == STEPS
        [version] = first.pushed
        assert version.name in first.output
        assert first.summary["outcome"]["push"]["path"] == str(version)

    def test_the_summary_says_how_good_and_why(self, workshop: Workshop, first: Run) -> None:
        pictures = len(raw_records(workshop, first, "test"))
        shown = " ".join(first.output.split())
        found = verdict(workshop, first)
        report = str(first.report.relative_to(workshop.output.parent))
        for value in (f"{first.accuracy:.2%}", f"{pictures} ", found.sentence.rstrip("."), report):
            assert value in shown
        assert found.sentence in html.unescape(first.report.read_text())
        assert first.report.with_name("model_card.md").is_file()

    def test_every_picture_is_in_one_split(self, workshop: Workshop, first: Run) -> None:
        splits = [
            set(feature(features.ENCODED, raw_records(workshop, first, split)))
            for split in ("train", "eval", "test")
        ]
        assert sum(map(len, splits)) == len(set.union(*splits)) == PICTURES

    def test_plain_tensorflow_gets_answers_for_jpeg_bytes(self, workshop: Workshop, first: Run) -> None:
        pictures = feature(features.ENCODED, raw_records(workshop, first, "test"))
        given = answer(first.pushed[0], pictures)

        assert set(given) == {"dog_probability", "label"}
        probability = given["dog_probability"]
        assert probability.dtype == np.float32
        assert probability.shape == (len(pictures),)
        assert probability.std() > 0.05  # it looks at the pictures
        assert list(given["label"]) == [b"dog" if p >= 0.5 else b"cat" for p in probability]

    def test_the_pushed_model_is_as_good_as_the_summary_says(self, workshop: Workshop, first: Run) -> None:
        raw = raw_records(workshop, first, "test")
        given = answer(first.pushed[0], feature(features.ENCODED, raw))["label"]
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

        from_bytes = answer(version, feature(features.ENCODED, raw))["dog_probability"]
        serve_examples = tf.saved_model.load(str(version)).signatures[EXAMPLES_SIGNATURE]
        from_examples = serve_examples(examples=tf.constant(raw))["dog_probability"]
        as_trained = model.add_augmentation(network, recipe)(stored_pixels(workshop, first), training=False)

        np.testing.assert_allclose(from_examples, from_bytes, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(as_trained[:, 0], from_bytes, rtol=0, atol=TOLERANCE)

    def test_the_version_says_where_it_comes_from(self, first: Run) -> None:
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

    def test_the_model_is_not_judged_against_itself(self, workshop: Workshop, unchanged: Run) -> None:
        assert set(workshop.artifacts(unchanged, "BlessedModel")) == {"candidate"}
        assert set(workshop.artifacts(unchanged, "BestModel")) == {"candidate"}
        assert not {"newest", "best"} & set(workshop.artifacts(unchanged, "PredictionTable"))


class TestKilledAfterAnEdit:
    def test_the_edit_re_runs_transform_and_nothing_before_it(self, killed: Run) -> None:
        assert killed.status == -signal.SIGKILL, killed.output
        for step in BEFORE_TRANSFORM:
            assert f"{step}: cached" in killed.output
        assert "Transform: done" in killed.output
        assert "Trainer: running" in killed.output

    def test_the_edit_is_what_ran(self, workshop: Workshop, first: Run, resumed: Run) -> None:
        before, after = (stored_pixels(workshop, run).astype(int) for run in (first, resumed))
        assert set(np.unique(before - after)) == {0, 1}  # rounded against cut off

    def test_nothing_survives(self, survivors: list[str]) -> None:
        assert survivors == []

    def test_the_next_run_reuses_every_finished_step(self, resumed: Run) -> None:
        assert resumed.status == 0, resumed.output
        assert resumed.steps("cached") == BEFORE_TRANSFORM | {"Transform"}

    def test_training_goes_on_after_the_last_finished_epoch(self, killed: Run, resumed: Run) -> None:
        before = finished_epochs(killed)
        [*_, number] = re.findall(r"frozen: resuming after epoch (\d+) of 60", resumed.log("Trainer"))
        assert before
        assert int(number) - len(before) in {0, 1}  # an epoch is told just after it is kept
        frozen = [f"frozen: epoch {n} of 60" for n in range(int(number) + 1, 61)]
        assert finished_epochs(resumed) == [*frozen, "fine-tuning: epoch 1 of 1"]

    def test_kept_features_are_used_again(self, killed: Run, resumed: Run) -> None:
        for split in ("train", "eval"):
            assert f"features of {split}: cached" not in killed.log("Trainer")
            assert f"features of {split}: cached" in resumed.log("Trainer")

    def test_it_ends_pushed(self, first: Run, killed: Run, resumed: Run) -> None:
        assert killed.pushed == first.pushed
        assert resumed.pushed[:-1] == first.pushed
        assert resumed.pushed[-1].name in resumed.output

    def test_the_model_is_compared_with_the_first_one(
        self, workshop: Workshop, first: Run, resumed: Run
    ) -> None:
        asked = workshop.artifacts(resumed, "PredictionTable")
        # It is the best one, too, and ML Metadata keeps one of the two names that it goes in under.
        baselines = {asked[name].id for name in ("newest", "best") if name in asked}
        assert baselines == {workshop.artifacts(first, "Trainer")["model"].id}
        assert asked["model"].id == workshop.artifacts(resumed, "Trainer")["model"].id
        judged = verdict(workshop, resumed)
        assert judged.baselines == {"newest": "compared", "best": "same"}
        difference = judged.comparisons["newest"].difference
        assert difference.value == pytest.approx(resumed.accuracy - first.accuracy)


class TestRefusedModel:
    def test_other_training_re_runs_from_the_trainer_on(self, refused: Run) -> None:
        assert refused.steps("cached") == BEFORE_TRANSFORM | {"Transform"}
        assert refused.steps("done") >= LOOKUPS | {"Trainer", "PredictionTable", "Evaluator", "QualityGate"}

    def test_the_command_says_so(self, refused: Run) -> None:
        assert refused.status == 3, refused.output
        assert refused.summary["state"] == "refused"
        assert refused.folder is not None
        assert f"catsdogs bless {refused.folder.name}" in refused.output

    def test_it_is_refused_because_it_is_worse_than_the_good_ones(
        self, workshop: Workshop, resumed: Run, refused: Run
    ) -> None:
        found = verdict(workshop, refused)
        assert {rule.name for rule in found.failed} == {"newest model", "best model"}
        assert refused.accuracy < resumed.accuracy - 0.1
        assert str(found.comparisons["newest"].only_baseline_right) in found.sentence
        assert found.sentence in " ".join(refused.output.split())
        assert found.sentence in html.unescape(refused.report.read_text())

    def test_it_is_not_served(self, resumed: Run, refused: Run) -> None:
        assert refused.summary["outcome"]["push"] is None
        assert refused.pushed == resumed.pushed


class TestOverriddenRefusal:
    def test_all_is_taken_from_the_refused_run_up_to_the_gate(self, refused: Run, overridden: Run) -> None:
        assert overridden.status == 0, overridden.output
        anew = {"BlessedModel", "BestModel", "QualityGate", "EvaluationReport", "Pusher"}
        assert overridden.steps("done") == anew
        assert overridden.steps("cached") == JUDGEMENT - anew
        assert overridden.steps("reused") >= {"ImageExampleGen", "DataGate", "Trainer"}
        assert len(overridden.pushed) == len(refused.pushed) + 1

    def test_the_decision_is_kept_and_shown(self, workshop: Workshop, refused: Run, overridden: Run) -> None:
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

    def test_it_is_listed_as_what_it_is(self, workshop: Workshop, overridden: Run) -> None:
        listed = json.loads(workshop.tell("runs", "--json"))
        assert [run["verdict"] for run in listed[:3]] == ["overridden", "refused", "blessed"]
        assert overridden.folder is not None
        assert [run["overridden_in"] for run in listed[:3]] == [None, overridden.folder.name, None]
        assert workshop.tell("report") == f"{overridden.report}\n"


class TestGoodModelAfterTheBadOne:
    def test_it_is_blessed_though_the_bad_one_is_the_last(self, workshop: Workshop, rolled_back: Run) -> None:
        found = verdict(workshop, rolled_back)
        assert found.blessed
        assert found.comparisons["newest"].only_candidate_right > 0
        assert not found.comparisons["newest"].worse

    def test_it_is_compared_with_the_bad_one_and_with_the_best(
        self, workshop: Workshop, first: Run, refused: Run, rolled_back: Run
    ) -> None:
        asked = workshop.artifacts(rolled_back, "PredictionTable")
        assert asked["newest"].id == workshop.artifacts(refused, "Trainer")["model"].id
        assert asked["best"].id == workshop.artifacts(first, "Trainer")["model"].id


def test_what_was_rolled_back_is_not_pushed_again(resumed: Run, rolled_back: Run) -> None:
    assert rolled_back.status == 3, rolled_back.output
    assert rolled_back.summary["outcome"]["blessed"]
    assert resumed.pushed[-1].name in rolled_back.output
    assert rolled_back.pushed == resumed.pushed[:-1]


def test_nothing_is_left_behind(workshop: Workshop, rolled_back: Run) -> None:
    assert workshop.processes() == []
    assert not list((workshop.output / "checkpoints").glob("*"))
