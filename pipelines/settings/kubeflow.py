"""The settings of the pipeline on Kubeflow: images, resources, volumes, secrets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pipelines.settings import pipeline_root
from pipelines.settings.errors import nearest
from pipelines.settings.pod_names import ClaimName, EnvironmentName, MountPath
from pipelines.settings.quantities import Cores, Memory, parse
from trainer.training_config import ConfigSection, Count

LOOKUP_TASKS = ("DataFingerprint", "AcceptedDataLookup", "BlessedModelLookup", "BestModelLookup")
NODES = (
    *("ImageExampleGen", "StatisticsGen", "CuratedSchema", "ExampleValidator", "AcceptedData", "DataGate"),
    *("Transform", "Trainer", "BlessedModel", "BestModel", "PredictionTable", "Evaluator", "ServingCheck"),
    *("QualityGate", "EvaluationReport", "Pusher"),
)

_LONGEST_TRY = 30 * 24 * 3600
_LONGEST_PAUSES = 7 * 24 * 3600


def _place(root: str) -> str:
    checked = pipeline_root.check(root)
    if "?" in checked:
        raise ValueError(
            f"{root!r} says how its service is reached: leave out what follows the question mark, and set "
            "kubeflow.artifact_store"
        )
    return checked


def _known_task(name: str) -> str:
    known = (*NODES, *LOOKUP_TASKS)
    if name not in known:
        raise ValueError(f"the pipeline has no step {name!r}.{nearest(name, known)}".removesuffix("."))
    return name


def _without_null(labels: Any) -> Any:
    if not isinstance(labels, dict):
        return labels
    return {name: value for name, value in labels.items() if value is not None}


def _told(pattern: str, what: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return check


TaskName = Annotated[str, AfterValidator(_known_task)]
# By digest, because what a tag's earlier image made would come out of the cache.
Image = Annotated[
    str,
    AfterValidator(
        _told(r"[^\s@]+@sha256:[0-9a-f]{64}", "one image for good: name it by its digest, NAME@sha256:…")
    ),
]
Endpoint = Annotated[
    str,
    AfterValidator(
        _told(
            r"[\w.-]+(:\d+)?", "a host with its port, such as minio.example.com:9000 (tls says http or https)"
        )
    ),
]
Region = Annotated[str, AfterValidator(_told(r"[\w-]+", "a region, such as eu-central-1"))]
BeamArgument = Annotated[
    str, AfterValidator(_told(r"--\w+(=.*)?", "an argument of Beam, which is like --NAME=VALUE or --NAME"))
]


class ImagesConfig(ConfigSection):
    """The container images, by digest.

    Attributes:
        cpu: Of every step but the Trainer.
        gpu: Of the Trainer.
        pull_secrets: Names of the secrets to pull them with.
    """

    cpu: Image | None = None
    gpu: Image | None = None
    pull_secrets: tuple[str, ...] = ()


class ArtifactStoreConfig(ConfigSection):
    """The service behind an s3:// or minio:// pipeline root, where it is not the one of KFP itself.

    Its keys come from `secrets`, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

    Attributes:
        endpoint: Its host and port; None leaves it to KFP.
        region: Its region.
        tls: Whether it speaks https.
    """

    endpoint: Endpoint | None = None
    region: Region = "us-east-1"
    tls: bool = True


class TaskConfig(ConfigSection):
    """What a step's pod gets; None leaves it to the defaults of all steps, and there to the cluster.

    Attributes:
        cpu_request: Cores that its node must have free.
        cpu_limit: Cores that it may use.
        memory_request: Memory that its node must have free.
        memory_limit: Memory above which it is killed.
        timeout_seconds: How long it may take before it is killed.
        retries: How often it is tried again after a failure.
    """

    cpu_request: Cores | None = None
    cpu_limit: Cores | None = None
    memory_request: Memory | None = None
    memory_limit: Memory | None = None
    timeout_seconds: Annotated[int, Field(ge=1, le=_LONGEST_TRY)] | None = None
    retries: Annotated[int, Field(ge=0, le=100)] | None = None


class TolerationConfig(ConfigSection):
    """A taint of nodes that the Trainer's pod puts up with.

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
                f"operator Exists takes no value, and value is {self.value!r}: leave it out, or use Equal"
            )
        if self.operator == "Equal" and (self.key is None or self.value is None):
            raise ValueError("operator Equal needs a key and a value: add them, or use Exists")
        return self


class GpuConfig(ConfigSection):
    """The GPUs of the Trainer, and the nodes that have them.

    Attributes:
        type: The device's name in Kubernetes.
        count: How many.
        node_selector: Labels that the node must have; null takes back one that a configuration asks for.
        tolerations: Taints of the node that the pod puts up with.
    """

    type: str = "nvidia.com/gpu"
    count: Count = 1
    node_selector: Annotated[dict[str, str], BeforeValidator(_without_null)] = Field(default_factory=dict)
    tolerations: tuple[TolerationConfig, ...] = ()


