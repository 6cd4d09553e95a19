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

from components.approvals.newest_approved import NewestApproved
from components.artifacts import DataVerdict
from components.curated_schema.component import CuratedSchema, load_schema
from components.data_gate import anomaly_messages, component
from components.data_gate.anomaly_messages import SCHEMA_FILE
from components.data_gate.component import DataGate, data_verdict, find_drift, with_max_class_shift
from components.errors import DataRejected
from components.statistics import statistics_options
from tests.components.counted_examples import Columns, columns, statistics, write
from trainer import features

SCHEMA = with_max_class_shift(load_schema(["cat", "dog"]), 0.1)


def find_problems(
    values: Columns, split: str = "train", class_names: tuple[str, str] = ("cat", "dog")
) -> list[str]:
    """Returns the gate's problems of images validated against the schema alone."""
    counted = statistics(values)
    schema = load_schema(class_names)
    return anomaly_messages.describe_anomalies(
        split, tfdv.validate_statistics(counted, schema), schema, counted
    )


def find_drift_problems(values: Columns, before: Columns) -> list[str]:
    counted, baseline = statistics(values), statistics(before)
    return anomaly_messages.describe_anomalies(
        "train", find_drift(counted, baseline, SCHEMA), SCHEMA, counted
    )


def with_values(name: str, values: list, count: int = 100) -> Columns:
    """Returns valid images, except that the first ones have these values."""
    sound = columns(count)
    sound[name] = values + sound[name][len(values) :]
    return sound


@pytest.mark.parametrize(
    "values",
    [
        columns(),
        columns(100, 0.5, ("cat", "dog"), seed=2),
        with_values(features.MODE, ["L", "RGBA", "CMYK", "P"]),
        with_values(features.BRIGHTNESS_RANGE, ["dark"] * 89),
    ],
)
def test_valid_data_has_no_problems(values: Columns) -> None:
    assert find_problems(values) == []
    assert find_drift_problems(values, columns()) == []


@pytest.mark.parametrize("names", [("cat", "dog"), ("ant", "bee")])
@pytest.mark.parametrize("positives", [0, 1])
def test_a_class_is_missing(names: tuple[str, str], positives: float) -> None:
    [problem] = find_problems(columns(40, positives, names), "eval", names)
    for named in (
        "'eval'",
        features.CLASS_NAME,
        "at least 2",
        f"found: {names[int(positives)]};",
        "data.split.seed",
    ):
        assert named in problem


@pytest.mark.parametrize(
    ("name", "values", "named"),
    [
        (features.CLASS_NAME, ["fox", "fox"], ["fox (~2%)", '"cat"', '"dog"', "data.class_names"]),
        (features.CLASS_NAME, [b"\xff"] * 50, ["UTF8", SCHEMA_FILE]),
        (features.LABEL, [2, 2, 7, -1], ["-1", "7", "min: 0 max: 1", "data.class_names"]),
        (features.LABEL, ["1"] * 100, ["INT", "STRING"]),
        (features.MODE, ["L"] * 15 + ["CMYK"] * 5, ["L (~15%)", "CMYK (~5%)", '"RGB"', SCHEMA_FILE]),
        (features.MODE, [None] * 3, ["0.97"]),
        (features.MODE, [[]], ["exactly one"]),
        (features.FORMAT, ["gif"], ["gif (~1%)", '"jpeg"', '"png"']),
        (features.BRIGHTNESS_RANGE, ["dark"] * 95, ["dark (~95%)", SCHEMA_FILE]),
        (features.HEIGHT, [20], ["20", "min: 32"]),
        (features.HEIGHT, [[100, 200]], ["exactly one"]),
        (features.WIDTH, [31], ["31", "min: 32"]),
        (features.WIDTH, [None] * 3, ["0.97"]),
        (features.BYTE_SIZE, [3], ["3", "min: 64"]),
        (features.BRIGHTNESS, [-0.5, 127.0], ["-0.5", "127", "max: 1"]),
        (features.BRIGHTNESS, [1] * 100, ["FLOAT", "INT"]),
        (features.CONTRAST, [0.7], ["0.7", "max: 0.5"]),
        (features.CONTRAST, [float("nan")], ["NaN", SCHEMA_FILE]),
    ],
)
def test_a_problem_names_split_feature_values_and_advice(name: str, values: list, named: list[str]) -> None:
    [problem] = find_problems(with_values(name, values))
    for value in ["'train'", name, *named]:
        assert value in problem


def test_a_feature_is_missing_altogether_or_unknown_to_the_schema() -> None:
    sound = columns()
    [problem] = find_problems({name: values for name, values in sound.items() if name != features.CONTRAST})
    assert features.CONTRAST in problem

    counted = statistics(sound)
    schema = load_schema(["cat", "dog"])
    [index] = [i for i, column in enumerate(schema.feature) if column.name == features.CONTRAST]
    del schema.feature[index]
    [problem] = anomaly_messages.describe_anomalies(
        "train", tfdv.validate_statistics(counted, schema), schema, counted
    )
    assert features.CONTRAST in problem
    assert SCHEMA_FILE in problem


@pytest.mark.parametrize(
    "counted",
    [
        statistics({name: values[:0] for name, values in columns().items()}),
        statistics_pb2.DatasetFeatureStatisticsList(),
    ],
)
@pytest.mark.parametrize("data_missing", [True, False])
def test_an_empty_split(counted: statistics_pb2.DatasetFeatureStatisticsList, data_missing: bool) -> None:
    anomalies = anomalies_pb2.Anomalies(data_missing=data_missing)
    [problem] = anomaly_messages.describe_anomalies("test", anomalies, SCHEMA, counted)
    assert "'test'" in problem
    assert "data.split" in problem


