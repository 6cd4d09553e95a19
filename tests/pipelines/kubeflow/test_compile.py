"""The compiled file: what Kubeflow Pipelines reads in it, and what must not be in it."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.errors import InputError
from pipelines.settings.kubeflow import LOOKUP_TASKS, NODES
from pipelines.settings.loading import load
from pipelines.settings.tree import Settings
from tests.kubeflow_backend import object_store

CPU, GPU = (
    f"r.example/{name}@sha256:{digit * 64}" for name, digit in (("catsdogs", "a"), ("catsdogs-gpu", "b"))
)
IMAGES = [f"kubeflow.images.cpu={CPU}", f"kubeflow.images.gpu={GPU}"]
OVERRIDES = [
    *IMAGES,
    "training.seed=7",
    "data.max_class_shift=0.25",
    "kubeflow.images.pull_secrets=[registry]",
    "kubeflow.gpu.count=2",
    "kubeflow.gpu.node_selector={nvidia.com/gpu.present: null}",
    "kubeflow.gpu.node_selector={cloud.google.com/gke-accelerator: nvidia-l4, pool: gpu}",
    "kubeflow.secrets=[{name: store, env: {AWS_SECRET_ACCESS_KEY: secretkey, AWS_ACCESS_KEY_ID: accesskey}}]",
    "kubeflow.tasks.Pusher={retries: 0, timeout_seconds: 60}",
]
BEAM_STEPS = {"ImageExampleGen", "StatisticsGen", "Transform", "PredictionTable", "Evaluator"}
PLACES = {"nodeSelector", "tolerations", "emptyDirMounts"}


def compiled(overrides: list[str]) -> str:
    from pipelines.kubeflow.compile import compile_pipeline

    return compile_pipeline(load("kubeflow", overrides))


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load("kubeflow", OVERRIDES)


@pytest.fixture(scope="module")
def text() -> str:
    return compiled(OVERRIDES)


@pytest.fixture(scope="module")
def spec(text: str) -> dict[str, Any]:
    document: dict[str, Any] = next(yaml.safe_load_all(text))
    return document


@pytest.fixture(scope="module")
def pods(text: str) -> dict[str, dict[str, Any]]:
    """Returns the pod settings of each task in the platform document."""
    [_, platform] = yaml.safe_load_all(text)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {label.removesuffix("_executor"): pod for label, pod in executors.items()}


def tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = spec["root"]["dag"]["tasks"]
    return found


def containers(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the container of each step."""
    executors = spec["deploymentSpec"]["executors"]
    return {
        name: executors[component["executorLabel"]]["container"]
        for name, component in spec["components"].items()
    }


def test_kfp_reads_both_documents(text: str, tmp_path: Path) -> None:
    from kfp.client.client import _extract_pipeline_yaml

    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    read = _extract_pipeline_yaml(str(file))
    assert read.pipeline_spec.schema_version == "2.1.0"
    assert set(read.pipeline_spec.root.dag.tasks) == {*NODES, *LOOKUP_TASKS}
    assert len(read.platform_spec.platforms["kubernetes"].deployment_spec.executors) == len(
        NODES + LOOKUP_TASKS
    )


def test_the_header_describes_the_file(text: str) -> None:
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert "catsdogs" in head[0]
    assert "#   max_class_shift: 0.25" in head
    assert '#   source: {"folder": "/data", "kind": "folder"}' in head


def test_only_the_trainer_asks_for_gpus(spec: dict[str, Any]) -> None:
    found = containers(spec)
    accelerators = {name: container["resources"].get("accelerator") for name, container in found.items()}
    assert accelerators.pop("Trainer") == {"type": "nvidia.com/gpu", "count": "2"}
    assert set(accelerators.values()) == {None}
    assert {name for name, container in found.items() if container["image"] == GPU} == {"Trainer"}
    assert {container["image"] for name, container in found.items() if name != "Trainer"} == {CPU}


def test_all_others_do_not_see_gpus(spec: dict[str, Any]) -> None:
    hidden = {
        name
        for name, container in containers(spec).items()
        if {"name": "CUDA_VISIBLE_DEVICES", "value": "-1"} in container.get("env", [])
    }
    assert hidden == {*NODES, *LOOKUP_TASKS} - {"Trainer"}
    assert containers(spec)["Trainer"]["env"] == [{"name": "CATSDOGS_GPUS", "value": "2"}]


