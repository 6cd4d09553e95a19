"""How large the Workflow of a run becomes, computed from the compiled file.

KFP's Argo compiler (v2/compiler/argocompiler) makes of each task a driver and an executor:

- the driver's inputs are `component`, `task`, `container` and `kubernetes-config`, each a text of JSON; its
  output is `pod-spec-patch`, the text of a pod: image, environment, volumes, and as arguments of KFP's
  launcher the ExecutorInput, the component and the task's own command line (initPodSpecPatch in
  v2/driver/driver.go);
- a DAG around the executor and the executor have that patch as an input.

Argo keeps a node for each of these pods and DAGs in `status.nodes`, and around each node whose template has a
retry strategy another one, of type Retry, with the same inputs and outputs. A task's retry policy gives a
retry strategy to its executor. KFP 2.17 as installed has `templateDefaults` with one for every template: then
each text is kept twice, and a patch six times. Argo compresses the nodes if the Workflow exceeds 1 MiB.

The spec of the Workflow holds `component`, `container` and `kubernetes-config` as arguments and `task` in the
template of the root DAG.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from tests.kubeflow_backend.driver import mounts, provision_outputs
from tests.kubeflow_backend.go_json import dumps
from tests.kubeflow_backend.object_store import session
from tests.kubeflow_backend.specs import Pipeline, Task, load

# Bytes besides these texts. Those of a node (id, names, phase, times, resources, children, short parameters)
# are fitted to a measured Workflow; the others are those of KFP's compiled test pipeline with a retry.
_NODE = 1_050
_TEMPLATES = 14_000  # KFP's own templates, and the Workflow's metadata
_TASK_IN_SPEC = 1_300  # the driver and the executor in the template of the root DAG, and names of arguments

_RUN_ID = _UUID = "0" * 36
_SERVICES = {"ml_pipeline_server": "ml-pipeline.kubeflow", "mlmd_server": "metadata-grpc-service.kubeflow"}
_PROPERTIES = {"tfx_version": "1.21.0", "split_names": '["train", "eval", "test"]', "is_external": 0}


@dataclass(frozen=True)
class Texts:
    """The texts of all tasks, in bytes, as JSON strings in the Workflow.

    Attributes:
        tasks: Number of tasks.
        retried: Number of tasks with a retry policy.
        component: The component specifications.
        task: The task specifications.
        container: The container specifications.
        kubernetes: The Kubernetes settings.
        patch: The pods.
        patch_retried: The pods of the tasks with a retry policy.
        root: The component specification of the root.
    """

    tasks: int
    retried: int
    component: int
    task: int
    container: int
    kubernetes: int
    patch: int
    patch_retried: int
    root: int


@dataclass(frozen=True)
class WorkflowSize:
    """The size of the Workflow at the end of a run.

    Attributes:
        node_count: Number of nodes.
        nodes: Bytes of `status.nodes`.
        whole: Bytes of the Workflow.
    """

    node_count: int
    nodes: int
    whole: int


def workflow_size(texts: Texts, template_defaults: bool) -> WorkflowSize:
    """Returns the size of the Workflow of a run in which every task was executed.

    Args:
        texts: The texts of the tasks.
        template_defaults: Whether every template has a retry strategy, as in KFP 2.17 as installed.
    """
    pods, dags = (
        2 * texts.tasks + 1,
        texts.tasks + 2,
    )  # the root has a driver, too, and the entry point is a DAG
    retries = pods + dags if template_defaults else texts.retried
    copies = 2 if template_defaults else 1
    driver_inputs = texts.component + texts.task + texts.container + texts.kubernetes + texts.root
    drivers = copies * (driver_inputs + texts.patch)
    dags_of_executors = copies * texts.patch
    executors = copies * texts.patch if template_defaults else texts.patch + texts.patch_retried
    node_count = pods + dags + retries
    nodes = drivers + dags_of_executors + executors + node_count * _NODE
    spec = driver_inputs + _TEMPLATES + texts.tasks * _TASK_IN_SPEC
    return WorkflowSize(node_count, nodes, nodes + spec)


def texts_of(file: Path) -> Texts:
    """Returns the texts of a compiled pipeline."""
    pipeline = load(file)
    tasks = pipeline.tasks.values()
    patches = {task.name: _embedded(_patch(pipeline, task)) for task in tasks}
    retried = [task.name for task in tasks if task.spec.HasField("retry_policy")]
    return Texts(
        len(tasks),
        len(retried),
        sum(_embedded(_json(task.component)) for task in tasks),
        sum(_embedded(_json(task.spec)) for task in tasks),
        sum(_embedded(_json(task.container)) for task in tasks),
        sum(_embedded(_json(task.kubernetes)) for task in tasks),
        sum(patches.values()),
        sum(patches[name] for name in retried),
        _embedded(_json(pipeline.root_component)),
    )


def _json(message: Message) -> Any:
    return json_format.MessageToDict(message)


def _embedded(value: Any) -> int:
    """Returns the bytes of a text of JSON within the Workflow's JSON."""
    return len(dumps(dumps(value)).encode())


