"""TFX's LocalDagRunner, reporting each step and keeping its log in a file of its own."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import launcher, partial_run_utils, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import context_lib
from tfx.proto.orchestration import pipeline_pb2

from components.errors import PipelineError
from pipelines.local import outcome, partial_run
from pipelines.runs.run_record import RunRecord, State, Step

_OPEN = {mlmd.Execution.NEW, mlmd.Execution.RUNNING}

_log = logging.getLogger(__name__)


class ReportingRunner(LocalDagRunner):
    """Runs a pipeline, or a part of it, and keeps the record of the run.

    Args:
        record: Its `run_id` names the run in ML Metadata; `steps` and `outcome` are filled in.
        send: Is called after each change of the record.
        open_log: Turns the output to the log of the step with this position and name.
        from_step: The first step to run anew; the ones before it give what they gave in an earlier run.
        to_step: The last step to run.
        again: The run that gives what is not run; None means the newest one that has it.
        is_interrupted: Whether the user has interrupted the run, whatever a library has made of it.
    """

    def __init__(
        self,
        record: RunRecord,
        send: Callable[[], None],
        open_log: Callable[[int, str], None],
        from_step: str | None = None,
        to_step: str | None = None,
        again: str | None = None,
        is_interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._record = record
        self._send = send
        self._open_log = open_log
        self._from_step = from_step
        self._to_step = to_step
        self._again = again
        self._is_interrupted = is_interrupted

    def run_with_ir(
        self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None
    ) -> None:
        """Runs the compiled pipeline.

        Args:
            pipeline: Its intermediate representation.
            run_options: Not used: what part of the pipeline runs is given to the constructor.

        Raises:
            PipelineError: A step's name is unknown, or a step did not run.
            Exception: What a component raised.
        """
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._record.run_id}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = getattr(
            deployment.metadata_connection_config,
            deployment.metadata_connection_config.WhichOneof("connection_config"),
        )
        root = Path(pipeline.runtime_spec.pipeline_root.field_value.string_value)
        with metadata.Metadata(connection) as handle:
            partial_run.mark(pipeline, handle.store, self._from_step, self._to_step, self._again)
            abandon(handle.store, root)
            nodes = [node.pipeline_node for node in pipeline.nodes]
            context_lib.prepare_contexts(handle, nodes[0].contexts)
        self._record.steps = {node.node_info.id: Step(state=_planned(node)) for node in nodes}
        self._send()
        try:
            for position, node in enumerate(nodes, start=1):
                if _planned(node) is State.WAITING:
                    self._open_log(position, node.node_info.id)
                    self._run_step(pipeline, node, deployment, connection)
            with metadata.Metadata(connection) as handle:
                self._record.outcome = outcome.read(handle.store, self._record.run_id)
            self._send()
        except BaseException:
            _abandon_quietly(connection, root)
            raise

    def _run_step(
        self,
        pipeline: pipeline_pb2.Pipeline,
        node: pipeline_pb2.PipelineNode,
        deployment: object,
        connection: mlmd.ConnectionConfig,
    ) -> None:
        name = node.node_info.id
        step = self._record.steps[name]
        step.state, step.started = State.RUNNING, time.time()
        self._send()
        start = time.monotonic()
        state = State.FAILED
        try:
            if node.execution_options.run.perform_snapshot:
                with metadata.Metadata(connection) as handle:
                    partial_run_utils.snapshot(handle, pipeline)
            info = launcher.Launcher(
                pipeline_node=node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=pipeline.pipeline_info,
                pipeline_runtime_spec=pipeline.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
            ).launch()
            state = _state(connection, name, info.execution_id)
        except BaseException as error:
            if self._is_interrupted() or isinstance(error, KeyboardInterrupt):
                state = State.STOPPED
                raise KeyboardInterrupt from error
            raise
        finally:
            step.state, step.seconds = state, round(time.monotonic() - start, 2)
            self._send()


def abandon(store: ml_metadata.MetadataStore, artifacts_dir: Path) -> None:
    """Marks all unfinished executions as cancelled, and removes what they had begun to write.

    Only for the holder of the output root's lock: to anyone else an unfinished execution may be at work.
    """
    for execution in store.get_executions():
        if execution.last_known_state not in _OPEN:
            continue
        execution.last_known_state = mlmd.Execution.CANCELED
        store.put_executions([execution])
        for context in store.get_contexts_by_execution(execution.id):
            if context.type == constants.NODE_CONTEXT_TYPE_NAME:
                step = context.name.partition(".")[2]
                for folder in (artifacts_dir / step).glob(f"*/{execution.id}"):
                    shutil.rmtree(folder, ignore_errors=True)


def _abandon_quietly(connection: mlmd.ConnectionConfig, artifacts_dir: Path) -> None:
    try:
        with metadata.Metadata(connection) as handle:
            abandon(handle.store, artifacts_dir)
    except Exception:  # a full disk, say: what went wrong first is what the user is to hear of
        _log.exception("What the run had begun could not be cancelled in ML Metadata.")


def _planned(node: pipeline_pb2.PipelineNode) -> State:
    options = node.execution_options
    if not options.HasField("skip"):
        return State.WAITING
    return State.REUSED if partial_run.is_needed(node) else State.SKIPPED


def _state(connection: mlmd.ConnectionConfig, step: str, execution_id: int | None) -> State:
    """Asks ML Metadata how a launch ended: the launcher returns in silence where inputs are missing."""
    if execution_id is None:
        raise PipelineError(f"{step} did not run: what it needs from the steps before it is not there.")
    with metadata.Metadata(connection) as handle:
        [execution] = handle.store.get_executions_by_id([execution_id])
    if execution.last_known_state == mlmd.Execution.CACHED:
        return State.CACHED
    if execution.last_known_state == mlmd.Execution.COMPLETE:
        return State.DONE
    state = mlmd.Execution.State.Name(execution.last_known_state)
    raise PipelineError(f"{step} did not run ({state}): its inputs could not be found; its log says which.")