def test_only_the_trainer_s_pod_goes_to_gpu_nodes(pods: dict[str, dict[str, Any]]) -> None:
    trainer = pods["Trainer"]
    assert trainer["nodeSelector"]["labels"] == {
        "cloud.google.com/gke-accelerator": "nvidia-l4",
        "pool": "gpu",
    }
    assert trainer["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    [memory] = trainer["emptyDirMounts"]
    assert (memory["mountPath"], memory["medium"], memory["sizeLimit"]) == ("/dev/shm", "Memory", "2Gi")
    for name in {*NODES, *LOOKUP_TASKS} - {"Trainer"}:
        assert not PLACES & pods[name].keys()


def test_the_configuration_as_shipped_puts_the_trainer_alone_on_gpu_nodes() -> None:
    spec, platform = yaml.safe_load_all(compiled(IMAGES))
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    [(label, trainer)] = ((label, pod) for label, pod in pods.items() if PLACES & pod.keys())
    assert label == spec["components"]["Trainer"]["executorLabel"]
    assert trainer["nodeSelector"] == {"labels": {"nvidia.com/gpu.present": "true"}}
    assert trainer["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert containers(spec)["Trainer"]["resources"]["accelerator"] == {"type": "nvidia.com/gpu", "count": "1"}


def test_no_pod_may_run_as_root(pods: dict[str, dict[str, Any]]) -> None:
    assert pods.keys() == {*NODES, *LOOKUP_TASKS}
    for pod in pods.values():
        assert pod["securityContext"] == {"runAsNonRoot": True}


def test_every_pod_has_the_volumes_the_secrets_and_a_time_limit(pods: dict[str, dict[str, Any]]) -> None:
    assert pods.keys() == {*NODES, *LOOKUP_TASKS}
    for pod in pods.values():
        mounts = [(mount["constant"], mount["mountPath"]) for mount in pod["pvcMount"]]
        assert mounts == [("catsdogs-state", "/state"), ("catsdogs-pictures", "/data")]
        named = [mount["pvcNameParameter"]["runtimeValue"]["constant"] for mount in pod["pvcMount"]]
        assert named == ["catsdogs-state", "catsdogs-pictures"]
        [secret] = pod["secretAsEnv"]
        assert secret["secretName"] == secret["secretNameParameter"]["runtimeValue"]["constant"] == "store"
        assert secret["keyToEnv"] == [
            {"envVar": "AWS_SECRET_ACCESS_KEY", "secretKey": "secretkey"},
            {"envVar": "AWS_ACCESS_KEY_ID", "secretKey": "accesskey"},
        ]
        assert [pull["secretName"] for pull in pod["imagePullSecret"]] == ["registry"]
        assert pod["imagePullPolicy"] == "IfNotPresent"
        assert int(pod["activeDeadlineSeconds"]) > 0
    assert pods["Pusher"]["activeDeadlineSeconds"] == "60"
    assert pods["Trainer"]["activeDeadlineSeconds"] == "86400"


def test_secrets_are_names_of_variables_and_keys_for_the_kubelet_to_fill(
    spec: dict[str, Any], pods: dict[str, dict[str, Any]]
) -> None:
    for pod in pods.values():
        [secret] = pod["secretAsEnv"]
        assert secret.keys() <= {"secretName", "secretNameParameter", "keyToEnv", "optional"}
        assert all(variable.keys() == {"envVar", "secretKey"} for variable in secret["keyToEnv"])
    set_here = {variable["name"] for found in containers(spec).values() for variable in found["env"]}
    assert set_here == {"CUDA_VISIBLE_DEVICES", "CATSDOGS_GPUS"}
    assert "AWS_" not in json.dumps(spec)


def test_nothing_of_the_compiling_machine_is_in_the_file(text: str) -> None:
    places = [
        Path.cwd(),
        Path.home(),
        Path(__file__).parents[3],
        Path(sys.prefix),
        Path(tempfile.gettempdir()),
    ]
    for place in places:
        assert place != Path("/")
        assert not re.search(rf"{re.escape(str(place))}(?![\w-])", text), place
    assert os.uname().nodename not in text


def test_resources_are_those_of_the_settings(spec: dict[str, Any], settings: Settings) -> None:
    for name, container in containers(spec).items():
        step = settings.kubeflow.task(name)
        resources = {key: value for key, value in container["resources"].items() if key != "accelerator"}
        expected = {
            "resourceCpuRequest": step.cpu_request,
            "resourceCpuLimit": step.cpu_limit,
            "resourceMemoryRequest": step.memory_request,
            "resourceMemoryLimit": step.memory_limit,
        }
        assert resources == {key: value for key, value in expected.items() if value is not None}
    assert containers(spec)["Trainer"]["resources"]["resourceMemoryLimit"] == "16Gi"


def test_failed_steps_are_tried_again_where_that_helps(spec: dict[str, Any]) -> None:
    policies = {name: task.get("retryPolicy") for name, task in tasks(spec).items()}
    assert {name for name, policy in policies.items() if policy is None} == {"DataGate", "Pusher"}
    for name, policy in policies.items():
        if policy is not None:
            assert policy["maxRetryCount"] == (1 if name == "ImageExampleGen" else 2)
            assert policy["backoffDuration"] == "30s"
            assert type(policy["backoffFactor"]) is int  # Argo reads no other number
            assert policy["backoffFactor"] == 2


@pytest.mark.parametrize(
    ("step", "retry", "tries", "longest_try", "pauses"),
    [
        ("retries: 2, timeout_seconds: 86400", "{}", 3, 86400, [30, 60]),
        ("retries: 4, timeout_seconds: 3660", "{backoff_factor: 3}", 5, 3660, [30, 90, 270, 810]),
        ("retries: 1, timeout_seconds: 1", "{backoff_seconds: 0}", 2, 1, [0]),
        ("retries: 2, timeout_seconds: null", "{backoff_factor: 1}", 3, 7 * 86400, [30, 30]),
    ],
)
def test_the_last_try_has_its_whole_time_though_all_before_took_theirs(
    step: str, retry: str, tries: int, longest_try: int, pauses: list[int]
) -> None:
    from pipelines.kubeflow.spec import set_retries

    overrides = [f"kubeflow.task_defaults={{{step}}}", f"kubeflow.retry={retry}"]
    document: dict[str, Any] = {"root": {"dag": {"tasks": {"Trainer": {}}}}}
    set_retries(document, load(overrides=overrides))
    window = int(document["root"]["dag"]["tasks"]["Trainer"]["retryPolicy"]["backoffMaxDuration"][:-1])
    waits_for_nodes = window - tries * longest_try - sum(pauses)
    assert waits_for_nodes >= tries * 3600  # Argo's clock runs while a pod is pending, too
    assert window < 2**31


def test_names_are_legal_in_argo_and_in_kfp(spec: dict[str, Any]) -> None:
    for name, task in tasks(spec).items():
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,50}", name)  # Argo's tasks; KFP adds -driver
        assert task["taskInfo"]["name"] == task["componentRef"]["name"] == name
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", spec["pipelineInfo"]["name"])
    for component in spec["components"].values():
        for kind in ("inputDefinitions", "outputDefinitions"):
            for group in component.get(kind, {}).values():
                assert all(re.fullmatch(r"[a-z_][a-z0-9_]*", key) for key in group)


def test_no_two_tasks_are_one_to_the_cache(spec: dict[str, Any]) -> None:
    """KFP's key is made of these, and holds no task's name."""
    keys = [
        json.dumps([tasks(spec)[name]["inputs"].get(kind, {}) for kind in ("artifacts", "parameters")])
        + json.dumps(containers(spec)[name]["args"])
        for name in NODES
    ]
    for lookup in LOOKUP_TASKS:  # where both have found the same
        keys = [key.replace(f'"{lookup}"', '"look"') for key in keys]
    assert len(set(keys)) == len(NODES)


def test_the_looks_and_the_push_are_never_cached(spec: dict[str, Any]) -> None:
    cached = {name for name, task in tasks(spec).items() if task.get("cachingOptions", {}).get("enableCache")}
    assert cached == set(NODES) - {"Pusher"}


def test_a_run_s_parameters_reach_the_steps(spec: dict[str, Any]) -> None:
    root = spec["root"]["inputDefinitions"]["parameters"]
    assert {name: (value["parameterType"], value["defaultValue"]) for name, value in root.items()} == {
        "source": ("STRING", '{"folder": "/data", "kind": "folder"}'),
        "max_rejected_fraction": ("NUMBER_DOUBLE", 0.01),
        "max_class_shift": ("NUMBER_DOUBLE", 0.25),
        "override": ("STRING", ""),
    }
    taken = {
        (name, key): source["componentInputParameter"]
        for name, task in tasks(spec).items()
        for key, source in task.get("inputs", {}).get("parameters", {}).items()
        if "componentInputParameter" in source
    }
    assert taken == {
        ("DataFingerprint", "source"): "source",
        ("ImageExampleGen", "source"): "source",
        ("ImageExampleGen", "max_rejected_fraction"): "max_rejected_fraction",
        ("DataGate", "max_class_shift"): "max_class_shift",
        ("QualityGate", "override"): "override",
    }


def test_the_lookup_tasks_search_like_tfx_resolvers(spec: dict[str, Any]) -> None:
    from tfx.types import Channel
    from tfx.types.standard_artifacts import Model

    from pipelines import baseline_nodes
    from pipelines.kubeflow.container import lookup

    model = Channel(type=Model)
    for wanted in (baseline_nodes.blessed_model(model), baseline_nodes.best_model(model)):
        looked = lookup._parser().parse_args(containers(spec)[f"{wanted.node_id}Lookup"]["args"])
        assert looked.where == [f"{name}={value}" for name, value in wanted.where.items()]
        assert looked.include_missing == wanted.include_missing


def test_beam_works_in_its_steps_pods_with_their_cores(spec: dict[str, Any]) -> None:
    for name in NODES:
        beam = [argument for argument in containers(spec)[name]["args"] if re.match(r"--\w+=", argument)]
        if name in {"StatisticsGen", "Evaluator"}:  # they decode no images
            assert {"--runner=FnApiRunner", "--direct_num_workers=1"} < set(beam)
        elif name in BEAM_STEPS:
            cores = containers(spec)[name]["resources"]["resourceCpuLimit"]
            assert beam == [
                "--runner=FnApiRunner",
                "--direct_running_mode=multi_threading",
                f"--direct_num_workers={cores}",
                "--sdk_container_image=none",
            ]
        else:
            assert beam == []


def test_only_the_parameter_changes_with_what_a_run_may_set(spec: dict[str, Any]) -> None:
    other = next(
        yaml.safe_load_all(compiled([*OVERRIDES, "data.max_rejected_fraction=0.5", "data.folder=/data/new"]))
    )
    assert other["deploymentSpec"] == spec["deploymentSpec"]  # and so KFP's keys, the parameters aside
    ours, others = copy.deepcopy(tasks(spec)), tasks(other)
    for found in (ours, others):  # only the report has the settings, without those of pods
        parameter = found["EvaluationReport"]["inputs"]["parameters"].pop("settings")
        settings = yaml.safe_load(parameter["runtimeValue"]["constant"])
        assert "data" in settings
        assert "kubeflow" not in settings
    assert others == ours
    assert other["root"]["inputDefinitions"] != spec["root"]["inputDefinitions"]


@pytest.mark.parametrize(
    ("overrides", "root"),
    [
        ([], "minio://mlpipeline/catsdogs"),
        (
            ["kubeflow.artifact_store={endpoint: 'minio:9000', tls: false, region: eu-1}"],
            "minio://mlpipeline/catsdogs?endpoint=http://minio:9000&region=eu-1&use_path_style=true",
        ),
        (
            ["kubeflow.artifact_store.endpoint=s3.example.com", "kubeflow.pipeline_root=s3://bucket/"],
            "s3://bucket?endpoint=https://s3.example.com&region=us-east-1&use_path_style=true",
        ),
    ],
)
def test_the_root_names_the_service_of_its_store(overrides: list[str], root: str) -> None:
    from pipelines.kubeflow import spec
    from pipelines.settings import pipeline_root

    assert (
        spec.pipeline_root(load("kubeflow", [*IMAGES, *overrides]))
        == root
        == pipeline_root.check_pipeline_root(root)
    )
    assert object_store.session(root)["Provider"] == root.partition(":")[0]


def test_the_steps_of_the_settings_run_on_flink() -> None:
    flink = ["master=flink:8081", "job_endpoint=jobs:8099", "environment=external"]
    overrides = ["beam.runner=flink", *(f"beam.flink.{setting}" for setting in flink)]
    found = containers(next(yaml.safe_load_all(compiled([*IMAGES, *overrides]))))
    for name in NODES:
        is_remote = name in {"ImageExampleGen", "Transform", "PredictionTable"}
        assert ("--job_endpoint=jobs:8099" in found[name]["args"]) == is_remote
        assert ("--keep_remote" in found[name]["args"]) == is_remote


@pytest.mark.slow
def test_the_same_settings_give_the_same_bytes_wherever_they_are_compiled(text: str, tmp_path: Path) -> None:
    command = [str(Path(sys.prefix) / "bin/catsdogs"), "compile", "--output", "other.yml"]
    for override in OVERRIDES:
        command += ["--set", override]
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "HOME": str(tmp_path), "TZ": "Asia/Tokyo"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert (tmp_path / "other.yml").read_text() == text
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["other.yml"]
    assert done.stderr == ""
    for value in ("catsdogs submit other.yml", CPU, GPU, "nvidia.com/gpu", "nvidia-l4"):
        assert value in done.stdout


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    from pipelines.kubeflow.compile import write

    output = tmp_path / "pipeline.yaml"
    output.mkdir()
    with pytest.raises(InputError, match=re.escape(str(output))):
        write("text", output)
    assert list(tmp_path.iterdir()) == [output]
