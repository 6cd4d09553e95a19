from __future__ import annotations

from typing import Any, Literal

import pydantic
import pytest

from tests.serving.tf_serving.shipped import Misfit, Strict, changed, kserve, validate


class Rolling(Strict):
    type: Literal["RollingUpdate", "Recreate"]
    rollingUpdate: dict[str, int]  # noqa: N815


class ModelFormat(Strict):
    name: str
    version: str | None = None


class Model(Strict):
    """`spec.predictor.model`, of which everything but the first two is a container."""

    modelFormat: ModelFormat  # noqa: N815
    runtime: str
    image: str
    args: list[str]
    startupProbe: dict[str, Any]  # noqa: N815
    readinessProbe: dict[str, Any]  # noqa: N815
    livenessProbe: dict[str, Any]  # noqa: N815
    lifecycle: dict[str, Any]
    resources: dict[str, Any]
    securityContext: dict[str, Any]  # noqa: N815
    volumeMounts: list[dict[str, Any]]  # noqa: N815


class Predictor(Strict):
    """`spec.predictor`: KServe's own fields, and in the last four a pod's."""

    minReplicas: int  # noqa: N815
    maxReplicas: int  # noqa: N815
    scaleMetric: Literal["cpu", "memory", "concurrency", "rps"]  # noqa: N815
    scaleTarget: int  # noqa: N815
    timeout: int
    deploymentStrategy: Rolling  # noqa: N815
    model: Model
    automountServiceAccountToken: bool  # noqa: N815
    terminationGracePeriodSeconds: int  # noqa: N815
    securityContext: dict[str, Any]  # noqa: N815
    volumes: list[dict[str, Any]]


class InferenceServiceSpec(Strict):
    predictor: Predictor


class InferenceService(Strict):
    """The fields in use, after config/crd/full/serving.kserve.io_inferenceservices.yaml of KServe 0.20."""

    apiVersion: Literal["serving.kserve.io/v1beta1"]  # noqa: N815
    kind: Literal["InferenceService"]
    metadata: dict[str, Any]
    spec: InferenceServiceSpec


def validate_kserve(document: dict[str, Any]) -> None:
    service = InferenceService.model_validate(document)
    predictor = document["spec"]["predictor"]
    pod_fields = (
        "automountServiceAccountToken",
        "terminationGracePeriodSeconds",
        "securityContext",
        "volumes",
    )
    container = {
        name: value for name, value in predictor["model"].items() if name not in ("modelFormat", "runtime")
    }
    pod = {name: predictor[name] for name in pod_fields}
    pod["containers"] = [{"name": "kserve-container", **container}]
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": service.metadata, "spec": pod})


def test_the_inference_service_matches_kserve_and_kubernetes() -> None:
    validate_kserve(kserve())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.predictor.minReplicas", "minReplica"),
        ("spec.predictor.model.modelFormat.name", "nam"),
        ("spec.predictor.model.runtime", "servingRuntime"),
        ("spec.predictor.model.readinessProbe.httpGet", "http"),
        ("spec.predictor.volumes.0.persistentVolumeClaim.claimName", "claim"),
        ("spec.predictor.securityContext.runAsUser", [1000]),
    ],
)
def test_a_mistake_in_the_inference_service_fails(path: str, value: Any) -> None:
    with pytest.raises((pydantic.ValidationError, Misfit)):
        validate_kserve(changed(kserve(), path, value))
