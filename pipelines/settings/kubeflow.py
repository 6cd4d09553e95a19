"""The `kubeflow` settings: container images, resources, volumes, secrets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pipelines.settings import pipeline_root
from pipelines.settings.errors import did_you_mean
from pipelines.settings.pod_names import ClaimName, EnvironmentName, MountPath
from pipelines.settings.quantities import Cores, Memory, parse_quantity
from trainer.training_config import ConfigSection, Count

LOOKUP_TASK = "Lookup"
TASKS: dict[str, tuple[str, ...]] = {
    LOOKUP_TASK: (),
    "ImageExampleGen": ("ImageExampleGen",),
    "StatisticsGen": ("StatisticsGen", "CuratedSchema", "ExampleValidator"),
    "DataGate": ("DataGate",),
    "Transform": ("Transform",),
    "Trainer": ("Trainer",),
    "PredictionTable": ("PredictionTable", "Evaluator"),
    "ServingCheck": ("ServingCheck",),
    "QualityGate": ("QualityGate", "EvaluationReport"),
    "Pusher": ("Pusher",),
}
"""The tasks on Kubeflow, each with the nodes of the pipeline that it runs one after the other."""

TASK_OF_NODE = {node: task for task, nodes in TASKS.items() for node in nodes}
_FORMER_TASKS = {
    **dict.fromkeys(
        ("DataFingerprint", "AcceptedDataLookup", "BlessedModelLookup", "BestModelLookup"), LOOKUP_TASK
    ),
    **{"AcceptedData": "DataGate", "BlessedModel": "PredictionTable", "BestModel": "PredictionTable"},
}

_LONGEST_TIMEOUT = 30 * 24 * 3600
_LONGEST_PAUSES = 7 * 24 * 3600


def _root_without_query(root: str) -> str:
    checked = pipeline_root.check_pipeline_root(root)
    if "?" in checked:
        raise ValueError(
            f"{root!r} has a query: remove the question mark and what follows, and set "
            "kubeflow.artifact_store instead"
        )
    return checked


def _known_task(name: str) -> str:
    if name in TASKS:
        return name
    task = (TASK_OF_NODE | _FORMER_TASKS).get(name)
    if task is not None:
        raise ValueError(f"{name} has no task of its own: the task {task} runs it, so set {task} instead")
    raise ValueError(f"the pipeline has no task {name!r}.{did_you_mean(name, TASKS)}".removesuffix("."))


def _without_null(labels: Any) -> Any:
    if not isinstance(labels, dict):
        return labels
    return {name: value for name, value in labels.items() if value is not None}


def _matches(pattern: str, description: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"{text!r} is not {description}")
        return text

    return check


TaskName = Annotated[str, AfterValidator(_known_task)]
# By digest: KFP's cache would reuse the results of an earlier image with the same tag.
Image = Annotated[
    str,
    AfterValidator(
        _matches(r"[^\s@]+@sha256:[0-9a-f]{64}", "a container image by digest: write NAME@sha256:…")
    ),
]
Endpoint = Annotated[
    str,
    AfterValidator(
        _matches(
            r"[\w.-]+(:\d+)?",
            "a host with its port, such as minio.example.com:9000 (tls selects http or https)",
        )
    ),
]
Region = Annotated[str, AfterValidator(_matches(r"[\w-]+", "a region, such as eu-central-1"))]


class ImagesConfig(ConfigSection):
    """The container images, by digest.

    Attributes:
        cpu: Image of every task except the Trainer.
        gpu: Image of the Trainer.
        pull_secrets: Names of the secrets for pulling the images.
    """

    cpu: Image | None = None
    gpu: Image | None = None
    pull_secrets: tuple[str, ...] = ()


class ArtifactStoreConfig(ConfigSection):
    """The object store of an s3:// or minio:// pipeline root, if it is not KFP's own.

    Its access keys come from `secrets`, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

    Attributes:
        endpoint: Host and port; None means KFP's own object store.
        region: Region of the bucket.
        tls: Whether to use https.
    """

    endpoint: Endpoint | None = None
    region: Region = "us-east-1"
    tls: bool = True


class TaskConfig(ConfigSection):
    """Resources, timeout and retries of a task's pod; None means the default.

    Attributes:
        cpu_request: Cores that the node must have free.
        cpu_limit: Cores that the task may use.
        memory_request: Memory that the node must have free.
        memory_limit: Memory above which the task is killed.
        timeout_seconds: Time limit of each attempt, at most 30 days.
        retries: Number of retries after a failure; KFP 2.17 as installed retries deleted pods instead.
    """

    cpu_request: Cores | None = None
    cpu_limit: Cores | None = None
    memory_request: Memory | None = None
    memory_limit: Memory | None = None
    timeout_seconds: Annotated[int, Field(ge=1, le=_LONGEST_TIMEOUT)] | None = None
    retries: Annotated[int, Field(ge=0, le=100)] | None = None


class TolerationConfig(ConfigSection):
    """A node taint that the Trainer's pod tolerates.

    Attributes:
        key: The taint's key; None means any, with operator Exists.
        operator: Exists, or Equal for one value.
        value: The taint's value, with operator Equal.
        effect: What the taint does; None means any.
    """

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> TolerationConfig:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError(
                f"operator Exists takes no value, but value is {self.value!r}: remove it, or use Equal"
            )
        if self.operator == "Equal" and (self.key is None or self.value is None):
            raise ValueError("operator Equal needs a key and a value: add them, or use Exists")
        return self


class GpuConfig(ConfigSection):
    """The GPUs of the Trainer, and the nodes that have them.

    Attributes:
        type: The device's name in Kubernetes.
        count: Number of GPUs, all on one node.
        node_selector: Labels that the node must have; null removes a label that a configuration sets.
        tolerations: Node taints that the pod tolerates.
    """

    type: str = "nvidia.com/gpu"
    count: Count = 1
    node_selector: Annotated[dict[str, str], BeforeValidator(_without_null)] = Field(default_factory=dict)
    tolerations: tuple[TolerationConfig, ...] = ()


class VolumeConfig(ConfigSection):
    """A volume that is mounted in every task.

    Attributes:
        claim: Name of the PersistentVolumeClaim.
        mount_path: Path of the volume in the container.
    """

    claim: ClaimName
    mount_path: MountPath


class SecretConfig(ConfigSection):
    """A secret that every task has as environment variables.

    Attributes:
        name: Name of the secret.
        env: Environment variable → key of the secret.
    """

    name: str
    env: Annotated[dict[EnvironmentName, str], Field(min_length=1)]


class RetryConfig(ConfigSection):
    """Pauses before the retries of a failed task.

    Attributes:
        backoff_seconds: Pause before the first retry.
        backoff_factor: Factor by which each further pause is longer.
    """

    backoff_seconds: Annotated[int, Field(ge=0, le=3600)] = 30
    backoff_factor: Annotated[int, Field(ge=1, le=10)] = 2

    def pauses(self, retries: int) -> int:
        """Returns the total length of all pauses in seconds."""
        return sum(self.backoff_seconds * self.backoff_factor**retry for retry in range(retries))


class KubeflowConfig(ConfigSection):
    """Settings of the pipeline on Kubeflow Pipelines.

    Attributes:
        images: The container images.
        pipeline_root: Root of all artifacts: minio://, s3:// or gs://, with bucket and folder.
        artifact_store: The object store of the pipeline root.
        task_defaults: Resources, timeout and retries of every task.
        tasks: Per-task overrides of `task_defaults`.
        gpu: The GPUs of the Trainer.
        shared_memory: Size of the Trainer's /dev/shm; it counts towards the pod's memory. None means 64Mi.
        volumes: Volumes of every task.
        secrets: Secrets exposed to every task as environment variables.
        retry: Backoff between retries.
    """

    images: ImagesConfig = ImagesConfig()
    pipeline_root: Annotated[str, AfterValidator(_root_without_query)] | None = None
    artifact_store: ArtifactStoreConfig = ArtifactStoreConfig()
    task_defaults: TaskConfig = TaskConfig()
    tasks: dict[TaskName, TaskConfig] = Field(default_factory=dict)
    gpu: GpuConfig = GpuConfig()
    shared_memory: Memory | None = None
    volumes: tuple[VolumeConfig, ...] = ()
    secrets: tuple[SecretConfig, ...] = ()
    retry: RetryConfig = RetryConfig()

    def task(self, name: str) -> TaskConfig:
        """Returns the configuration of a task, or of the task that runs a node, over `task_defaults`."""
        task = TASK_OF_NODE.get(name, name)
        own = self.tasks.get(task, TaskConfig()).model_dump(exclude_none=True)
        return self.task_defaults.model_copy(update=own)

    def on_volume(self, path: PurePath) -> bool:
        """Returns True if the path is on one of the volumes."""
        return any(
            PurePosixPath(path).is_relative_to(PurePosixPath(volume.mount_path)) for volume in self.volumes
        )

    @model_validator(mode="after")
    def _consistent(self) -> KubeflowConfig:
        for name in TASKS:
            self._check_task(name)
        memory = self.task("Trainer").memory_limit
        if self.shared_memory and memory and parse_quantity(self.shared_memory) >= parse_quantity(memory):
            raise ValueError(
                f"shared_memory is {self.shared_memory} and counts towards the Trainer's memory, whose "
                f"memory_limit is {memory}: raise the limit or lower shared_memory"
            )
        _check_unique("volumes", "claim", [volume.claim for volume in self.volumes])
        _check_unique("volumes", "mount_path", [volume.mount_path for volume in self.volumes])
        variables = [name for secret in self.secrets for name in secret.env]
        _check_unique("secrets", "variable", variables)
        return self

    def _check_task(self, name: str) -> None:
        task = self.task(name)
        for resource in ("cpu", "memory"):
            request, limit = getattr(task, f"{resource}_request"), getattr(task, f"{resource}_limit")
            if request and limit and parse_quantity(request) > parse_quantity(limit):
                raise ValueError(
                    f"the {resource}_request of {name} is {request}, above its {resource}_limit {limit}: "
                    "lower the request or raise the limit"
                )
        pauses = self.retry.pauses(task.retries or 0)
        if pauses > _LONGEST_PAUSES:
            raise ValueError(
                f"the pauses before {task.retries} retries of {name} are {pauses} seconds in total, but at "
                f"most {_LONGEST_PAUSES} are allowed: lower retries, retry.backoff_seconds "
                "or retry.backoff_factor"
            )


def _check_unique(setting: str, kind: str, names: list[str]) -> None:
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise ValueError(f"{setting} has the {kind} {duplicate!r} twice: remove one")
