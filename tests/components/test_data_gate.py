from __future__ import annotations

import json
from pathlib import Path

import pytest
import tensorflow_data_validation as tfdv
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx import v1 as tfx
from tfx.orchestration import metadata
from tfx.types import standard_artifacts

from components.approved_baseline.strategy import NewestApproved
from components.artifacts import DataVerdict
from components.curated_schema.component import CuratedSchema, fill
from components.data_gate import component, wording
from components.data_gate.component import DataGate, accepted, find_drift, with_class_shift
from components.data_gate.statistics_options import counted_features
from components.errors import DataRejected
from tests.components.counted_examples import Columns, columns, statistics, write
from trainer import features

SCHEMA = with_class_shift(fill(["cat", "dog"]), 0.1)


def found(values: Columns, split: str = "train", class_names: tuple[str, str] = ("cat", "dog")) -> list[str]:
    """What the gate says of pictures that are compared with the schema alone."""
    counted = statistics(values)
    schema = fill(class_names)
    return [
        problem.sentence
        for problem in wording.describe(split, tfdv.validate_statistics(counted, schema), schema, counted)
    ]


def found_drift(values: Columns, before: Columns) -> list[str]:
    counted, baseline = statistics(values), statistics(before)
    drift = find_drift(counted, baseline, SCHEMA)
    return [problem.sentence for problem in wording.describe("train", drift, SCHEMA, counted, baseline)]


def with_values(name: str, values: list, count: int = 100) -> Columns:
    """Sound pictures, but the first ones have these values."""
    sound = columns(count)
    sound[name] = values + sound[name][len(values) :]
    return sound


def test_sound_data_have_no_problems() -> None:
    assert found(columns()) == []
    assert found_drift(columns(seed=1), columns(seed=2)) == []


@pytest.mark.parametrize(("present", "absent"), [("cat", "dog"), ("dog", "cat"), ("ant", "bee")])
def test_a_class_is_missing(present: str, absent: str) -> None:
    names = ("ant", "bee") if "bee" in (present, absent) else ("cat", "dog")
    positives = float(present == names[1])
    assert found(columns(40, positives, names), "eval", names) == [
        f"split 'eval' has no picture of class '{absent}' ('{present}' (40)); every split needs both "
        f"classes; add pictures of '{absent}', or, if other splits have some, try another data.split.seed"
    ]


def test_a_class_that_is_not_in_the_settings() -> None:
    [sentence] = found(with_values(features.CLASS_NAME, ["fox", "fox"]))
    assert sentence == (
        "split 'train' has 2 of 100 pictures (2 %) with an unexpected class name: 'fox' (2); expected is "
        "'cat' or 'dog'; correct the source, or name its two classes in data.class_names"
    )


def test_labels_out_of_range() -> None:
    [sentence] = found(with_values(features.LABEL, [2, 2, 7, -1]))
    assert sentence == (
        "split 'train' has 4 of 100 pictures (4 %) with a label out of range: '2' (2), '7' (1), '-1' (1); "
        "expected is 0 to 1; correct the source: a label is the position of the class in data.class_names"
    )


def test_too_many_pictures_of_another_mode() -> None:
    [sentence] = found(with_values(features.MODE, ["L"] * 15 + ["CMYK"] * 5))
    assert sentence == (
        "split 'train' has 20 of 100 pictures (20 %) with an unexpected colour mode: 'L' (15), 'CMYK' (5); "
        "expected is 'RGB', with at most 5 % of others; convert these pictures to RGB, or change its "
        "expectation in components/curated_schema/schema.pbtxt if that is meant"
    )


def test_a_few_pictures_of_another_mode_are_fine() -> None:
    assert found(with_values(features.MODE, ["L", "RGBA", "CMYK", "P"])) == []


def test_another_file_format() -> None:
    [sentence] = found(with_values(features.FORMAT, ["gif"]))
    assert "1 of 100 pictures (1 %) with an unexpected file format: 'gif' (1)" in sentence
    assert "expected is 'jpeg' or 'png'; convert" in sentence