def _patch(pipeline: Pipeline, task: Task) -> Mapping[str, Any]:
    """Returns the pod that the driver puts out."""
    launcher = ["/kfp-launcher/launch", "--pipeline_name", pipeline.name, "--run_id", _RUN_ID]
    launcher += [
        "--execution_id",
        "100",
        "--executor_input",
        dumps(_executor_input(pipeline, task), html=False),
    ]
    launcher += ["--component_spec", dumps(_json(task.component), html=False)]
    launcher += ["--pod_name", "$(KFP_POD_NAME)", "--pod_uid", "$(KFP_POD_UID)"]
    for service, address in _SERVICES.items():
        launcher += [f"--{service}_address", address, f"--{service}_port", "8080"]
    launcher += ["--publish_logs", "true", "--publish_logs", "true", "--"]
    resources = _json(task.container.resources)
    claims = mounts(task)
    return {
        "containers": [
            {
                "name": "main",
                "image": task.container.image,
                "command": launcher,
                "args": [*task.container.command, *task.container.args],
                "env": [_json(variable) for variable in task.container.env],
                "resources": resources,
                "volumeMounts": [{"name": claim, "mountPath": path} for path, claim in claims.items()],
                "imagePullPolicy": "IfNotPresent",
                "securityContext": _json(task.kubernetes.security_context),
            }
        ],
        "volumes": [
            {"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims.values()
        ],
        "activeDeadlineSeconds": task.kubernetes.active_deadline_seconds,
    }


def _executor_input(pipeline: Pipeline, task: Task) -> Mapping[str, Any]:
    root = f"{pipeline.root.partition('?')[0]}/{pipeline.name}/{_RUN_ID}"
    inputs = pb.ExecutorInput.Inputs()
    for name, source in task.spec.inputs.parameters.items():
        if source.HasField("component_input_parameter"):
            value = pipeline.parameters[source.component_input_parameter].default_value
        else:
            value = source.runtime_value.constant
        inputs.parameter_values[name].CopyFrom(value)
        if source.HasField("task_output_parameter"):
            inputs.parameter_values[name].string_value = "0" * 32
    for name, artifact in task.spec.inputs.artifacts.items():
        origin = artifact.task_output_artifact
        added = inputs.artifacts[name].artifacts.add(
            name="100", uri=f"{root}/{origin.producer_task}/{_UUID}/{origin.output_artifact_key}"
        )
        added.type.instance_schema = ""
        added.metadata.update(
            {
                **_PROPERTIES,
                "display_name": origin.output_artifact_key,
                "store_session_info": json.dumps(session(pipeline.root), separators=(",", ":")),
            }
        )
    outputs = provision_outputs(task, root, _UUID)
    return {"inputs": _json(inputs), "outputs": _json(outputs)}
