"""The compiled file: what Kubeflow Pipelines reads in it, and what must not be in it."""

from __future__ import annotations

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
from tfx.dsl.components.common.resolver import Resolver
from tfx.utils import name_utils

from components.errors import InputError
from pipelines.kubeflow.container import lookup
from pipelines.kubeflow.container.entrypoint import Node, parse_arguments
from pipelines.pipeline import build
from pipelines.settings.kubeflow import LOOKUP_TASK, TASK_OF_NODE, TASKS
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


def nodes(spec: dict[str, Any]) -> dict[str, Node]:
    """Returns the nodes that the tasks run, by their ids."""
    arguments = [container["args"] for task, container in containers(spec).items() if task != LOOKUP_TASK]
    return {node.id: node for found in arguments for node in parse_arguments(found)[1]}


def test_kfp_reads_both_documents(text: str, tmp_path: Path) -> None:
    from kfp.client.client import _extract_pipeline_yaml

    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    read = _extract_pipeline_yaml(str(file))
    assert read.pipeline_spec.schema_version == "2.1.0"
    assert set(read.pipeline_spec.root.dag.tasks) == set(TASKS)
    assert len(read.platform_spec.platforms["kubernetes"].deployment_spec.executors) == len(TASKS)


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
    assert hidden == TASKS.keys() - {"Trainer"}
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
    for name in TASKS.keys() - {"Trainer"}:
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
    assert pods.keys() == TASKS.keys()
    for pod in pods.values():
        assert pod["securityContext"] == {"runAsNonRoot": True}


def test_every_pod_has_the_volumes_the_secrets_and_a_time_limit(pods: dict[str, dict[str, Any]]) -> None:
    assert pods.keys() == TASKS.keys()
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
    overrides = [f"kubeflow.task_defaults={{{step}}}", f"kubeflow.retry={retry}"]
    document: dict[str, Any] = next(yaml.safe_load_all(compiled([*IMAGES, *overrides])))
    window = int(tasks(document)["Transform"]["retryPolicy"]["backoffMaxDuration"][:-1])
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
    """KFP's key holds a task's arguments, and not its name."""
    assert len({json.dumps(container["args"]) for container in containers(spec).values()}) == len(TASKS)


def test_the_lookup_and_the_push_are_never_cached(spec: dict[str, Any]) -> None:
    cached = {name for name, task in tasks(spec).items() if task.get("cachingOptions", {}).get("enableCache")}
    assert cached == TASKS.keys() - {LOOKUP_TASK, "Pusher"}


def test_every_node_but_the_resolvers_is_run_by_one_task(spec: dict[str, Any]) -> None:
    components = build(load("kubeflow", OVERRIDES)).components
    expected = {
        node.id: name_utils.get_full_name(type(node)) for node in components if not isinstance(node, Resolver)
    }
    assert {node.id: node.component for node in nodes(spec).values()} == expected


def test_the_nodes_of_a_task_are_connected_as_in_the_pipeline(spec: dict[str, Any]) -> None:
    for node in build(load("kubeflow", OVERRIDES)).components:
        if isinstance(node, Resolver):
            continue
        task = TASK_OF_NODE[node.id]
        of_task = tasks(spec)[task]["inputs"]["artifacts"]
        links = nodes(spec)[node.id].inputs
        if links is None:
            links = {name: name for name in of_task}
        for name, channel in node.inputs.items():
            producer = TASK_OF_NODE.get(channel.producer_component_id)
            if producer is None:
                assert name not in links  # a baseline
            elif producer == task:
                assert links[name] == channel.output_key
                assert channel.output_key in spec["components"][task]["outputDefinitions"]["artifacts"]
                assert channel.output_key not in of_task
            else:
                assert of_task[links[name]]["taskOutputArtifact"] == {
                    "producerTask": producer,
                    "outputArtifactKey": channel.output_key,
                }


def test_a_task_waits_for_the_producers_of_its_inputs(spec: dict[str, Any]) -> None:
    for task in tasks(spec).values():
        producers = {
            produced["producerTask"]
            for group in task["inputs"].values()
            for source in group.values()
            for kind, produced in source.items()
            if kind != "componentInputParameter"
        }
        assert producers <= set(task.get("dependentTasks", ()))
    for name, earlier in (
        ("Transform", "DataGate"),
        ("ServingCheck", "PredictionTable"),
        ("Pusher", "QualityGate"),
    ):
        assert earlier in tasks(spec)[name]["dependentTasks"]


