"""The fingerprints are those that KFP's own tests expect (cacheutils/cache_test.go, driver/cache_test.go)."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from tests.kubeflow_backend.cache_key import cache_key, fingerprint
from tests.kubeflow_backend.go_json import dumps

MODEL = (
    "title: kfp.Model\ntype: object\nproperties:\n  framework:\n    type: string\n  framework_version:\n"
    "    type: string\n"
)
INPUTS: dict[str, Any] = {
    "parameterValues": {"message": "Some string value", "num_steps": 5},
    "artifacts": {
        "dataset_one": {"artifacts": [{"name": "1", "uri": "gs://some-bucket/dataset-one", "metadata": {}}]},
        "dataset_two": {"artifacts": [{"name": "2", "type": {"schemaTitle": "kfp.Model"}}]},
    },
}
OUTPUTS: dict[str, Any] = {
    "parameters": {
        "output_parameter_one": {"outputFile": "/tmp/outputs/output_parameter_one/data"},
        "output_parameter_two": {"outputFile": "/tmp/outputs/output_parameter_two/data"},
    },
    "artifacts": {
        "model": {
            "artifacts": [
                {
                    "name": "model",
                    "type": {"instanceSchema": MODEL},
                    "uri": "gs://my-bucket/some-prefix/pipeline/task/model",
                    "metadata": {"name": "model"},
                }
            ]
        },
        "metrics": {
            "artifacts": [
                {
                    "name": "metrics",
                    "type": {"schemaTitle": "kfp.Metrics"},
                    "uri": "gs://my-bucket/some-prefix/pipeline/task/metrics",
                    "metadata": {"name": "metrics"},
                }
            ]
        },
    },
}
TYPES = {"output_parameter_one": "STRING", "output_parameter_two": "INT"}


def parse(inputs: dict[str, Any] = INPUTS, outputs: dict[str, Any] = OUTPUTS) -> tuple[Any, Any]:
    return (
        json_format.ParseDict(inputs, pb.ExecutorInput.Inputs()),
        json_format.ParseDict(outputs, pb.ExecutorInput.Outputs()),
    )


def of(claims: tuple[str, ...] = ()) -> str:
    return fingerprint(cache_key(*parse(), TYPES, ["sh", "ec", "test"], "python:3.11", claims))


def test_it_is_the_fingerprint_of_kfp() -> None:
    assert of() == "b498530c9016917298999ec0b01f364a180f8a3862bea0fa672a383ca3f22e4e"


def test_volume_claims_count_whatever_their_order() -> None:
    assert of(claims=("a", "b")) == of(claims=("b", "a", "b")) != of()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.0, "5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e-7, "1.5e-7"),
        (
            {"b": "<ä> & \u2028\n", "a": [True, None]},
            '{"a":[true,null],"b":"\\u003cä\\u003e \\u0026 \\u2028\\n"}',
        ),
    ],
)
def test_json_is_written_as_go_writes_it(value: Any, text: str) -> None:
    assert dumps(value) == text