def test_nearly_all_pictures_are_dark() -> None:
    assert found(with_values(features.BRIGHTNESS_RANGE, ["dark"] * 89)) == []
    [sentence] = found(with_values(features.BRIGHTNESS_RANGE, ["dark"] * 95))
    assert "95 of 100 pictures (95 %) with an unexpected brightness range: 'dark' (95)" in sentence
    assert "at most 90 % of others; look whether" in sentence


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        (features.HEIGHT, [20], "height out of range: the values go from 20 to 4"),
        (features.WIDTH, [31], "expected is 32 or more; remove these pictures"),
        (features.BYTE_SIZE, [3], "file size in bytes out of range: the values go from 3 to"),
        (features.BRIGHTNESS, [-0.5, 127.0], "brightness out of range: the values go from -0.5 to 127; "),
        (features.BRIGHTNESS, [127.0], "expected is 0 to 1; correct the source, or"),
        (features.CONTRAST, [0.7], "expected is 0 to 0.5"),
        (features.CONTRAST, [float("nan")], "has pictures whose contrast is not a number"),
        (
            features.LABEL,
            ["1"] * 100,
            "has a label of type STRING in its pictures; expected is INT; correct the",
        ),
        (features.BRIGHTNESS, [1] * 100, "has a brightness of type INT in its pictures; expected is FLOAT"),
        (
            features.CLASS_NAME,
            [b"\xff"] * 50,
            "whose class name is not UTF-8 text; expected is 'cat' or 'dog'",
        ),
        (features.MODE, [None] * 3, "3 of 100 pictures (3 %) without a colour mode (image/mode)"),
        (features.WIDTH, [None] * 3, "3 of 100 pictures (3 %) without a width (image/width)"),
        (features.HEIGHT, [[100, 200]], "more or fewer values than one for the height (image/height)"),
        (features.MODE, [[]], "more or fewer values than one for the colour mode (image/mode)"),
    ],
)
def test_other_faults_in_values(name: str, values: list, words: str) -> None:
    [sentence] = found(with_values(name, values))
    assert sentence.startswith("split 'train' has ")
    assert words in sentence


def test_a_feature_is_missing_altogether() -> None:
    values = columns()
    del values[features.CONTRAST]
    [sentence] = found(values)
    assert (
        "has 100 of 100 pictures (100 %) without a contrast (image/contrast); expected is one value"
        in sentence
    )


def test_a_feature_that_the_schema_does_not_know() -> None:
    counted = statistics(columns())
    schema = fill(["cat", "dog"])
    [index] = [i for i, column in enumerate(schema.feature) if column.name == features.CONTRAST]
    del schema.feature[index]
    [problem] = wording.describe("train", tfdv.validate_statistics(counted, schema), schema, counted)
    assert "the unknown feature image/contrast; add it to components/" in problem.sentence


def test_an_empty_split() -> None:
    empty = statistics({name: values[:0] for name, values in columns().items()})
    for counted in (empty, statistics_pb2.DatasetFeatureStatisticsList()):
        anomalies = anomalies_pb2.Anomalies(data_missing=True)
        [problem] = wording.describe("test", anomalies, SCHEMA, counted)
        assert problem.sentence == (
            "split 'test' is empty; every split needs at least 2 pictures; add some, or give it a larger "
            "share in data.split"
        )


def test_a_split_of_one_picture() -> None:
    sentences = found(columns(1), "test")
    assert sentences[0].startswith(
        "split 'test' has only 1 picture; every split needs at least 2 pictures; add"
    )
    assert sentences[1].startswith("split 'test' has no picture of class ")


def test_class_shares_far_from_the_last_accepted_data() -> None:
    [sentence] = found_drift(columns(1000, positives=0.2), columns(800, positives=0.5))
    assert sentence == (
        "the share of class 'cat' in split 'train' is 80 % of 1,000 pictures, and was 50 % of 800 pictures "
        "in the last accepted data; expected is a change of at most 10 %; look whether pictures were lost or "
        "mislabelled, or, if the change is meant, accept it with --set data.max_class_shift=0.31 "
        "(catsdogs submit: --param max_class_shift=0.31) in the runs on these data"
    )


def test_the_proposed_setting_lets_the_shift_pass() -> None:
    now, before = statistics(columns(1000, positives=0.2)), statistics(columns(800, positives=0.5))
    assert find_drift(now, before, SCHEMA).anomaly_info
    assert not find_drift(now, before, with_class_shift(SCHEMA, 0.31)).anomaly_info


def test_the_tolerance_is_set_in_a_copy_of_the_schema() -> None:
    schema = fill(["cat", "dog"])
    tolerant = with_class_shift(schema, 0.25)
    assert schema == fill(["cat", "dog"])
    [column] = [column for column in tolerant.feature if column.name == features.CLASS_NAME]
    assert column.drift_comparator.infinity_norm.threshold == 0.25


def test_a_tolerable_change_of_class_shares() -> None:
    assert found_drift(columns(1000, positives=0.45), columns(800, positives=0.5)) == []


