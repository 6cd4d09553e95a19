from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components import artifacts
from pipelines.kubeflow.container.executor_input import normalize_executor_input, with_local_paths, with_uris
from pipelines.kubeflow.container.paths import Paths
from tests.pipelines.kubeflow.container.pod import Artifact, Cluster

STATISTICS = "title: tfx.ExampleStatistics\ntype: object\n"
VERDICT = "title: catsdogs.DataVerdict\ntype: object\n"
SPEC = {
    "artifacts": {
        "statistics": {"artifactType": {"instanceSchema": STATISTICS}},
        "baseline_statistics": {"artifactType": {"instanceSchema": STATISTICS}},
        "verdict": {"artifactType": {"instanceSchema": VERDICT}},
    }
}


def message(tmp_path: Path, **inputs: Artifact) -> dict[str, Any]:
    return Cluster(tmp_path).message("Gate", {"verdict": VERDICT}, inputs)


def types(prepared: dict[str, Any], side: str) -> dict[str, str]:
    return {
        name: found["artifacts"][0]["type"]["instanceSchema"].partition("\n")[0]
        for name, found in prepared[side]["artifacts"].items()
    }


@pytest.mark.parametrize("sent", [{}, {"instanceSchema": ""}, {"schemaTitle": ""}, None])
def test_empty_types_are_filled_from_the_specification(tmp_path: Path, sent: dict[str, str] | None) -> None:
    given = message(tmp_path, statistics=Artifact("minio://b/s"))
    given["inputs"]["artifacts"]["statistics"]["artifacts"][0]["type"] = sent
    assert types(normalize_executor_input(given, SPEC), "inputs") == {
        "statistics": "title: tfx.ExampleStatistics"
    }


def test_types_that_are_there_stay(tmp_path: Path) -> None:
    given = message(tmp_path, statistics=Artifact("minio://b/s"))
    given["inputs"]["artifacts"]["statistics"]["artifacts"][0]["type"] = {"schemaTitle": "tfx.Examples"}
    [artifact] = normalize_executor_input(given, SPEC)["inputs"]["artifacts"]["statistics"]["artifacts"]
    assert artifact["type"] == {"schemaTitle": "tfx.Examples"}


def test_our_types_are_called_as_python_imports_them(tmp_path: Path) -> None:
    prepared = normalize_executor_input(message(tmp_path, verdict=Artifact("minio://b/v")), SPEC)
    assert types(prepared, "inputs") == {"verdict": "title: components.artifacts.DataVerdict"}
    assert types(prepared, "outputs") == {"verdict": "title: components.artifacts.DataVerdict"}


def test_every_type_of_ours_can_be_imported_so() -> None:
    of_module = vars(artifacts).values()
    own = [kind for kind in of_module if getattr(kind, "__module__", "") == artifacts.__name__]
    assert len(own) >= 3
    assert [kind.TYPE_NAME for kind in own] == [f"catsdogs.{kind.__name__}" for kind in own]


def test_an_absent_baseline_is_no_input(tmp_path: Path) -> None:
    present, absent = Artifact("minio://b/s"), Artifact("minio://b/a", {"absent": 1})
    with_absent = normalize_executor_input(
        message(tmp_path, statistics=present, baseline_statistics=absent), SPEC
    )
    assert with_absent["inputs"]["artifacts"].keys() == {"statistics"}
    with_both = normalize_executor_input(
        message(tmp_path, statistics=present, baseline_statistics=present), SPEC
    )
    assert with_both["inputs"]["artifacts"].keys() == {"statistics", "baseline_statistics"}


def test_the_launcher_s_logs_are_no_output(tmp_path: Path) -> None:
    given = Cluster(tmp_path).message("Gate", {"verdict": VERDICT, "executor-logs": "title: system.Artifact"})
    assert normalize_executor_input(given, SPEC)["outputs"]["artifacts"].keys() == {"verdict"}


def test_a_step_without_inputs(tmp_path: Path) -> None:
    given = Cluster(tmp_path).message("Gate", {"verdict": VERDICT})
    del given["inputs"]
    assert normalize_executor_input(given, SPEC)["inputs"]["artifacts"] == {}


def test_what_was_given_is_left_alone(tmp_path: Path) -> None:
    given = message(tmp_path, statistics=Artifact("minio://b/s"))
    before = repr(given)
    with_local_paths(normalize_executor_input(given, SPEC), Paths(tmp_path))
    assert repr(given) == before


def test_uris_become_paths_and_uris_again(tmp_path: Path) -> None:
    prepared = normalize_executor_input(message(tmp_path, statistics=Artifact("minio://b/s")), SPEC)
    paths = Paths(tmp_path)
    local = with_local_paths(prepared, paths)
    [statistics] = local["inputs"]["artifacts"]["statistics"]["artifacts"]
    [verdict] = local["outputs"]["artifacts"]["verdict"]["artifacts"]
    assert statistics["uri"] == f"{tmp_path}/minio/b/s"
    assert verdict["uri"].startswith(f"{tmp_path}/minio/mlpipeline/")
    verdict["metadata"] = {"compared_with": statistics["uri"], "blessed": 1.0}
    output = with_uris({"artifacts": {"verdict": {"artifacts": [verdict]}}}, paths)
    [artifact] = output["artifacts"]["verdict"]["artifacts"]
    assert artifact["uri"] == prepared["outputs"]["artifacts"]["verdict"]["artifacts"][0]["uri"]
    assert artifact["metadata"] == {"compared_with": "minio://b/s", "blessed": 1.0}
