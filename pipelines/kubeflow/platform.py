"""Builds the second YAML document: the pods' Kubernetes settings, which a PipelineSpec cannot hold."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes

from pipelines.kubeflow.spec import GPU_TASK, Spec
from pipelines.settings.kubeflow import KubeflowConfig


def build_platform_config(spec: Spec, settings: KubeflowConfig) -> dict[str, Any]:
    """Returns the platform document for a pipeline specification."""
    executors = {
        component["executorLabel"]: json_format.MessageToDict(_pod(task, settings))
        for task, component in spec["components"].items()
    }
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _pod(task: str, settings: KubeflowConfig) -> kubernetes.KubernetesExecutorConfig:
    pod = kubernetes.KubernetesExecutorConfig(
        image_pull_policy="IfNotPresent",  # a digest always identifies the same image
        active_deadline_seconds=settings.task(task).timeout_seconds,
        # The user is the image's, 1000, or the one that the cluster assigns, as OpenShift does.
        security_context=kubernetes.SecurityContext(run_as_non_root=True),
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
    if task == GPU_TASK:
        _require_gpu_node(pod, settings)
    return pod


def _require_gpu_node(pod: kubernetes.KubernetesExecutorConfig, settings: KubeflowConfig) -> None:
    if settings.gpu.node_selector:
        pod.node_selector.labels.update(settings.gpu.node_selector)
    for toleration in settings.gpu.tolerations:
        pod.tolerations.add(**toleration.model_dump(exclude_none=True))
    if settings.shared_memory:
        # KFP's backend ignores the proto's own field enabled_shared_memory.
        pod.empty_dir_mounts.add(
            volume_name="shared-memory",
            mount_path="/dev/shm",
            medium="Memory",
            size_limit=settings.shared_memory,
        )
