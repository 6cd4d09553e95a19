"""Runs the nodes of a Kubeflow task, translating between the messages of KFP and of TFX.

`python -m pipelines.kubeflow.container.entrypoint --executor_input JSON --code_fingerprint HEX
    --approvals DIR --node ID --component CLASS … [--node ID --component CLASS …]`

The nodes run one after the other in this process. What follows a `--node` belongs to it: its inputs, its
parameters, and the arguments of its Beam pipeline.
"""

from __future__ import annotations

import argparse
import copy
import errno
import itertools
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from components import fingerprint
from components.errors import InputError, PipelineError, exception_chain, find_user_error
from pipelines.beam.arguments import cluster_arguments
from pipelines.beam.checks import prepare_cluster
from pipelines.beam.jobs import watch_jobs
from pipelines.kubeflow.container import baselines, executor_input, staging
from pipelines.kubeflow.container.executor_input import Json
from pipelines.kubeflow.container.paths import Paths
from pipelines.kubeflow.container.transient import run_with_retries
from pipelines.settings.beam import BeamConfig
from serving.printable import log_printable_lines, printable_lines

CODE = (
    *("components", "trainer", "serving"),
    *("pipelines.beam", "pipelines.settings.beam", "pipelines.kubeflow.container"),
)
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded")  # TensorFlow's errors have no number

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """A node of the pipeline that a task runs.

    Attributes:
        id: Its id.
        component: Path of its component class.
        inputs: Its inputs, each with the input of the task or the output of an earlier node that it takes;
            None takes all inputs of the task.
        parameters: Its execution properties, apart from the task's parameters.
        beam: The Flink cluster that runs its Beam pipeline; None runs it here.
        staging: Folder on a volume for what the workers of the cluster read and write; None if they read
            and write the artifacts themselves.
        beam_arguments: Arguments of a Beam pipeline that runs here.
    """

    id: str
    component: str
    inputs: Mapping[str, str] | None
    parameters: Json
    beam: BeamConfig | None
    staging: Path | None
    beam_arguments: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one task and ends the process with its exit status."""
    log_printable_lines()
    logging.captureWarnings(True)
    logging.getLogger("apache_beam.typehints").setLevel(
        logging.WARNING
    )  # it logs hundreds of lines about its own code
    options, nodes = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    status = 0
    try:
        run(options, nodes)
    except BaseException as error:  # an executor that calls sys.exit(0) has failed, too
        status = _report(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # not sys.exit, which waits for library threads that may never end


def run(options: argparse.Namespace, nodes: Sequence[Node]) -> None:
    """Runs the nodes of one task, and records what they approve once all have succeeded.

    A node is repeated if it fails for a moment; what the nodes before it have done is kept.

    Raises:
        InputError: The image holds other code than the pipeline was compiled from.
        PipelineError: An executor failed, or the volume with the approvals cannot be used.
    """
    _check_code(options.code_fingerprint)
    task = executor_input.normalize_executor_input(json.loads(options.executor_input))
    paths = Paths.from_environment()
    baselines.check_candidates(task["inputs"], paths)
    # What the workers of a cluster write to gs:// is not in the pod, where a later node would look for it.
    is_remote = any(node.beam is not None and node.staging is None for node in nodes)
    outputs: Json = {}
    for node in nodes:
        message = _node_message(node, task, outputs)
        baselines.add_baselines(node.id, message["inputs"], options.approvals, paths)
        outputs |= run_with_retries(partial(_execute, node, message, is_remote))
    for node in nodes:
        baselines.record_approval(node.id, task["inputs"], outputs, options.approvals, paths)
    Path(task["outputs"]["outputFile"]).write_text(json.dumps({"artifacts": outputs}), encoding="utf-8")


def _node_message(node: Node, task: Json, earlier: Json) -> Json:
    """Returns the ExecutorInput of a node.

    Args:
        node: The node.
        task: The ExecutorInput of its task.
        earlier: The output artifacts of the nodes that ran before.
    """
    available = task["inputs"]["artifacts"] | earlier
    sources = node.inputs if node.inputs is not None else {name: name for name in task["inputs"]["artifacts"]}
    output_file = Path(task["outputs"]["outputFile"])
    return copy.deepcopy(
        {
            "inputs": {
                "parameterValues": node.parameters | task["inputs"]["parameterValues"],
                "artifacts": {name: available[source] for name, source in sources.items()},
            },
            "outputs": {
                "artifacts": task["outputs"]["artifacts"],
                "outputFile": str(output_file.parent / node.id / output_file.name),
            },
        }
    )


def _execute(node: Node, message: Json, is_remote: bool) -> Json:
    """Runs the executor of a node with TFX, and returns its output artifacts.

    Args:
        node: The node.
        message: Its ExecutorInput.
        is_remote: Whether artifacts in `gs://` are read and written there, not in the launcher's folders.
    """
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor  # takes ten seconds
    from tfx.utils import import_utils, name_utils

    component = import_utils.import_class_by_path(node.component)
    input_types, output_types = (
        {name: name_utils.get_full_name(channel.type) for name, channel in channels.items()}
        for channels in (component.SPEC_CLASS.INPUTS, component.SPEC_CLASS.OUTPUTS)
    )
    with _place_beam(node, message, is_remote) as (paths, beam_arguments):
        local = executor_input.with_local_paths(message, paths)
        outputs = local["outputs"]["artifacts"]
        for name in outputs.keys() - output_types:
            del outputs[name]  # of another node
        executor_input.set_types(local, input_types, output_types)
        for output in outputs.values():
            for artifact in output["artifacts"]:
                _make_empty(artifact["uri"])
        integers = [name for name, value in node.parameters.items() if isinstance(value, int)]
        arguments = argparse.Namespace(
            executor_class_path=component.EXECUTOR_SPEC.class_path,
            json_serialized_invocation_args=json.dumps(local),
            json_serialized_inputs_spec_args=json.dumps(
                {"parameters": {name: {"parameterType": "NUMBER_INTEGER"} for name in integers}}
            ),
        )
        kubeflow_v2_run_executor.main((arguments, beam_arguments))
    output_file = Path(message["outputs"]["outputFile"])
    written = executor_input.with_uris(json.loads(output_file.read_text(encoding="utf-8")), paths)
    artifacts: Json = written["artifacts"]
    return artifacts


@contextmanager
def _place_beam(node: Node, message: Json, is_remote: bool) -> Iterator[tuple[Paths, list[str]]]:
    """Yields where a node's artifacts are, and the arguments of its Beam pipeline: here, or on a cluster."""
    paths = Paths.from_environment(keep_remote=is_remote)
    if node.beam is None:
        yield paths, list(node.beam_arguments)
        return
    name = staging.execution_name(message)
    beam, cancelled_jobs = prepare_cluster(node.beam, name)
    for job in cancelled_jobs:
        _log.warning("Cancelled the Flink job %s, which a killed attempt has left.", job)
    with ExitStack() as stack:
        if node.staging is not None:
            paths = stack.enter_context(staging.staged_artifacts(message, paths, node.staging / name))
        stack.enter_context(watch_jobs(beam.flink, node.id, name))
        yield paths, [*cluster_arguments(beam), f"--job_name={name}"]


