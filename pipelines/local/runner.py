"""TFX's LocalDagRunner, reporting each step and keeping its log in a file of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import launcher, partial_run_utils, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import context_lib
from tfx.proto.orchestration import pipeline_pb2

from components.errors import PipelineError
from pipelines import runs
from pipelines.local import leftovers, outcome, partial
from pipelines.local.events import Ended, Event, Finished, Planned, Started, State

_log = logging.getLogger(__name__)


class ReportingRunner(LocalDagRunner):
    """Runs a pipeline, or a part of it, under a run id of ours.

    Args:
        run_id: Name of the run in ML Metadata.
        started: When the run began, in seconds of the epoch.
        send: Takes the events.
        open_log: Turns the output to the log of the step with this position and name.
        from_step: The first step to run anew; the ones before it give what they gave in an earlier run.
        to_step: The last step to run.
        again: The run that gives what is not run; None means the newest one that has it.
        is_interrupted: Whether the user has interrupted the run, whatever a library has made of it.
    """

    def __init__(
        self,
        run_id: str,
        started: float,
        send: Callable[[Event], None],
        open_log: Callable[[int, str], None],
        from_step: str | None = None,
        to_step: str | None = None,
        again: str | None = None,
        is_interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._run_id = run_id
        self._started = started
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
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = getattr(
            deployment.metadata_connection_config,
            deployment.metadata_connection_config.WhichOneof("connection_config"),
        )
        root = Path(pipeline.runtime_spec.pipeline_root.field_value.string_value)
        with metadata.Metadata(connection) as handle:
            partial.mark(pipeline, handle.store, self._from_step, self._to_step, self._again)
            leftovers.abandon(handle.store, root)
            nodes = [node.pipeline_node for node in pipeline.nodes]
            context_lib.prepare_contexts(handle, nodes[0].contexts)
            runs.note_start(handle.store, self._run_id, self._started)
        self._send(Planned({node.node_info.id: _planned(node) for node in nodes}))
        try:
            for position, node in enumerate(nodes, start=1):
                if _planned(node) is State.WAITING:
                    self._open_log(position, node.node_info.id)
                    self._run_step(pipeline, node, deployment, connection)
            self._close(connection)
        except BaseException as error:
            self._note_failure(connection, root, error)
            raise

    def _run_step(
        self,
        pipeline: pipeline_pb2.Pipeline,
        node: pipeline_pb2.PipelineNode,
        deployment: object,
        connection: mlmd.ConnectionConfig,
    ) -> None:
        step = node.node_info.id
        self._send(Started(step))
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
                executor_spec=runner_utils.extract_executor_spec(deployment, step),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, step),
            ).launch()
            state = _state(connection, step, info.execution_id)
        except BaseException as error:
            if self._is_interrupted() or isinstance(error, KeyboardInterrupt):
                state = State.STOPPED
                raise KeyboardInterrupt from error
            raise
        finally:
            self._send(Ended(step, state, time.monotonic() - start))

    def _close(self, connection: mlmd.ConnectionConfig) -> None:
        with metadata.Metadata(connection) as handle:
            result = outcome.read(handle.store, self._run_id)
            runs.note_outcome(handle.store, self._run_id, result)
        self._send(Finished(result))

    def _note_failure(self, connection: mlmd.ConnectionConfig, root: Path, error: BaseException) -> None:
        stopped = isinstance(error, KeyboardInterrupt)
        try:
            with metadata.Metadata(connection) as handle:
                leftovers.abandon(handle.store, root)
                runs.note_end(handle.store, self._run_id, runs.INTERRUPTED if stopped else runs.FAILED)
        except Exception:  # a full disk, say: what went wrong first is what the user is to hear of
            _log.exception("The end of the run could not be written to ML Metadata.")


def _planned(node: pipeline_pb2.PipelineNode) -> State:
    options = node.execution_options
    if not options.HasField("skip"):
        return State.WAITING
    return State.REUSED if partial.is_needed(node) else State.SKIPPED


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