def test_brightness_that_does_not_overlap_with_the_last_accepted_data() -> None:
    values = columns()
    values[features.BRIGHTNESS] = [0.02] * 100
    [sentence] = found_drift(values, columns())
    assert "the brightness of the pictures in split 'train' hardly overlaps" in sentence
    assert (
        "0.02 on average, and it was 0.48; expected is a Jensen-Shannon divergence of at most 0.6" in sentence
    )


def test_drift_leaves_out_what_the_schema_alone_finds() -> None:
    values = with_values(features.LABEL, [7])
    assert found(values)
    assert found_drift(values, columns()) == []


def test_an_anomaly_nobody_foresaw_is_told_in_tfdv_s_words() -> None:
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info[features.MODE].reason.add(
        type=anomalies_pb2.AnomalyInfo.FEATURE_COVERAGE_TOO_LOW,
        short_description="Low coverage.",
        description="Coverage is 0.1. ",
    )
    [problem] = wording.describe("eval", anomalies, SCHEMA, statistics(columns()))
    assert problem.sentence.startswith("split 'eval', colour mode: Low coverage: Coverage is 0.1; convert")


def test_the_message_of_one_problem_is_one_sentence() -> None:
    problem = wording.Problem("train", "label", "split 'train' has labels out of range; correct them")
    assert wording.message([problem, problem]) == (
        "The data were rejected: split 'train' has labels out of range; correct them."
    )


def test_the_message_of_several_begins_with_all_of_them() -> None:
    problems = [
        wording.Problem("train", "label", "first"),
        wording.Problem("eval", "colour mode", "second"),
    ]
    assert wording.message(problems) == (
        "The data were rejected for 2 reasons (label in 'train', colour mode in 'eval'):\n  - first.\n  - "
        "second."
    )


def test_the_verdict_on_the_first_data() -> None:
    verdict = accepted({"train": statistics(columns(80)), "eval": statistics(columns(10, 0.4))}, None, None)
    assert verdict["compared_with"] is None
    assert verdict["splits"]["eval"] == {
        "pictures": 10,
        "classes": {"cat": {"pictures": 6, "share": 0.6}, "dog": {"pictures": 4, "share": 0.4}},
    }
    assert verdict["summary"] == (
        "90 pictures accepted (train 80, eval 10); no data were accepted before, so there was nothing to "
        "compare them with"
    )


def test_the_verdict_says_what_was_compared() -> None:
    now, before = statistics(columns(100, 0.55)), statistics(columns(200))
    verdict = accepted({"train": now}, before, find_drift(now, before, SCHEMA))
    compared = verdict["compared_with"]
    assert compared["pictures"] == 200
    assert compared["classes"]["dog"] == {"pictures": 100, "share": 0.5}
    assert compared["distances"]["class name"] == {"value": pytest.approx(0.05), "allowed": 0.1}
    assert 0 <= compared["distances"]["brightness"]["value"] < 0.3
    assert verdict["summary"].endswith("class shares moved by 5 points since the last accepted data")
    json.dumps(verdict)