def _make_empty(folder: str) -> None:
    """Creates an empty output folder and removes files that a killed attempt left there."""
    from tfx.dsl.io import fileio  # also handles gs:// folders, which remote workers write to

    if fileio.exists(folder):
        fileio.rmtree(folder)
    fileio.makedirs(folder)


def _check_code(compiled: str) -> None:
    built = fingerprint.of_code(*CODE)
    if built != compiled:
        raise InputError(
            f"The container image was built from different code ({built[:12]}) than the pipeline "
            f"({compiled[:12]}): build the images with make image, set kubeflow.images to their digests, and "
            "compile again."
        )


def _report(error: BaseException) -> int:
    """Logs the error, with the message for the user last, and returns the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if find_user_error(error) is None:
        _log.error("The task failed.", exc_info=error)
    user_error = find_user_error(error) or _full_disk(error)
    if user_error is None:
        return 1
    sys.stderr.write(f"\n{printable_lines(user_error)}\n")
    return user_error.exit_status


def _full_disk(error: BaseException) -> PipelineError | None:
    """Returns an error for the user if a full disk caused the exception; otherwise None."""
    for cause in exception_chain(error):
        if getattr(cause, "errno", None) in _FULL_DISK or any(text in str(cause) for text in _FULL_TEXTS):
            file = getattr(cause, "filename", None)
            where = f" for {file}" if file else ""
            return PipelineError(
                f"There is no space left{where}: enlarge the state volume if the file is there; otherwise "
                "enlarge the nodes' disks, which hold the pod's own files (ephemeral storage)."
            )
    return None


def parse_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[Node]]:
    """Returns the options of the task, and its nodes."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--executor_input", required=True)
    parser.add_argument("--code_fingerprint", required=True)
    parser.add_argument("--approvals", type=Path, required=True)
    of_node = argparse.ArgumentParser(allow_abbrev=False)
    of_node.add_argument("--node", dest="id", required=True)
    of_node.add_argument("--component", required=True)
    of_node.add_argument("--inputs", type=_parse_inputs, metavar="NAME[=SOURCE],…")
    of_node.add_argument("--parameters", type=json.loads, default={})
    of_node.add_argument("--beam", type=BeamConfig.model_validate_json)
    of_node.add_argument("--staging", type=Path)
    starts = [index for index, argument in enumerate(arguments) if argument == "--node"]
    nodes = []
    for start, end in itertools.pairwise([*starts, len(arguments)]):
        options, beam_arguments = of_node.parse_known_args(arguments[start:end])
        nodes.append(Node(**vars(options), beam_arguments=tuple(beam_arguments)))
    return parser.parse_args(arguments[: starts[0]]), nodes


def _parse_inputs(text: str) -> dict[str, str]:
    pairs = [item.partition("=") for item in text.split(",") if item]
    return {name: source or name for name, _, source in pairs}


if __name__ == "__main__":
    main()
