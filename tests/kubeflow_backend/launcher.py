"""What KFP's launcher does in a task's pod: downloads, fills in, runs, uploads, records.

Go: v2/component/launcher_v2.go.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from tests.kubeflow_backend.containers import Container, Containers
from tests.kubeflow_backend.driver import LOGS, Results, mounts, resolve_command
from tests.kubeflow_backend.errors import Refused
from tests.kubeflow_backend.go_json import dumps
from tests.kubeflow_backend.metadata import ArtifactRecords
from tests.kubeflow_backend.object_store import ObjectStore, local_path, session
from tests.kubeflow_backend.specs import Task
from tests.kubeflow_backend.texts import to_text, to_value


class Failed(Exception):
    """The step failed, or what it left behind cannot be taken."""


@dataclass(frozen=True)
class Launcher:
    """Runs tasks of one run.

    Attributes:
        store: Where artifacts lie.
        records: Where they are recorded.
        containers: How commands are run.
        pipeline_root: With its query, if any.
        run_root: Below which all outputs of the run lie, without a query.
    """

    store: ObjectStore
    records: ArtifactRecords
    containers: Containers
    pipeline_root: str
    run_root: str

    def execute(
        self,
        task: Task,
        executor_input: pb.ExecutorInput,
        pod: Path,
        log: Path,
        retry: int,
        deadline: int | None,
    ) -> Results:
        """Runs a task in a new pod.

        Args:
            task: The task.
            executor_input: From the driver; is not changed.
            pod: A folder that is not there yet.
            log: To which stdout and stderr are appended.
            retry: How often it has been tried before.
            deadline: Seconds after which the pod is to be killed; None for never.

        Raises:
            Failed: It failed, with what went wrong.
        """
        seen = pb.ExecutorInput()
        seen.CopyFrom(executor_input)
        [logs] = seen.outputs.artifacts[LOGS].artifacts
        logs.uri += f"-{retry}"
        _relocate(seen.outputs, self.containers.root(pod))
        environment = {variable.name: variable.value for variable in task.container.env}
        try:
            command = resolve_command(task, seen.inputs)
            pod.mkdir(parents=True)
            self._download(seen.inputs, pod)
            _prepare(seen.outputs, pod, self.containers.root(pod))
            container = Container(
                task.name,
                task.container.image,
                fill_in(command, seen, self.containers.root(pod)),
                environment,
                pod,
                mounts(task),
                log,
                deadline,
            )
            log.touch()
            status = self.containers.run(container)
            self._keep_log(logs.uri, log, pod)
            if status:
                self.store.upload(logs.uri, pod, self.run_root)
                raise Failed(f"exit status {status}; see {log}")
            output = _executor_output(_in_pod(seen.outputs.output_file, pod, self.containers.root(pod)))
            parameters = _parameters(seen.outputs, output, task.component, pod, self.containers.root(pod))
            return Results(self._upload(seen.outputs, output, pod, log), parameters)
        except Refused as error:
            raise Failed(f"failed to execute component: {error}") from error

    def _download(self, inputs: pb.ExecutorInput.Inputs, pod: Path) -> None:
        for found in inputs.artifacts.values():
            for artifact in found.artifacts:
                if local_path(artifact.uri):
                    self.store.download(artifact.uri, pod)

    def _keep_log(self, uri: str, log: Path, pod: Path) -> None:
        path = local_path(uri)
        assert path is not None, "the run's root has been checked"
        shutil.copyfile(log, pod / path)

    def _upload(
        self, outputs: pb.ExecutorInput.Outputs, output: pb.ExecutorOutput, pod: Path, log: Path
    ) -> dict[str, int]:
        recorded = {}
        for name, found in outputs.artifacts.items():
            for artifact in found.artifacts:
                if name != LOGS and output.artifacts[name].artifacts:
                    merge(output.artifacts[name].artifacts[0], artifact)
                if not local_path(artifact.uri):
                    _warn(
                        log,
                        f"Output Artifact {name!r} does not have a recognized storage URI {artifact.uri!r}",
                    )
                elif not self.store.upload(artifact.uri, pod, self.run_root):
                    _warn(log, f"Local filepath /{local_path(artifact.uri)} does not exist")
                recorded[name] = self.records.record(name, artifact, session(self.pipeline_root))
        return recorded


def fill_in(command: list[str], executor_input: pb.ExecutorInput, root: Path) -> list[str]:
    """Fills in the placeholders of a command: `{{$}}`, and the single ones in its arguments."""
    whole = dumps(json_format.MessageToDict(executor_input), html=False)
    program, *arguments = (part.replace("{{$}}", whole) for part in command)
    single = placeholders(executor_input, root)
    for placeholder, value in single.items():
        arguments = [argument.replace(placeholder, value) for argument in arguments]
    return [program, *arguments]


def placeholders(executor_input: pb.ExecutorInput, root: Path) -> dict[str, str]:
    """Returns what the single placeholders stand for."""
    found = {}
    for side, message in (("inputs", executor_input.inputs), ("outputs", executor_input.outputs)):
        for name, artifacts in message.artifacts.items():
            if artifacts.artifacts:
                uri = artifacts.artifacts[0].uri
                found[f"{{{{$.{side}.artifacts['{name}'].uri}}}}"] = uri
                if path := local_path(uri):
                    found[f"{{{{$.{side}.artifacts['{name}'].path}}}}"] = str(root / path)
    for name, value in executor_input.inputs.parameter_values.items():
        found[f"{{{{$.inputs.parameters['{name}']}}}}"] = to_text(value)
    for name, parameter in executor_input.outputs.parameters.items():
        found[f"{{{{$.outputs.parameters['{name}'].output_file}}}}"] = parameter.output_file
    return found


def merge(said: pb.RuntimeArtifact, artifact: pb.RuntimeArtifact) -> None:
    """Applies what a task reports about an output: another URI, and additional metadata."""
    if said.uri:
        artifact.uri = said.uri
    for name, value in said.metadata.fields.items():
        artifact.metadata.fields[name].CopyFrom(value)


def _relocate(outputs: pb.ExecutorInput.Outputs, root: Path) -> None:
    """Names files as the command sees them; in a real pod `root` is `/`, and nothing changes."""
    outputs.output_file = str(root / PurePosixPath(outputs.output_file).relative_to("/"))
    for parameter in outputs.parameters.values():
        parameter.output_file = str(root / PurePosixPath(parameter.output_file).relative_to("/"))


def _in_pod(file: str, pod: Path, root: Path) -> Path:
    return pod / Path(file).relative_to(root)


def _prepare(outputs: pb.ExecutorInput.Outputs, pod: Path, root: Path) -> None:
    for parameter in outputs.parameters.values():
        _in_pod(parameter.output_file, pod, root).parent.mkdir(parents=True, exist_ok=True)
    for found in outputs.artifacts.values():
        for artifact in found.artifacts:
            path = local_path(artifact.uri)
            assert path is not None, "the run's root has been checked"
            (pod / path).parent.mkdir(parents=True, exist_ok=True)


def _executor_output(file: Path) -> pb.ExecutorOutput:
    output = pb.ExecutorOutput()
    if file.exists():
        try:
            json_format.Parse(file.read_text(), output)
        except json_format.ParseError as error:
            raise Failed(f"failed to unmarshall ExecutorOutput in file {str(file)!r}: {error}") from None
    return output


def _parameters(
    outputs: pb.ExecutorInput.Outputs,
    output: pb.ExecutorOutput,
    component: pb.ComponentSpec,
    pod: Path,
    root: Path,
) -> dict[str, struct_pb2.Value]:
    values = dict(output.parameter_values)
    for name, parameter in outputs.parameters.items():
        if name not in values:
            file = _in_pod(parameter.output_file, pod, root)
            kind = component.output_definitions.parameters[name].parameter_type
            if not file.exists():
                raise Failed(f"failed to read output parameter name={name!r} path={parameter.output_file!r}")
            values[name] = to_value(file.read_text(), kind)
    return values


def _warn(log: Path, sentence: str) -> None:
    with log.open("a") as file:
        file.write(f"launcher: {sentence}\n")
