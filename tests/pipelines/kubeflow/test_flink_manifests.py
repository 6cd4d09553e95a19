"""The manifests of the Flink cluster, against the schemas of Kubernetes and of Flink's operator."""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from pipelines.settings.loading import load
from tests.serving.tf_serving.shipped import ROOT, Misfit, changed, validate

FOLDER = ROOT / "pipelines" / "kubeflow" / "flink"
OPERATOR_API = "org.apache.flink:flink-kubernetes-operator-api:1.10.0"
CRD = "META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"


def find(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(document for document in documents if document["kind"] == kind)


@pytest.fixture(scope="module")
def rendered(require_tool: Callable[[str], str]) -> list[dict[str, Any]]:
    """The documents that Kustomize makes of the folder."""
    command = [require_tool("kubectl"), "kustomize", str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def cluster(rendered: list[dict[str, Any]]) -> dict[str, Any]:
    return find(rendered, "FlinkDeployment")


@pytest.fixture(scope="module")
def worker_pool(cluster: dict[str, Any]) -> dict[str, Any]:
    [container] = cluster["spec"]["taskManager"]["podTemplate"]["spec"]["containers"]
    return dict(container)


@pytest.fixture(scope="module")
def operator_schema(
    require_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> jsonschema.Draft202012Validator:
    """The schema of FlinkDeployment from the operator's own library; it refuses unknown fields."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "catsdogs-tests"
    jar = cache / f"{'-'.join(OPERATOR_API.split(':')[1:])}.jar"
    if not jar.exists():
        folder = tmp_path_factory.mktemp("maven")
        command = [require_tool("mvn"), "-q", "-B", COPY, f"-Dartifact={OPERATOR_API}"]
        done = subprocess.run(
            [*command, f"-DoutputDirectory={folder}"], capture_output=True, text=True, cwd=folder, timeout=300
        )
        if done.returncode and not os.environ.get("REQUIRE_TOOLS"):
            pytest.skip(f"needs {OPERATOR_API} of Maven Central, which cannot be fetched")
        assert done.returncode == 0, done.stdout
        cache.mkdir(parents=True, exist_ok=True)
        (folder / jar.name).replace(jar)
    definition = yaml.load(zipfile.ZipFile(jar).read(CRD), yaml.CSafeLoader)  # half a megabyte
    [api] = [one for one in definition["spec"]["versions"] if one["name"] == "v1beta1"]
    return jsonschema.Draft202012Validator(forbid_unknown_fields(api["schema"]["openAPIV3Schema"]))


def forbid_unknown_fields(schema: Any) -> Any:
    """Returns the schema for a document that the API server would take without pruning a field."""
    if isinstance(schema, list):
        return [forbid_unknown_fields(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: forbid_unknown_fields(value) for name, value in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        strict.setdefault("additionalProperties", False)
    return strict


def test_the_cluster_matches_the_schema_of_the_operator(
    cluster: dict[str, Any], operator_schema: jsonschema.Draft202012Validator
) -> None:
    assert cluster["apiVersion"] == "flink.apache.org/v1beta1"
    operator_schema.validate({"spec": cluster["spec"]})
    for template in (cluster["spec"]["podTemplate"], cluster["spec"]["taskManager"]["podTemplate"]):
        # The operator's schema knows no required fields inside of pods; that of Kubernetes does.
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": template["spec"]})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.flinkVersion", "version"),
        ("spec.mode", ["session"]),
        ("spec.taskManager.replicas", "count"),
        ("spec.taskManager.replicas", 0.5),
        ("spec.jobManager.resource.memory", "mem"),
        ("spec.flinkConfiguration", [2]),
        ("spec.taskManager.podTemplate.spec.containers.0.volumeMounts", "mounts"),
        ("spec.taskManager.podTemplate.spec.containers.0.livenessProbe.tcpSocket", "socket"),
    ],
)
def test_a_mistake_in_the_cluster_fails(
    cluster: dict[str, Any], operator_schema: jsonschema.Draft202012Validator, path: str, value: Any
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        operator_schema.validate({"spec": changed(cluster, path, value)["spec"]})


def test_everything_else_matches_the_schema_of_kubernetes(rendered: list[dict[str, Any]]) -> None:
    others = [document for document in rendered if document["kind"] != "FlinkDeployment"]
    assert sorted(document["kind"] for document in others) == [
        *("Deployment", "NetworkPolicy", "NetworkPolicy", "Service")
    ]
    for document in others:
        validate(document)
    with pytest.raises(Misfit):
        validate(changed(find(others, "Deployment"), "spec.strategy.type", "kind"))


def test_the_workers_are_the_cpu_image_by_digest_with_the_pipelines_volumes(
    cluster: dict[str, Any], worker_pool: dict[str, Any]
) -> None:
    assert "@sha256:" in worker_pool["image"]
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in cluster["spec"]["taskManager"]["podTemplate"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    mounts = {
        claims[mount["name"]]: mount["mountPath"]
        for mount in worker_pool["volumeMounts"]
        if mount["name"] in claims
    }
    assert mounts == {volume.claim: volume.mount_path for volume in load("kubeflow", []).kubeflow.volumes}
    user = worker_pool["securityContext"]
    assert (user["runAsUser"], user["runAsGroup"]) == (1000, 0)


def test_the_versions_of_flink_and_beam_fit(rendered: list[dict[str, Any]], cluster: dict[str, Any]) -> None:
    flink = cluster["spec"]["flinkVersion"].removeprefix("v").replace("_", ".")
    assert cluster["spec"]["image"].startswith(f"flink:{flink}.")
    [job_server] = find(rendered, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert job_server["image"] == f"apache/beam_flink{flink}_job_server:{version('apache-beam')}"
