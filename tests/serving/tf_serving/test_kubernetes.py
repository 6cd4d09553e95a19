from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.serving.tf_serving.shipped import (
    HERE,
    MANIFESTS,
    ROOT,
    Misfit,
    changed,
    documents,
    manifest,
    manifests,
    validate,
)


@pytest.mark.parametrize("document", manifests(), ids=lambda one: f"{one['kind']}/{one['metadata']['name']}")
def test_manifests_match_the_schema_of_kubernetes(document: dict[str, Any]) -> None:
    validate(document)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", "spec.strategy.rollingUpdate.maxUnavailable", "maxUnavailible"),
        ("Deployment", "spec.template.spec.terminationGracePeriodSeconds", "terminationGracePeriod"),
        ("Deployment", "spec.template.spec.containers.0.readinessProbe.periodSeconds", 0.5),
        (
            "Deployment",
            "spec.template.spec.containers.0.securityContext.readOnlyRootFilesystem",
            "readOnlyRoot",
        ),
        ("Service", "spec.ports.0.targetPort", "target"),
        ("HorizontalPodAutoscaler", "spec.behavior.scaleDown.stabilizationWindowSeconds", "window"),
        ("PodDisruptionBudget", "spec.minAvailable", "minimum"),
    ],
)
def test_a_mistake_in_a_manifest_fails(kind: str, path: str, value: Any) -> None:
    with pytest.raises(Misfit):
        validate(changed(manifest(kind), path, value))


def test_the_kustomization_includes_every_manifest_and_both_files() -> None:
    [kustomization] = documents(HERE / "kustomization.yaml")
    assert {HERE / name for name in kustomization["resources"]} == set(MANIFESTS)
    [generator] = kustomization["configMapGenerator"]
    assert generator["files"] == ["batching.config", "monitoring.config"]
    for component in ("batching", "bucket"):
        [document] = documents(HERE / "kubernetes" / component / "kustomization.yaml")
        assert document["kind"] == "Component"
        assert document["patches"][0]["target"] == {"kind": "Deployment", "name": "catsdogs"}


Rendered = Callable[[Path], dict[str, dict[str, Any]]]


@pytest.fixture
def rendered(require_tool: Callable[[str], str]) -> Rendered:
    """`rendered(folder)`: the valid documents that Kustomize makes of a folder, by their kind."""
    kubectl = require_tool("kubectl")

    def render(folder: Path) -> dict[str, dict[str, Any]]:
        command = [kubectl, "kustomize", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found = [one for one in yaml.safe_load_all(done.stdout) if one]
        for one in found:
            validate(one)
        return {one["kind"]: one for one in found}

    return render


def test_kustomize_mounts_the_configuration_into_the_pods(
    rendered: Rendered,
) -> None:
    made = rendered(HERE)
    pod = made["Deployment"]["spec"]["template"]["spec"]
    [config] = [one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one]
    assert config == made["ConfigMap"]["metadata"]["name"] != "catsdogs-tensorflow-serving"  # with its hash
    for name, text in made["ConfigMap"]["data"].items():
        assert text == (HERE / name).read_text()


def test_the_example_overlay_replaces_the_claim_by_a_bucket(tmp_path: Path, rendered: Rendered) -> None:
    shutil.copytree(HERE, tmp_path / "catsdogs/serving/tf_serving")
    (tmp_path / "my-serving").mkdir()
    shutil.copy(HERE / "kubernetes/bucket/overlay.example.yaml", tmp_path / "my-serving/kustomization.yaml")
    pod = rendered(tmp_path / "my-serving")["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["serviceAccountName"] == "catsdogs-serving"
    assert not any("persistentVolumeClaim" in volume for volume in pod["volumes"])
    assert [mount["name"] for mount in container["volumeMounts"]] == ["config", "tmp"]
    [models] = [one["value"] for one in container["env"] if one["name"] == "MODELS"]
    assert models.startswith("gs://")
    assert models in (ROOT / "docs/serving.md").read_text()
    assert container["args"][-2:] == [
        "--enable_batching=true",
        "--batching_parameters_file=/config/batching.config",
    ]
