from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.kubeflow.container.executor_input import (
    normalize_executor_input,
    set_types,
    with_local_paths,
    with_uris,
)
from pipelines.kubeflow.container.paths import Paths
from tests.pipelines.kubeflow.container.pod import Artifact, Cluster

VERDICT = "catsdogs.DataVerdict"


def message(tmp_path: Path, **inputs: Artifact) -> dict[str, Any]:
    return Cluster(tmp_path).message("Gate", {"verdict": VERDICT}, inputs)


def test_types_are_those_that_tfx_can_import(tmp_path: Path) -> None:
    given = normalize_executor_input(message(tmp_path, statistics=Artifact("minio://b/s")))
    set_types(given, {"statistics": "tfx.a.Statistics"}, {"verdict": "components.artifacts.DataVerdict"})
    [statistics] = given["inputs"]["artifacts"]["statistics"]["artifacts"]
    [verdict] = given["outputs"]["artifacts"]["verdict"]["artifacts"]
    assert statistics["type"] == {"schemaTitle": "tfx.a.Statistics"}
    assert verdict["type"] == {"schemaTitle": "components.artifacts.DataVerdict"}


def test_the_launcher_s_logs_are_no_output(tmp_path: Path) -> None:
    given = Cluster(tmp_path).message("Gate", {"verdict": VERDICT, "executor-logs": "system.Artifact"})
    assert normalize_executor_input(given)["outputs"]["artifacts"].keys() == {"verdict"}


def test_a_step_without_inputs(tmp_path: Path) -> None:
    given = Cluster(tmp_path).message("Gate", {"verdict": VERDICT})
    del given["inputs"]
    assert normalize_executor_input(given)["inputs"] == {"artifacts": {}, "parameterValues": {}}


def test_what_was_given_is_left_alone(tmp_path: Path) -> None:
    given = message(tmp_path, statistics=Artifact("minio://b/s"))
    before = repr(given)
    with_local_paths(normalize_executor_input(given), Paths(tmp_path))
    assert repr(given) == before


def test_uris_become_paths_and_uris_again(tmp_path: Path) -> None:
    prepared = normalize_executor_input(message(tmp_path, statistics=Artifact("minio://b/s")))
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