class Runs:
    """Runs ingest (of prepared examples), statistics and validation under LocalDagRunner."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection = metadata.sqlite_metadata_connection_config(str(folder / "metadata.sqlite"))

    def examples(self, name: str, **splits: Columns) -> Path:
        folder = self._folder / "data" / name
        for split, values in splits.items():
            write(values, folder / split / "examples")
        return folder

    def run(self, source: Path, max_class_shift: float = 0.1, origin: str = "sample") -> None:
        splits = [
            tfx.proto.Input.Split(name=folder.name, pattern=f"{folder.name}/*")
            for folder in sorted(source.iterdir())
        ]
        ingest = tfx.components.ImportExampleGen(
            input_base=str(source), input_config=tfx.proto.Input(splits=splits)
        )
        statistics_gen = tfx.components.StatisticsGen(
            examples=ingest.outputs["examples"], stats_options=counted_features()
        )
        schema = CuratedSchema(class_names=["cat", "dog"])
        validator = tfx.components.ExampleValidator(
            statistics=statistics_gen.outputs["statistics"], schema=schema.outputs["schema"]
        )
        last = tfx.dsl.Resolver(
            strategy_class=NewestApproved,
            config={"subject_id_property": component.STATISTICS_ID, "where": {component.SOURCE: origin}},
            candidate=statistics_gen.outputs["statistics"],
            subject=tfx.dsl.Channel(type=standard_artifacts.ExampleStatistics),
            approval=tfx.dsl.Channel(type=DataVerdict),
        ).with_id("AcceptedData")
        gate = DataGate(
            statistics=statistics_gen.outputs["statistics"],
            schema=schema.outputs["schema"],
            anomalies=validator.outputs["anomalies"],
            source=origin,
            max_class_shift=max_class_shift,
            baseline_statistics=last.outputs["subject"],
        )
        tfx.orchestration.LocalDagRunner().run(
            tfx.dsl.Pipeline(
                pipeline_name="validation",
                pipeline_root=str(self._folder / "artifacts"),
                components=[ingest, statistics_gen, schema, validator, last, gate],
                enable_cache=True,
                metadata_connection_config=self._connection,
                beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=unused"],
            )
        )

    def states(self) -> dict[str, str]:
        """The state of the last execution of every component."""
        store = metadata_store.MetadataStore(self._connection)
        state = metadata_store_pb2.Execution.State.Name
        return {
            kind.name.rpartition(".")[2]: state(
                max(store.get_executions_by_type(kind.name), key=lambda e: e.id).last_known_state
            )
            for kind in store.get_execution_types()
        }

    def verdict(self) -> dict:
        """What the last execution of DataGate has put out."""
        store = metadata_store.MetadataStore(self._connection)
        [kind] = [kind.name for kind in store.get_execution_types() if kind.name.endswith(".DataGate")]
        execution = max(store.get_executions_by_type(kind), key=lambda e: e.id)
        events = store.get_events_by_execution_ids([execution.id])
        outputs = [e.artifact_id for e in events if e.type == metadata_store_pb2.Event.OUTPUT]
        [artifact] = store.get_artifacts_by_id(outputs)
        return json.loads((Path(artifact.uri) / "verdict.json").read_text())


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


@pytest.mark.slow
def test_each_run_is_compared_with_the_last_accepted_other_one(runs: Runs) -> None:
    first = runs.examples("first", train=columns(80), eval=columns(20), test=columns(20))
    second = runs.examples("second", train=columns(100, 0.55), eval=columns(20), test=columns(20))
    shifted = runs.examples("shifted", train=columns(100, 0.8), eval=columns(20), test=columns(20))

    runs.run(first)
    assert runs.verdict()["compared_with"] is None
    assert runs.states()["DataGate"] == "COMPLETE"

    runs.run(first)  # unchanged: not compared with itself, and nothing is done again
    assert runs.verdict()["compared_with"] is None
    assert {name for name, state in runs.states().items() if state != "CACHED"} <= {"Resolver"}

    runs.run(second)
    assert runs.verdict()["compared_with"]["pictures"] == 80
    runs.run(second)
    assert runs.states()["DataGate"] == "CACHED"
    assert runs.verdict()["compared_with"]["pictures"] == 80

    runs.run(first)  # back to the first data, whose statistics come from the cache
    assert runs.states()["StatisticsGen"] == "CACHED"
    assert runs.states()["DataGate"] == "COMPLETE"
    assert runs.verdict()["compared_with"]["pictures"] == 100

    with pytest.raises(
        DataRejected, match=r"^The data were rejected: the share of class 'dog' in .* is 80 % "
    ):
        runs.run(shifted)
    assert runs.states()["DataGate"] == "FAILED"
    with pytest.raises(DataRejected, match=r"data\.max_class_shift=0\.31"):
        runs.run(shifted)  # rejected data do not become the baseline, nor does the failure wear off
    runs.run(shifted, origin="elsewhere")  # of data from elsewhere nothing has been accepted yet
    assert runs.verdict()["compared_with"] is None
    runs.run(shifted, max_class_shift=0.31)
    assert runs.verdict()["compared_with"]["pictures"] == 80
    # the tolerance is the gate's alone: what is made with the schema is not made anew
    assert {name for name, state in runs.states().items() if state != "CACHED"} <= {"Resolver", "DataGate"}


@pytest.mark.slow
def test_every_fault_of_every_split_stops_the_run_in_one_message(runs: Runs) -> None:
    source = runs.examples(
        "faulty",
        train=with_values(features.LABEL, [7]),
        eval=columns(20, positives=0),
        test={name: [] for name in columns()},
    )
    with pytest.raises(DataRejected) as caught:
        runs.run(source)
    first, *lines = str(caught.value).splitlines()
    assert first == (
        "The data were rejected for 3 reasons (class name in 'eval', no pictures in 'test', label in "
        "'train'):"
    )
    assert "split 'eval' has no picture of class 'dog'" in lines[0]
    assert "split 'test' is empty" in lines[1]
    assert "split 'train' has 1 of 100 pictures (1 %) with a label out of range: '7' (1)" in lines[2]
    assert caught.value.exit_status == 4
