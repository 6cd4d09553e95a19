from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kubeflow_backend.errors import Refused
from tests.kubeflow_backend.small_pipeline import small_pipeline, write
from tests.kubeflow_backend.specs import load

Document = dict[str, Any]

PLATFORM: Document = {
    "platforms": {
        "kubernetes": {
            "deploymentSpec": {
                "executors": {
                    "count": {"nodeSelector": {"labels": {"pool": "gpu"}}, "imagePullPolicy": "Always"}
                }
            }
        }
    }
}


def test_producers_come_first_and_the_platform_document_is_read(tmp_path: Path) -> None:
    pipeline = load(write(tmp_path, small_pipeline(), PLATFORM))
    assert list(pipeline.tasks) == ["Words", "Count"]
    assert pipeline.tasks["Count"].upstream == ("Words",)
    assert pipeline.tasks["Count"].kubernetes.node_selector.labels["pool"] == "gpu"
    assert not pipeline.tasks["Words"].kubernetes.node_selector.labels


def _resolver(document: Document) -> None:
    document["deploymentSpec"]["executors"]["count"] = {"resolver": {"outputArtifactQueries": {}}}


def _unknown_field(document: Document) -> None:
    document["root"]["dag"]["tasks"]["Count"]["cacheOptions"] = {}


def _old_schema(document: Document) -> None:
    document["schemaVersion"] = "2.0.0"


def _unknown_producer(document: Document) -> None:
    document["root"]["dag"]["tasks"]["Count"]["dependentTasks"] = ["Gone"]


def _circle(document: Document) -> None:
    document["root"]["dag"]["tasks"]["Words"]["dependentTasks"] = ["Count"]


def _underscore(document: Document) -> None:
    tasks = document["root"]["dag"]["tasks"]
    tasks["Count_letters"] = tasks.pop("Count")


def _name(document: Document) -> None:
    document["pipelineInfo"]["name"] = "Small"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_resolver, "non-container and non-importer executor not implemented"),
        (_unknown_field, 'no field named "cacheOptions"'),
        (_old_schema, "KFP only supports schema version 2.1.0, but the pipeline spec has 2.0.0"),
        (_unknown_producer, "unknown producer task 'Gone' in DAG"),
        (_circle, "tasks wait for each other"),
        (_underscore, "invalid task name 'Count_letters'"),
        (_name, "invalid v2 pipeline spec: name 'Small'"),
    ],
)
def test_what_the_backend_would_not_take_is_refused(
    tmp_path: Path, spoil: Callable[[Document], None], sentence: str
) -> None:
    document = small_pipeline()
    spoil(document)
    with pytest.raises(Refused, match=sentence):
        load(write(tmp_path, document))


def test_unknown_fields_of_the_platform_document_are_refused(tmp_path: Path) -> None:
    platform = {
        "platforms": {
            "kubernetes": {"deploymentSpec": {"executors": {"count": {"nodeSelectors": {"pool": "gpu"}}}}}
        }
    }
    with pytest.raises(Refused, match='no field named "nodeSelectors"'):
        load(write(tmp_path, small_pipeline(), platform))


class TestParametersOfARun:
    def test_defaults_and_given_values(self, tmp_path: Path) -> None:
        pipeline = load(write(tmp_path, small_pipeline()))
        assert pipeline.values({})["text"].string_value == "Katze & Hund"
        assert pipeline.values({"text": "Hund"})["text"].string_value == "Hund"

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"texts": "x"}, "parameter.s. provided are not required by pipeline: texts"),
            ({"text": 3}, "input parameter text requires type STRING, but got 3"),
        ],
    )
    def test_others_are_refused(self, tmp_path: Path, given: dict[str, Any], sentence: str) -> None:
        with pytest.raises(Refused, match=sentence):
            load(write(tmp_path, small_pipeline())).values(given)

    def test_a_missing_value_is_refused(self, tmp_path: Path) -> None:
        document = small_pipeline()
        del document["root"]["inputDefinitions"]["parameters"]["text"]["defaultValue"]
        with pytest.raises(Refused, match="parameter text is not optional, yet has neither default value"):
            load(write(tmp_path, document)).values({})
