from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from pipelines.kubeflow.container import own_code, step_key
from pipelines.kubeflow.container.executor_input import prepare
from pipelines.kubeflow.container.paths import Paths
from pipelines.kubeflow.container.step_key import key
from tests.pipelines.kubeflow.container.pod import Artifact, Cluster

EXECUTOR = "components.data_gate.component.Executor"
SPEC = {"artifacts": {"statistics": {"artifactType": {"instanceSchema": "title: tfx.ExampleStatistics"}}}}
OUTPUTS = {"verdict": "title: catsdogs.DataVerdict"}
PARAMETERS = {"source": "folder /data", "max_class_shift": 0.1}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def statistics(cluster: Cluster, contents: bytes = b"counted") -> Artifact:
    return cluster.put("statistics", {"Split-train/FeatureStats.pb": contents}, {"split_names": '["train"]'})


def prepared(
    cluster: Cluster, *, parameters: dict[str, Any] = PARAMETERS, **inputs: Artifact
) -> dict[str, Any]:
    return prepare(cluster.message("DataGate", OUTPUTS, inputs, parameters), SPEC)


def key_of(cluster: Cluster, message: dict[str, Any], executor: str = EXECUTOR) -> str:
    return key(executor, message, Paths(cluster.folder))


def test_the_same_step_of_another_run_has_the_same_key(cluster: Cluster) -> None:
    """Names, URIs and what the launcher adds differ; contents and properties do not."""
    first, second = statistics(cluster), statistics(cluster)
    assert first.uri != second.uri
    assert key_of(cluster, prepared(cluster, statistics=first)) == key_of(
        cluster, prepared(cluster, statistics=second)
    )


Change = Callable[[Cluster, dict[str, Any]], None]


def edit_file(cluster: Cluster, message: dict[str, Any]) -> None:
    [artifact] = message["inputs"]["artifacts"]["statistics"]["artifacts"]
    (cluster.local(artifact["uri"]) / "Split-train" / "FeatureStats.pb").write_bytes(b"counted anew")


def rename_file(cluster: Cluster, message: dict[str, Any]) -> None:
    [artifact] = message["inputs"]["artifacts"]["statistics"]["artifacts"]
    folder = cluster.local(artifact["uri"])
    (folder / "Split-train").rename(folder / "Split-eval")


def approve_anew(cluster: Cluster, message: dict[str, Any]) -> None:
    message["inputs"]["artifacts"]["statistics"]["artifacts"][0]["metadata"]["approved_in"] = "2026-11-22"


def drop_input(cluster: Cluster, message: dict[str, Any]) -> None:
    message["inputs"]["artifacts"].clear()


def change_parameter(cluster: Cluster, message: dict[str, Any]) -> None:
    message["inputs"]["parameterValues"]["max_class_shift"] = 0.2


def add_parameter(cluster: Cluster, message: dict[str, Any]) -> None:
    message["inputs"]["parameterValues"]["data_fingerprint"] = "1"


def change_output_type(cluster: Cluster, message: dict[str, Any]) -> None:
    message["outputs"]["artifacts"]["verdict"]["artifacts"][0]["type"] = {"schemaTitle": "tfx.Artifact"}


@pytest.mark.parametrize(
    "change",
    [
        edit_file,
        rename_file,
        approve_anew,
        drop_input,
        change_parameter,
        add_parameter,
        change_output_type,
    ],
)
def test_each_ingredient_gives_another_key(cluster: Cluster, change: Change) -> None:
    message = prepared(cluster, parameters=dict(PARAMETERS), statistics=statistics(cluster))
    before = key_of(cluster, message)
    assert key_of(cluster, copy.deepcopy(message)) == before
    change(cluster, message)
    assert key_of(cluster, message) != before


def test_another_executor_gives_another_key(cluster: Cluster) -> None:
    message = prepared(cluster, statistics=statistics(cluster))
    assert key_of(cluster, message) != key_of(
        cluster, message, "components.curated_schema.component.Executor"
    )


def test_other_packages_or_code_give_another_key(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    message = prepared(cluster, statistics=statistics(cluster))
    before = key_of(cluster, message)
    with monkeypatch.context() as patch:
        patch.setattr(step_key, "_environment", lambda: ["3.13.0", "tfx==1.22.0"])
        assert key_of(cluster, message) != before
    with monkeypatch.context() as patch:
        patch.setattr(own_code, "fingerprint_behind", lambda names: ",".join(names))
        assert key_of(cluster, message) != before


def test_the_environment_names_versions() -> None:
    assert any(line.startswith("tfx==") for line in step_key._environment())


def test_what_a_package_brings_along_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = tmp_path / "brought-1.0.dist-info"
    brought.mkdir()
    (brought / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    before = step_key._environment()
    monkeypatch.syspath_prepend(str(tmp_path))
    step_key._environment.cache_clear()
    assert step_key._environment() == before


def test_another_process_finds_the_same_key(cluster: Cluster) -> None:
    """As a later run's does: neither the order of sets nor that of folders counts."""
    message = prepared(cluster, statistics=statistics(cluster))
    program = (
        "from pathlib import Path; from pipelines.kubeflow.container import paths, step_key; "
        f"print(step_key.key({EXECUTOR!r}, {message!r}, paths.Paths(Path({str(cluster.folder)!r}))))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).resolve().parents[4],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == key_of(cluster, message)


def test_code_of_functions_in_parameters_counts(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(own_code, "fingerprint_behind", lambda names: asked.append(list(names)))
    key_of(cluster, prepared(cluster, parameters={"run_fn": "trainer.run.run_fn"}))
    [names] = asked
    assert names[:2] == [EXECUTOR, "trainer.run.run_fn"]


def test_code_behind_every_executor_counts(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """TFX imports our types of artifacts by their names, which no import statement of a component shows."""
    reached: set[str] = set()
    fingerprint_behind = own_code.fingerprint_behind

    def note(names: Iterable[str]) -> str:
        names = list(names)
        reached.update(path.relative_to(own_code._ROOT).as_posix() for path in own_code._reached(names))
        return fingerprint_behind(names)

    monkeypatch.setattr(own_code, "fingerprint_behind", note)
    key_of(cluster, prepared(cluster), "tfx.components.statistics_gen.executor.Executor")
    assert {"components/artifacts.py", "pipelines/kubeflow/container/executor_input.py"} <= reached
