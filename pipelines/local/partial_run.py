"""Selects the nodes that run: `--from` and `--to`, with TFX's partial runs."""

from __future__ import annotations

from collections.abc import Sequence

import ml_metadata
from tfx.dsl.compiler import compiler_utils, constants
from tfx.orchestration import node_proto_view
from tfx.orchestration.portable import partial_run_utils
from tfx.proto.orchestration import pipeline_pb2

from components import integrity
from components.errors import InputError
from pipelines.runs import metadata
from pipelines.settings.errors import did_you_mean


def mark_nodes(
    pipeline: pipeline_pb2.Pipeline,
    store: ml_metadata.MetadataStore,
    from_node: str | None,
    to_node: str | None,
    base_run_id: str | None = None,
) -> None:
    """Marks the nodes of a compiled pipeline that run, and those that reuse outputs of an earlier run.

    `from_node` and all nodes that depend on it run without the cache, unless `base_run_id` is set.

    Args:
        pipeline: The compiled pipeline; changed in place.
        store: The metadata store with the earlier runs.
        from_node: The first node to run (case-insensitive); None means the pipeline's first.
        to_node: The last node to run (case-insensitive); None means the pipeline's last.
        base_run_id: The run whose outputs are reused; None means the newest run with all outputs needed.

    Raises:
        InputError: A name is unknown, `to_node` does not depend on `from_node`, no earlier run has the
            outputs needed, or they are damaged.
    """
    if from_node is None and to_node is None:
        return
    nodes = partial_run_utils.make_ordered_node_map(node_proto_view.get_view_for_all_in(pipeline))
    last = [find_node(to_node, list(nodes))] if to_node else list(nodes)
    if from_node is None:
        partial_run_utils.mark_pipeline(pipeline, to_nodes=last)
        return
    first = find_node(from_node, list(nodes))
    running = partial_run_utils.compute_nodes_to_run(nodes, [first], last, [])
    if not running:
        raise InputError(
            f"--from {first} --to {last[0]}: there is nothing to run, because {last[0]} does not "
            f"depend on {first}."
        )
    # Resolvers that only the running nodes use run again: their earlier results are out of date.
    resolvers = {
        name
        for name, node in nodes.items()
        if metadata.is_resolver(node.node_info.type.name) and set(node.downstream_nodes) <= running
    }
    partial_run_utils.mark_pipeline(pipeline, from_nodes=[first, *sorted(resolvers)], to_nodes=last)
    needed = [
        node.pipeline_node.node_info.id for node in pipeline.nodes if reuses_outputs(node.pipeline_node)
    ]
    if needed:
        base = _newest_run_with(store, pipeline.pipeline_info.id, needed, base_run_id)
        missing = [name for name in needed if not metadata.is_resolver(nodes[name].node_info.type.name)]
        if base is None and base_run_id:
            raise InputError(
                f"The run {base_run_id} does not have all outputs of {_join_names(missing)}, and other runs "
                "may have other models: train and evaluate the model again with catsdogs run."
            )
        if base is None:
            raise InputError(
                f"--from {first} reuses the outputs of {_join_names(missing)}, and no earlier run has "
                "all of them: run once without --from."
            )
        _check_files(store, base, needed)
        pipeline.runtime_spec.snapshot_settings.base_pipeline_run_strategy.base_run_id = base
    for node in pipeline.nodes if base_run_id is None else ():
        node.pipeline_node.execution_options.caching_options.enable_cache = False


def reuses_outputs(node: pipeline_pb2.PipelineNode) -> bool:
    """Returns True if a node does not run, and a running node reuses its outputs of an earlier run."""
    mode = node.execution_options.skip.reuse_artifacts_mode
    return bool(mode == pipeline_pb2.NodeExecutionOptions.Skip.REQUIRED)


def find_node(name: str, nodes: Sequence[str]) -> str:
    """Returns the node with this name (case-insensitive).

    Raises:
        InputError: There is none; the message names the closest one.
    """
    by_lower_name = {node.lower(): node for node in nodes}
    if name.lower() in by_lower_name:
        return by_lower_name[name.lower()]
    raise InputError(f"There is no node {name!r} in the pipeline.{did_you_mean(name, nodes)}")


def _newest_run_with(
    store: ml_metadata.MetadataStore, pipeline_name: str, nodes: Sequence[str], base_run_id: str | None
) -> str | None:
    """Returns the newest run in which all these nodes succeeded and whose artifacts still exist.

    Considers the run `base_run_id` alone, or all runs if it is None.
    """
    succeeded_by_node = []
    for node in nodes:
        name = compiler_utils.node_context_name(pipeline_name, node)
        context = store.get_context_by_type_and_name(constants.NODE_CONTEXT_TYPE_NAME, name)
        executions = store.get_executions_by_context(context.id) if context else []
        succeeded_by_node.append(
            {execution.id for execution in executions if metadata.has_succeeded(execution)}
        )
    for run in metadata.run_contexts(store):
        run_executions = {execution.id for execution in store.get_executions_by_context(run.id)}
        if base_run_id not in (None, run.name):
            continue
        if not metadata.is_cleaned(run) and all(
            run_executions & succeeded for succeeded in succeeded_by_node
        ):
            return str(run.name)
    return None


def _check_files(store: ml_metadata.MetadataStore, run_id: str, nodes: Sequence[str]) -> None:
    for name, output in metadata.run_outputs(store, run_id).items():
        if name.partition(".")[0] in nodes and integrity.is_damaged(output.artifact):
            raise InputError(
                f"{name} of the run {run_id} cannot be reused: the files in {output.artifact.uri} have "
                "changed since they were written. catsdogs run (without --from) creates them again."
            )


def _join_names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
