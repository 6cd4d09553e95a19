"""The second document: what pods get of Kubernetes, which KFP's own specification has no words for."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes

from pipelines.kubeflow.spec import GPU_STEP, Spec
from pipelines.settings.kubeflow import KubeflowConfig


def of(spec: Spec, settings: KubeflowConfig) -> dict[str, Any]:
    """Returns the platform document that belongs to a specification."""
    executors = {
        component["executorLabel"]: json_format.MessageToDict(_pod(step, settings))
        for step, component in spec["components"].items()
    }
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _pod(step: str, settings: KubeflowConfig) -> kubernetes.KubernetesExecutorConfig:
    pod = kubernetes.KubernetesExecutorConfig(
        image_pull_policy="IfNotPresent",  # a digest never names another image
        active_deadline_seconds=settings.task(step).timeout_seconds,
    )
    for volume in settings.volumes:
        mount = pod.pvc_mount.add(constant=volume.claim, mount_path=volume.mount_path)
        mount.pvc_name_parameter.runtime_value.constant.string_value = volume.claim
    for secret in settings.secrets:
        variables = pod.secret_as_env.add(secret_name=secret.name, optional=False)
        variables.secret_name_parameter.runtime_value.constant.string_value = secret.name
        for variable, key in secret.env.items():
            variables.key_to_env.add(env_var=variable, secret_key=key)
    for name in settings.images.pull_secrets:
        pull = pod.image_pull_secret.add(secret_name=name)
        pull.secret_name_parameter.runtime_value.constant.string_value = name
    if step == GPU_STEP:
        _place_on_gpu_node(pod, settings)
    return pod


def _place_on_gpu_node(pod: kubernetes.KubernetesExecutorConfig, settings: KubeflowConfig) -> None:
    if settings.gpu.node_selector:
        pod.node_selector.labels.update(settings.gpu.node_selector)
    for toleration in settings.gpu.tolerations:
        pod.tolerations.add(**toleration.model_dump(exclude_none=True))
    if settings.shared_memory:
        # KFP's backend has no code for the proto's own enabled_shared_memory.
        pod.empty_dir_mounts.add(
            volume_name="shared-memory",
            mount_path="/dev/shm",
            medium="Memory",
            size_limit=settings.shared_memory,
        )