class VolumeConfig(ConfigSection):
    """A volume that every step sees.

    Attributes:
        claim: Name of the PersistentVolumeClaim.
        mount_path: Where the steps find it.
    """

    claim: ClaimName
    mount_path: MountPath


class SecretConfig(ConfigSection):
    """A secret that every step sees as environment variables.

    Attributes:
        name: Name of the secret.
        env: Environment variables, with the secret's key that each is filled from.
    """

    name: str
    env: Annotated[dict[EnvironmentName, str], Field(min_length=1)]


class RetryConfig(ConfigSection):
    """How long a failed step waits for its next try.

    Attributes:
        backoff_seconds: Before the first one.
        backoff_factor: How many times longer before each further one.
    """

    backoff_seconds: Annotated[int, Field(ge=0, le=3600)] = 30
    backoff_factor: Annotated[int, Field(ge=1, le=10)] = 2

    def pauses(self, retries: int) -> int:
        """Returns the seconds that all pauses take, if each retry is needed."""
        return sum(self.backoff_seconds * self.backoff_factor**earlier for earlier in range(retries))


class KubeflowConfig(ConfigSection):
    """Where and with what the pipeline runs on Kubeflow Pipelines.

    Attributes:
        images: The container images.
        pipeline_root: Where artifacts are kept: minio://, s3:// or gs://, with bucket and folder.
        artifact_store: The service behind it.
        beam_args: Arguments of the Beam steps; without a --runner they run in their own pod.
        task_defaults: Resources and times of every step.
        tasks: Those of single tasks, over the defaults.
        gpu: The GPUs of the Trainer.
        shared_memory: Size of the Trainer's /dev/shm; it counts as memory of the pod. None leaves it at 64Mi.
        volumes: What is mounted into every step.
        secrets: What every step gets as environment variables.
        retry: How failed steps are tried again.
    """

    images: ImagesConfig = ImagesConfig()
    pipeline_root: Annotated[str, AfterValidator(_place)] | None = None
    artifact_store: ArtifactStoreConfig = ArtifactStoreConfig()
    beam_args: tuple[BeamArgument, ...] = ()
    task_defaults: TaskConfig = TaskConfig()
    tasks: dict[TaskName, TaskConfig] = Field(default_factory=dict)
    gpu: GpuConfig = GpuConfig()
    shared_memory: Memory | None = None
    volumes: tuple[VolumeConfig, ...] = ()
    secrets: tuple[SecretConfig, ...] = ()
    retry: RetryConfig = RetryConfig()

    def task(self, name: str) -> TaskConfig:
        """Returns what a step gets: its own settings, with the defaults where it has none."""
        own = self.tasks.get(name, TaskConfig()).model_dump(exclude_none=True)
        return self.task_defaults.model_copy(update=own)

    def on_volume(self, path: PurePath) -> bool:
        """Returns whether a path lies on one of the mounted volumes."""
        return any(
            PurePosixPath(path).is_relative_to(PurePosixPath(volume.mount_path)) for volume in self.volumes
        )

    @model_validator(mode="after")
    def _consistent(self) -> KubeflowConfig:
        for name in (*NODES, *LOOKUP_TASKS):
            self._check_task(name)
        memory = self.task("Trainer").memory_limit
        if self.shared_memory and memory and parse(self.shared_memory) >= parse(memory):
            raise ValueError(
                f"shared_memory is {self.shared_memory} and counts as memory of the Trainer, whose "
                f"memory_limit is {memory}: raise that, or lower shared_memory"
            )
        _unique("volumes", "claim", [volume.claim for volume in self.volumes])
        _unique("volumes", "mount_path", [volume.mount_path for volume in self.volumes])
        variables = [name for secret in self.secrets for name in secret.env]
        _unique("secrets", "variable", variables)
        return self

    def _check_task(self, name: str) -> None:
        step = self.task(name)
        for what in ("cpu", "memory"):
            request, limit = getattr(step, f"{what}_request"), getattr(step, f"{what}_limit")
            if request and limit and parse(request) > parse(limit):
                raise ValueError(
                    f"the {what}_request of {name} is {request}, above its {what}_limit {limit}: lower the "
                    "one or raise the other"
                )
        pauses = self.retry.pauses(step.retries or 0)
        if pauses > _LONGEST_PAUSES:
            raise ValueError(
                f"the pauses before {step.retries} retries of {name} are {pauses} seconds together, and may "
                f"be {_LONGEST_PAUSES}: lower its retries, retry.backoff_seconds or retry.backoff_factor"
            )


def _unique(setting: str, what: str, names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{setting} has the {what} {twice!r} twice: leave one of them out")
