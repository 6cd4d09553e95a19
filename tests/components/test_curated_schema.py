from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from PIL import Image
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils
from tfx.types import standard_artifacts
from tfx.utils import io_utils
from tfx_bsl.tfxio import tf_example_record

from components.curated_schema.component import CuratedSchema, Executor, load_schema
from components.data_gate.anomaly_messages import SCHEMA_FILE
from components.image_example_gen.examples import serialize
from components.image_example_gen.inspection import inspect
from components.image_example_gen.sources.base import SourceImage
from tests.components.counted_examples import columns, statistics, write
from trainer import features


def test_every_stored_feature_is_described_once() -> None:
    described = Counter(column.name for column in load_schema(["cat", "dog"]).feature)
    assert described == Counter(
        [features.ENCODED, features.FILENAME, features.DIGEST, *features.IN_STATISTICS]
    )


def test_class_names_are_filled_in() -> None:
    column = next(
        column for column in load_schema(["ant", "bee"]).feature if column.name == features.CLASS_NAME
    )
    assert list(column.string_domain.value) == ["ant", "bee"]


@pytest.mark.parametrize("class_names", [("cat", "dog"), ("ant", "bee")])
@pytest.mark.parametrize("count", [4, 100])
def test_sound_data_have_no_anomalies(class_names: tuple[str, str], count: int) -> None:
    counted = statistics(columns(count, class_names=class_names))
    anomalies = tfdv.validate_statistics(counted, load_schema(class_names), previous_statistics=counted)
    assert not anomalies.anomaly_info
    assert not anomalies.HasField("dataset_anomaly_info")
    assert not anomalies.data_missing


def test_pixels_file_names_and_digests_are_not_counted() -> None:
    counted = {column.path.step[0] for column in statistics(columns(4)).datasets[0].features}
    assert counted == set(features.IN_STATISTICS)


def test_examples_parse_into_one_value_each(tmp_path: Path) -> None:
    schema = load_schema(["cat", "dog"])
    parsed = schema_utils.schema_as_feature_spec(schema).feature_spec
    kinds = {features.LABEL: tf.int64, features.BRIGHTNESS: tf.float32, features.ENCODED: tf.string}
    for name, kind in kinds.items():
        assert parsed[name] == tf.io.FixedLenFeature([], kind)
    assert all(isinstance(spec, tf.io.FixedLenFeature) for spec in parsed.values())

    write(columns(4), tmp_path / "examples")
    tfxio = tf_example_record.TFExampleRecord(str(tmp_path / "examples"), schema=schema)
    assert {name: spec.dtype for name, spec in tfxio.TensorAdapter().TypeSpecs().items()} == {
        name: spec.dtype for name, spec in parsed.items()
    }


def test_the_component_writes_the_schema(tmp_path: Path) -> None:
    component = CuratedSchema(class_names=("ant", "bee"))
    assert component.id == "CuratedSchema"
    output = standard_artifacts.Schema()
    output.uri = str(tmp_path)
    Executor().Do({}, {"schema": [output]}, dict(component.exec_properties))
    assert io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(str(tmp_path))) == load_schema(
        ["ant", "bee"]
    )


@pytest.mark.parametrize(
    ("edit", "differs"),
    [("# a remark", False), ("", False), ('feature { name: "image/colour" type: BYTES }', True)],
)
def test_another_schema_is_another_execution_and_a_remark_is_not(
    edit: str, differs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = CuratedSchema(class_names=("cat", "dog"))
    read_text, read_bytes = Path.read_text, Path.read_bytes

    def edited(path: Path) -> str:
        return f"\n{edit}\n" if path.name == "schema.pbtxt" else ""

    monkeypatch.setattr(Path, "read_text", lambda path, **options: read_text(path, **options) + edited(path))
    monkeypatch.setattr(Path, "read_bytes", lambda path: read_bytes(path) + edited(path).encode())
    after = CuratedSchema(class_names=("cat", "dog"))
    assert (before.exec_properties != after.exec_properties) is differs


def test_messages_name_the_file_that_holds_the_schema() -> None:
    file = Path(__file__).parents[2] / SCHEMA_FILE
    assert isinstance(io_utils.SchemaReader().read(str(file)), schema_pb2.Schema)


def test_domains_hold_what_ingest_writes() -> None:
    def written(luma: int, kind: str) -> dict[str, list]:
        buffer = io.BytesIO()
        Image.new("RGB", (40, 40), (luma, luma, luma)).save(buffer, kind)
        data = buffer.getvalue()
        image = SourceImage("a.jpg", "cats", 0, ("train",), lambda: data)
        example = tf.train.Example.FromString(serialize(image, data, inspect(data, 10_000), ["cat", "dog"]))
        return {
            name: list(getattr(feature, feature.WhichOneof("kind")).value)
            for name, feature in example.features.feature.items()
        }

    domains = {
        column.name: [value.encode() for value in column.string_domain.value]
        for column in load_schema(["cat", "dog"]).feature
    }
    dark, medium, bright = (written(luma, "JPEG")[features.BRIGHTNESS_RANGE] for luma in (10, 120, 240))
    assert domains[features.BRIGHTNESS_RANGE] == medium + bright
    assert dark not in (medium, bright)
    jpeg, png = written(120, "JPEG"), written(120, "PNG")
    assert domains[features.FORMAT] == jpeg[features.FORMAT] + png[features.FORMAT]
    assert domains[features.MODE] == jpeg[features.MODE] == png[features.MODE]
    assert jpeg.keys() == domains.keys()