def test_artifact_types_are_titles_that_ml_metadata_has_had_before(spec: dict[str, Any]) -> None:
    titles = {
        name: output["artifactType"]
        for component in spec["components"].values()
        for name, output in component["outputDefinitions"].get("artifacts", {}).items()
    }
    assert titles["examples"] == {"schemaTitle": "tfx.Examples"}
    assert titles["verdict"] == {"schemaTitle": "catsdogs.DataVerdict"}


def test_the_image_s_own_knowledge_is_not_passed(spec: dict[str, Any]) -> None:
    for component in spec["components"].values():
        for definition in component["inputDefinitions"].get("parameters", {}).values():
            assert definition.keys() == {"parameterType"}
    for node in nodes(spec).values():
        assert "code_fingerprint" not in node.parameters


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("training.seed=8", {"model_key"}),
        ("data.split.seed=8", {"data_key", "model_key"}),
        ("evaluation.min_accuracy=0.5", set()),
        ("kubeflow.retry.backoff_seconds=1", set()),
    ],
)
def test_the_keys_of_a_run_change_with_what_determines_its_data_and_its_model(
    override: str, changed: set[str], spec: dict[str, Any]
) -> None:
    other = next(yaml.safe_load_all(compiled([*OVERRIDES, override])))
    keys, others = (
        lookup._parser()
        .parse_args(["--executor_input", "{}", *containers(found)[LOOKUP_TASK]["args"][2:]])
        .keys
        for found in (spec, other)
    )
    assert {name for name in keys if keys[name] != others[name]} == changed


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
        ("Lookup", "source"): "source",
        ("ImageExampleGen", "source"): "source",
        ("ImageExampleGen", "max_rejected_fraction"): "max_rejected_fraction",
        ("DataGate", "max_class_shift"): "max_class_shift",
        ("QualityGate", "override"): "override",
    }


def test_the_lookup_reaches_the_tasks_that_need_it(spec: dict[str, Any]) -> None:
    taken = {
        (name, key): source["taskOutputParameter"]["outputParameterKey"]
        for name, task in tasks(spec).items()
        for key, source in task["inputs"]["parameters"].items()
        if "taskOutputParameter" in source
    }
    assert taken == {
        ("ImageExampleGen", "data_fingerprint"): "data_fingerprint",
        ("DataGate", "source"): "source_name",
        ("DataGate", "accepted_data"): "accepted_data",
        ("DataGate", "run_key"): "data_key",
        ("PredictionTable", "blessed_model"): "blessed_model",
        ("PredictionTable", "best_model"): "best_model",
        ("QualityGate", "run_key"): "model_key",
    }
    outputs = spec["components"][LOOKUP_TASK]["outputDefinitions"]["parameters"]
    assert set(taken.values()) == outputs.keys()


def test_beam_works_in_its_steps_pods_with_their_cores(spec: dict[str, Any]) -> None:
    for name, node in nodes(spec).items():
        beam = list(node.beam_arguments)
        if name in {"StatisticsGen", "Evaluator"}:  # they decode no images
            assert {"--runner=FnApiRunner", "--direct_num_workers=1"} < set(beam)
        elif name in BEAM_STEPS:
            cores = load("kubeflow", OVERRIDES).kubeflow.task(name).cpu_limit
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
    ours, others = nodes(spec), nodes(other)
    for found in (ours, others):  # only the report has the settings, without those of pods
        report = found.pop("EvaluationReport")
        settings = yaml.safe_load(report.parameters["settings"])
        assert "data" in settings
        assert "kubeflow" not in settings
    assert others == ours  # and so KFP's keys, the parameters aside
    assert tasks(other) == tasks(spec)
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


@pytest.mark.parametrize("root", ["minio://mlpipeline/catsdogs", "gs://bucket/catsdogs"])
def test_the_steps_of_the_settings_run_on_flink(root: str) -> None:
    flink = ["master=flink:8081", "job_endpoint=jobs:8099", "environment=external"]
    overrides = ["beam.runner=flink", *(f"beam.flink.{setting}" for setting in flink)]
    overrides += [f"kubeflow.pipeline_root={root}"]
    for name, node in nodes(next(yaml.safe_load_all(compiled([*IMAGES, *overrides])))).items():
        if name not in {"ImageExampleGen", "Transform", "PredictionTable"}:
            assert (node.beam, node.staging) == (None, None)
            continue
        assert node.beam == load("kubeflow", overrides).beam
        assert node.beam_arguments == ()  # made in the pod, once the cluster's task slots are known
        # Workers read gs:// themselves; for other stores, they get copies on the volume that they mount.
        is_google = root.startswith("gs://")
        assert node.staging == (None if is_google else Path("/state/catsdogs/beam"))


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