def test_a_split_of_one_image() -> None:
    few, one_class = find_problems(columns(1), "test")
    assert "'test'" in few
    assert "1 examples" in few
    assert features.CLASS_NAME in one_class


def test_class_shares_far_from_the_last_accepted_data() -> None:
    [problem] = find_drift_problems(columns(1000, positives=0.2), columns(800, positives=0.5))
    for named in ("'train'", features.CLASS_NAME, "0.3", "0.1", "cat", "data.max_class_shift"):
        assert named in problem
    assert find_drift_problems(columns(1000, positives=0.45), columns(800, positives=0.5)) == []


def test_a_larger_tolerance_lets_the_shift_pass() -> None:
    now, before = statistics(columns(1000, positives=0.2)), statistics(columns(800, positives=0.5))
    assert find_drift(now, before, SCHEMA).anomaly_info
    assert not find_drift(now, before, with_max_class_shift(SCHEMA, 0.31)).anomaly_info


def test_brightness_that_does_not_overlap_with_the_last_accepted_data() -> None:
    [problem] = find_drift_problems({**columns(), features.BRIGHTNESS: [0.02] * 100}, columns())
    for named in ("'train'", features.BRIGHTNESS, "is 1 ", "0.6", SCHEMA_FILE):
        assert named in problem


def test_drift_leaves_out_what_the_schema_alone_finds() -> None:
    values = with_values(features.LABEL, [7])
    assert find_problems(values)
    assert find_drift_problems(values, columns()) == []


def test_other_anomalies_use_tfdvs_description() -> None:
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info[features.MODE].reason.add(
        type=anomalies_pb2.AnomalyInfo.FEATURE_COVERAGE_TOO_LOW,
        short_description="Low coverage.",
        description="Coverage is 0.1. ",
    )
    [problem] = anomaly_messages.describe_anomalies("eval", anomalies, SCHEMA, statistics(columns()))
    for named in ("'eval'", features.MODE, "Coverage is 0.1", SCHEMA_FILE):
        assert named in problem


def test_the_message_has_a_line_for_each_of_several_problems() -> None:
    assert len(anomaly_messages.format_message(["one"]).splitlines()) == 1
    first, *others = anomaly_messages.format_message(["one", "two"]).splitlines()
    assert "2" in first
    assert [line.strip(" -.") for line in others] == ["one", "two"]


def test_verdict_on_the_first_data() -> None:
    verdict = data_verdict(
        {"train": statistics(columns(80)), "eval": statistics(columns(10, 0.4))}, None, None
    )
    assert verdict["compared_with"] is None
    assert verdict["splits"]["eval"] == {
        "pictures": 10,
        "classes": {"cat": {"pictures": 6, "share": 0.6}, "dog": {"pictures": 4, "share": 0.4}},
    }
    for named in ("90", "train 80", "eval 10"):
        assert named in verdict["summary"]


def test_verdict_contains_the_measured_drift() -> None:
    now, before = statistics(columns(100, 0.55)), statistics(columns(200))
    verdict = data_verdict({"train": now}, before, find_drift(now, before, SCHEMA))
    compared = verdict["compared_with"]
    assert compared["pictures"] == 200
    assert compared["classes"]["dog"] == {"pictures": 100, "share": 0.5}
    assert compared["distances"]["class name"] == {"value": pytest.approx(0.05), "allowed": 0.1}
    assert 0 <= compared["distances"]["brightness"]["value"] < 0.3
    assert " 5 percentage points" in verdict["summary"]
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
            examples=ingest.outputs["examples"], stats_options=statistics_options()
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
        """Returns the state of the last execution of every component."""
        store = metadata_store.MetadataStore(self._connection)
        state = metadata_store_pb2.Execution.State.Name
        return {
            kind.name.rpartition(".")[2]: state(
                max(store.get_executions_by_type(kind.name), key=lambda e: e.id).last_known_state
            )
            for kind in store.get_execution_types()
        }

    def verdict(self) -> dict:
        """Returns the verdict of the last execution of DataGate."""
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
    first = runs.examples("first", train=columns(80), eval=columns(20))
    second = runs.examples("second", train=columns(100, 0.55), eval=columns(20))
    shifted = runs.examples("shifted", train=columns(100, 0.8), eval=columns(20))

    runs.run(first)
    assert runs.verdict()["compared_with"] is None
    assert runs.states()["DataGate"] == "COMPLETE"

    runs.run(first)  # unchanged: not compared with itself, and nothing is done again
    assert runs.verdict()["compared_with"] is None
    assert {name for name, state in runs.states().items() if state != "CACHED"} <= {"Resolver"}

    runs.run(second)
    assert runs.verdict()["compared_with"]["pictures"] == 80

    runs.run(first)  # back to the first data, whose statistics come from the cache
    assert runs.states()["StatisticsGen"] == "CACHED"
    assert runs.states()["DataGate"] == "COMPLETE"
    assert runs.verdict()["compared_with"]["pictures"] == 100

    with pytest.raises(DataRejected, match=rf"'train', {features.CLASS_NAME}: .*data\.max_class_shift"):
        runs.run(shifted)
    assert runs.states()["DataGate"] == "FAILED"
    with pytest.raises(DataRejected):
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
    assert "3" in first
    for line, named in zip(
        lines, (["'eval'", features.CLASS_NAME], ["'test'"], ["'train'", features.LABEL, "7"]), strict=True
    ):
        assert all(value in line for value in named)
    assert caught.value.exit_status == 4
