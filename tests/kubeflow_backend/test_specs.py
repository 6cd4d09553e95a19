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
    ("spoil", "named"),
    [
        (_resolver, "count"),
        (_unknown_field, "cacheOptions"),
        (_old_schema, "2.0.0"),
        (_unknown_producer, "Gone"),
        (_circle, "Count"),
        (_underscore, "Count_letters"),
        (_name, "Small"),
    ],
)
def test_what_the_backend_would_not_take_is_refused(
    tmp_path: Path, spoil: Callable[[Document], None], named: str
) -> None:
    document = small_pipeline()
    spoil(document)
    with pytest.raises(Refused, match=named):
        load(write(tmp_path, document))


@pytest.mark.parametrize(
    ("given", "named"), [({"texts": "x"}, "texts"), ({"text": 3}, "STRING"), ({}, "text")]
)
def test_parameters_of_a_run_that_it_would_not_take_are_refused(
    tmp_path: Path, given: dict[str, Any], named: str
) -> None:
    document = small_pipeline()
    del document["root"]["inputDefinitions"]["parameters"]["text"]["defaultValue"]
    with pytest.raises(Refused, match=named):
        load(write(tmp_path, document)).values(given)
