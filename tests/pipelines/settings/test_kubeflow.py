"""What `kubeflow` settings may be: both sides of every rule, on the way that `--set` takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.settings import loading
from pipelines.settings.errors import SettingsError
from pipelines.settings.loading import load
from pipelines.settings.pod_names import (
    RESERVED_CLAIMS,
    RESERVED_PATHS,
    RESERVED_PREFIXES,
    RESERVED_VARIABLES,
)

DIGEST = "a" * 64

# The limits of the whole tree lie above those of a single setting that a test changes.
ROOMY = "kubeflow.tasks={Trainer: {memory_limit: 1Ti}}"


@pytest.mark.parametrize(
    "override",
    [
        f"kubeflow.images.cpu=catsdogs@sha256:{DIGEST}",
        f"kubeflow.images.gpu=localhost:5000/team/catsdogs:1.0@sha256:{DIGEST}",
        "kubeflow.images.pull_secrets=[registry.example.com]",
        "kubeflow.pipeline_root=minio://mlpipeline/v2/artifacts",
        "kubeflow.pipeline_root=gs://bucket/a/b/",
        "kubeflow.artifact_store.endpoint=minio-service.kubeflow:9000",
        "kubeflow.artifact_store.region=eu-central-1",
        "kubeflow.task_defaults={cpu_request: 500m, cpu_limit: 0.5, memory_request: 1Gi, memory_limit: 1Gi}",
        "kubeflow.tasks.Lookup.retries=0",
        "kubeflow.gpu={type: amd.com/gpu, count: 8}",
        "kubeflow.gpu.node_selector={cloud.google.com/gke-accelerator: nvidia-l4, pool: '', a_B.c: A_b.1}",
        "kubeflow.gpu.tolerations=[{operator: Exists}]",
        "kubeflow.gpu.tolerations=[{key: nvidia.com/gpu, operator: Equal, value: yes1, effect: NoExecute}]",
        "kubeflow.shared_memory=8Gi",
        "kubeflow.volumes=[{claim: 0-state, mount_path: /state}, {claim: data, mount_path: /state/images}]",
        "kubeflow.secrets=[{name: my.secret-1, env: {AWS_ACCESS_KEY_ID: access.key_1, _b: -c}}]",
        "kubeflow.retry={backoff_seconds: 0, backoff_factor: 1}",
        "kubeflow.retry.backoff_factor=3.0",
        "kubeflow={task_defaults: {retries: 100}, retry: {backoff_seconds: 3600, backoff_factor: 1}}",
        "kubeflow={task_defaults: {retries: 14}, retry: {backoff_seconds: 30, backoff_factor: 2}}",
        "kubeflow.tasks.Trainer.timeout_seconds=2592000",
        "kubeflow.secrets=[{name: s, env: {MY_PATH: k, PATHS: l, KFP: m, AWS_REGION: n}}]",
    ],
)
def test_what_the_cluster_takes(override: str, tmp_path: Path) -> None:
    loaded = load(overrides=[ROOMY, override])
    assert loaded != load()
    file = tmp_path / "settings.yaml"
    file.write_text(loading.dump(loaded))
    assert load(str(file)) == loaded


@pytest.mark.parametrize(
    ("override", "named"),
    [
        # images
        ("kubeflow.images.cpu=r.example/catsdogs:latest", ["images.cpu", "r.example/catsdogs:latest"]),
        (f"kubeflow.images.gpu=catsdogs@sha256:{DIGEST[:63]}", ["images.gpu", "@sha256:"]),
        (f"kubeflow.images.gpu=catsdogs@sha256:{DIGEST[:-1]}A", ["images.gpu"]),
        (f"kubeflow.images.gpu=a@b@sha256:{DIGEST}", ["images.gpu"]),
        # the store
        ("kubeflow.pipeline_root=/var/artifacts", ["pipeline_root", "/var/artifacts", "minio://"]),
        ("kubeflow.pipeline_root='s3://bucket?region=eu'", ["s3://bucket?region=eu", "artifact_store"]),
        ("kubeflow.artifact_store.endpoint=http://minio:9000", ["endpoint", "http://minio:9000"]),
        ("kubeflow.artifact_store.region=eu central", ["region", "eu central"]),
        # names of settings and steps
        ("kubeflow.volums=[]", ["'kubeflow.volums'", "'kubeflow.volumes'"]),
        ("kubeflow.tasks.Trainr.memory_limit=16Gi", ["'Trainr'", "'Trainer'"]),
        ("kubeflow.tasks.zzz.retries=1", ["'zzz'", "ImageExampleGen, StatisticsGen"]),
        ("kubeflow.tasks.Trainer.memory_limt=16Gi", ["memory_limt", "'memory_limit'"]),
        ("kubeflow.volumes=[{klaim: a}]", ["'kubeflow.volumes.0.klaim'", "'claim'"]),
        ("kubeflow.retry.max_backoff_seconds=60", ["'kubeflow.retry.max_backoff_seconds'"]),
        ("kubeflow.secrets=[{name: s, env: {A: k}, value: hunter2}]", ["'kubeflow.secrets.0.value'"]),
        # kinds of values
        ("kubeflow.tasks={Trainer: 5}", ["kubeflow.tasks.Trainer", "5", "cpu_request"]),
        ("kubeflow.tasks=5", ["kubeflow.tasks", "5"]),
        ("kubeflow.volumes=a", ["kubeflow.volumes", "'a'"]),
        ("kubeflow.volumes=[a]", ["kubeflow.volumes.0", "claim, mount_path"]),
        ("kubeflow.volumes=[{claim: a}]", ["kubeflow.volumes.0.mount_path"]),
        ("kubeflow.gpu.node_selector={spot: true}", ["node_selector.spot", "True"]),
        ("kubeflow.secrets=[{name: s, env: {}}]", ["kubeflow.secrets.0.env"]),
        # quantities
        ("kubeflow.tasks.Trainer.memory_limit=16GB", ["tasks.Trainer.memory_limit", "'16GB'", "16Gi"]),
        ("kubeflow.tasks.Trainer.cpu_request=2Gi", ["tasks.Trainer.cpu_request", "'2Gi'", "500m"]),
        ("kubeflow.shared_memory=2GB", ["kubeflow.shared_memory", "'2GB'"]),
        (
            "kubeflow.task_defaults={cpu_request: 1, cpu_limit: 999m}",
            ["cpu_request of Lookup", "1", "999m"],
        ),
        (
            "kubeflow={task_defaults: {memory_limit: 1Gi}, tasks: {Pusher: {memory_request: 1025Mi}}}",
            ["memory_request of Pusher", "1025Mi", "1Gi"],
        ),
        (
            "kubeflow={shared_memory: 16Gi, tasks: {Trainer: {memory_limit: 16Gi}}}",
            ["shared_memory", "memory_limit", "16Gi"],
        ),
        # times
        ("kubeflow.task_defaults.retries=-1", ["task_defaults.retries", "-1", "0"]),
        ("kubeflow.task_defaults.timeout_seconds=0", ["task_defaults.timeout_seconds", "0", "1"]),
        ("kubeflow.tasks.Trainer.timeout_seconds=2592001", ["timeout_seconds", "2592001", "2592000"]),
        ("kubeflow.retry.backoff_factor=1.5", ["retry.backoff_factor", "1.5"]),
        ("kubeflow.task_defaults.retries=15", ["15", "983010", "604800", "retry.backoff_factor"]),
        # GPUs and their nodes
        ("kubeflow.gpu.count=0", ["kubeflow.gpu.count", "0", "1"]),
        ("kubeflow.gpu.tolerations=[{key: a, effect: NoScedule}]", ["'NoScedule'", "'NoSchedule'"]),
        ("kubeflow.gpu.tolerations=[{operator: Exist}]", ["'Exist'", "'Exists'"]),
        ("kubeflow.gpu.tolerations=[{key: a, value: b}]", ["gpu.tolerations.0", "Exists", "'b'"]),
        ("kubeflow.gpu.tolerations=[{operator: Equal, value: b}]", ["gpu.tolerations.0", "Equal"]),
        # volumes and secrets
        ("kubeflow.volumes=[{claim: my.state, mount_path: /state}]", ["volumes.0.claim", "'my.state'"]),
        ("kubeflow.volumes=[{claim: a, mount_path: state}]", ["volumes.0.mount_path", "'state'"]),
        ("kubeflow.volumes=[{claim: a, mount_path: /}]", ["'/'"]),
        ("kubeflow.volumes=[{claim: a, mount_path: /a/../b}]", ["'/a/../b'"]),
        ("kubeflow.volumes=[{claim: a, mount_path: '/a:b'}]", ["'/a:b'"]),
        ("kubeflow.volumes=[{claim: a, mount_path: /s}, {claim: a, mount_path: /t}]", ["claim 'a'"]),
        ("kubeflow.volumes=[{claim: a, mount_path: /s}, {claim: b, mount_path: /s}]", ["mount_path '/s'"]),
        ("kubeflow.secrets=[{name: s, env: {A: k}}, {name: t, env: {A: l}}]", ["variable 'A'"]),
    ],
)
def test_what_would_fail_in_a_run_gets_one_sentence(override: str, named: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(overrides=[override])
    assert [value for value in named if value not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("setting", "name", "free"),
    [
        *(
            ("kubeflow.volumes=[{{claim: a, mount_path: {0}}}]", path, f"{path}-mine")
            for path in RESERVED_PATHS
        ),
        ("kubeflow.volumes=[{{claim: a, mount_path: {0}}}]", "/dev/shm", "/deva/shm"),
        *(
            ("kubeflow.volumes=[{{claim: {0}, mount_path: /state}}]", claim, f"my-{claim}")
            # Argo adds the last one for the secret of its artifact repository.
            for claim in (*RESERVED_CLAIMS, "mlpipeline-minio-artifact")
        ),
        *(
            ("kubeflow.secrets=[{{name: s, env: {{{0}: k}}}}]", variable, f"MY_{variable}")
            for variable in [*RESERVED_VARIABLES, *(f"{prefix}X" for prefix in RESERVED_PREFIXES)]
        ),
    ],
)
def test_what_a_pod_has_already_is_not_taken_again(setting: str, name: str, free: str) -> None:
    with pytest.raises(SettingsError, match=f"'{name}'"):
        load(overrides=[setting.format(name)])
    load(overrides=[setting.format(free)])


def test_a_step_takes_the_defaults_where_it_has_nothing_of_its_own() -> None:
    kubeflow = load(
        overrides=[
            "kubeflow.task_defaults={cpu_request: 1, memory_limit: 2Gi, retries: 2}",
            "kubeflow.tasks.Trainer={memory_limit: 8Gi, retries: 0}",
        ]
    ).kubeflow
    assert kubeflow.task("Pusher") == kubeflow.task_defaults
    trainer = kubeflow.task("Trainer")
    assert (trainer.cpu_request, trainer.memory_limit, trainer.retries) == ("1", "8Gi", 0)


@pytest.mark.parametrize(
    ("former", "task"),
    [
        ("BlessedModelLookup", "Lookup"),
        ("DataFingerprint", "Lookup"),
        ("AcceptedData", "DataGate"),
        ("BestModel", "PredictionTable"),
        ("CuratedSchema", "StatisticsGen"),
        ("Evaluator", "PredictionTable"),
        ("EvaluationReport", "QualityGate"),
    ],
)
def test_a_task_that_became_part_of_another_names_it(former: str, task: str) -> None:
    with pytest.raises(SettingsError, match=rf"{former}\b.*\b{task}\b"):
        load(overrides=[f"kubeflow.tasks.{former}.retries=0"])


def test_a_node_has_the_values_of_the_task_that_runs_it() -> None:
    kubeflow = load(overrides=["kubeflow.tasks.PredictionTable.retries=7"]).kubeflow
    assert kubeflow.task("Evaluator") == kubeflow.task("PredictionTable")
    assert kubeflow.task("Evaluator").retries == 7
