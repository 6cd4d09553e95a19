"""A LocalDagRunner that updates the run record and writes a log file for each step."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import partial_run_utils, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import context_lib
from tfx.proto.orchestration import pipeline_pb2

from components.errors import PipelineError
from pipelines.local import outcome, partial_run, reuse
from pipelines.runs.run_record import RunRecord, StepRecord, StepState

_PAGE_SIZE = 100  # executions that ML Metadata reads at once
_UNFINISHED = {mlmd.Execution.NEW, mlmd.Execution.RUNNING}

_log = logging.getLogger(__name__)


class ReportingRunner(LocalDagRunner):
    """Runs a pipeline, or a part of it, and updates the run record.

    Args:
        record: Its `run_id` names the run in ML Metadata; the runner sets `steps` and `outcome`.
        send: Called after each change of the record.
        open_log: Redirects output to the log of the step with this position and name.
        from_node: The first node to run; nodes before it reuse the outputs of an earlier run.
        to_node: The last node to run.
        base_run_id: The run whose outputs are reused; None means the newest run that has them.
        is_interrupted: Returns True if the user has interrupted the run; libraries may replace
            KeyboardInterrupt by an exception of their own.
        watch: Returns the context in which the node with this name runs.
    """

    def __init__(
        self,
        record: RunRecord,
        send: Callable[[], None],
        open_log: Callable[[int, str], None],
        from_node: str | None = None,
        to_node: str | None = None,
        base_run_id: str | None = None,
        is_interrupted: Callable[[], bool] = lambda: False,
        watch: Callable[[str], AbstractContextManager[None]] = lambda step: nullcontext(),
    ) -> None:
        super().__init__()
        self._record = record
        self._send = send
        self._open_log = open_log
        self._from_step = from_node
        self._to_step = to_node
        self._base_run_id = base_run_id
        self._is_interrupted = is_interrupted
        self._watch = watch

    def run_with_ir(
        self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None
    ) -> None:
        """Runs the compiled pipeline.

        Args:
            pipeline: Its intermediate representation.
            run_options: Not used; pass `from_node` and `to_node` to the constructor.

        Raises:
            PipelineError: A node's name is unknown, the clock was set back too far, or a node did not run.
            Exception: The exception of a component.
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
            check_clock(handle.store)
            partial_run.mark_nodes(pipeline, handle.store, self._from_step, self._to_step, self._base_run_id)
            cancel_unfinished_executions(handle.store, root)
            nodes = [node.pipeline_node for node in pipeline.nodes]
            context_lib.prepare_contexts(handle, nodes[0].contexts)
        self._record.steps = {node.node_info.id: StepRecord(state=_planned_state(node)) for node in nodes}
        self._send()
        try:
            for position, node in enumerate(nodes, start=1):
                if _planned_state(node) is StepState.WAITING:
                    self._open_log(position, node.node_info.id)
                    self._run_step(pipeline, node, deployment, connection)
            with metadata.Metadata(connection) as handle:
                self._record.outcome = outcome.read_outcome(handle.store, self._record.run_id)
            self._send()
        except BaseException:
            _cancel_and_log_errors(connection, root)
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
        step.state, step.started = StepState.RUNNING, time.time()
        self._send()
        start = time.monotonic()
        state = StepState.FAILED
        try:
            if node.execution_options.run.perform_snapshot:
                with metadata.Metadata(connection) as handle:
                    partial_run_utils.snapshot(handle, pipeline)
            launcher = reuse.RecordingLauncher(
                pipeline_node=node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=pipeline.pipeline_info,
                pipeline_runtime_spec=pipeline.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
            )
            with self._watch(name):
                info = launcher.launch()
            state = _final_state(connection, name, info.execution_id)
        except BaseException as error:
            if self._is_interrupted() or isinstance(error, KeyboardInterrupt):
                state = StepState.STOPPED
                raise KeyboardInterrupt from error
            raise
        finally:
            step.state, step.seconds = state, round(time.monotonic() - start, 2)
            self._send()


def check_clock(store: ml_metadata.MetadataStore) -> None:
    """Checks that ML Metadata will find the executions of a run that starts now.

    It reads them in pages, newest first, and loses new ones that are older than a page of others.

    Raises:
        PipelineError: The clock is behind more executions than a page holds.
    """
    now = time.time()
    created = (execution.create_time_since_epoch / 1000 for execution in store.get_executions())
    ahead = [seconds for seconds in created if seconds > now]
    if len(ahead) >= _PAGE_SIZE:
        clock, newest = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC" for at in (now, max(ahead)))
        raise PipelineError(
            f"The clock of this machine is at {clock}, but runs in this output root are from {newest}: "
            "set the clock, or use another output root (--set output_root=DIR)."
        )


def cancel_unfinished_executions(store: ml_metadata.MetadataStore, artifacts_dir: Path) -> None:
    """Marks all unfinished executions as cancelled, and removes their partly written outputs.

    The caller must have the output root's lock: otherwise an execution may still be running.
    """
    for execution in store.get_executions():
        if execution.last_known_state not in _UNFINISHED:
            continue
        execution.last_known_state = mlmd.Execution.CANCELED
        store.put_executions([execution])
        for context in store.get_contexts_by_execution(execution.id):
            if context.type == constants.NODE_CONTEXT_TYPE_NAME:
                node_id = context.name.partition(".")[2]
                for folder in (artifacts_dir / node_id).glob(f"*/{execution.id}"):
                    shutil.rmtree(folder, ignore_errors=True)


def _cancel_and_log_errors(connection: mlmd.ConnectionConfig, artifacts_dir: Path) -> None:
    try:
        with metadata.Metadata(connection) as handle:
            cancel_unfinished_executions(handle.store, artifacts_dir)
    except Exception:  # for example a full disk: the first error is the one to report
        _log.exception("Unfinished executions could not be cancelled in ML Metadata.")


def _planned_state(node: pipeline_pb2.PipelineNode) -> StepState:
    options = node.execution_options
    if not options.HasField("skip"):
        return StepState.WAITING
    return StepState.REUSED if partial_run.reuses_outputs(node) else StepState.SKIPPED


def _final_state(connection: mlmd.ConnectionConfig, step: str, execution_id: int | None) -> StepState:
    """Reads from ML Metadata how a launch ended: the launcher raises no error if inputs are missing."""
    if execution_id is None:
        raise PipelineError(f"{step} did not run: its inputs from earlier steps do not exist.")
    with metadata.Metadata(connection) as handle:
        [execution] = handle.store.get_executions_by_id([execution_id])
    if execution.last_known_state == mlmd.Execution.CACHED:
        return StepState.CACHED
    if execution.last_known_state == mlmd.Execution.COMPLETE:
        return StepState.DONE
    state = mlmd.Execution.State.Name(execution.last_known_state)
    raise PipelineError(f"{step} did not run ({state}): its inputs could not be found; the log names them.")
