"""Which steps run: `--from` and `--to` on top of TFX's partial runs."""

from __future__ import annotations

from collections.abc import Sequence

import ml_metadata
from tfx.dsl.compiler import compiler_utils, constants
from tfx.orchestration import node_proto_view
from tfx.orchestration.portable import partial_run_utils
from tfx.proto.orchestration import pipeline_pb2

from components.errors import InputError
from pipelines.runs import metadata
from pipelines.settings.errors import nearest


def mark(
    pipeline: pipeline_pb2.Pipeline,
    store: ml_metadata.MetadataStore,
    from_step: str | None,
    to_step: str | None,
    again: str | None = None,
) -> None:
    """Marks the steps of a compiled pipeline that run, and those whose earlier outputs are taken.

    `from_step` and all that depends on it run anew, cache or no cache; where they run again for a certain
    run, the cache is asked.

    Args:
        pipeline: The compiled pipeline; changed in place.
        store: Where earlier runs are looked up.
        from_step: The first step to run, in any case; None means the pipeline's first.
        to_step: The last step to run, in any case; None means the pipeline's last.
        again: The run whose outputs are taken; None means the newest one that has all that is needed.

    Raises:
        InputError: A name is unknown, nothing lies between the two, or no earlier run has all that is needed.
    """
    if from_step is None and to_step is None:
        return
    nodes = partial_run_utils.make_ordered_node_map(node_proto_view.get_view_for_all_in(pipeline))
    last = [find(to_step, list(nodes))] if to_step else list(nodes)
    if from_step is None:
        partial_run_utils.mark_pipeline(pipeline, to_nodes=last)
        return
    first = find(from_step, list(nodes))
    running = partial_run_utils.compute_nodes_to_run(nodes, [first], last, [])
    if not running:
        raise InputError(
            f"--from {first} --to {last[0]}: nothing to run, because {first} is not before {last[0]}."
        )
    # What a resolver found in an earlier run is out of date: those that only serve what runs look anew.
    lookups = {
        name
        for name, node in nodes.items()
        if metadata.is_resolver(node.node_info.type.name) and set(node.downstream_nodes) <= running
    }
    partial_run_utils.mark_pipeline(pipeline, from_nodes=[first, *sorted(lookups)], to_nodes=last)
    needed = [node.pipeline_node.node_info.id for node in pipeline.nodes if is_needed(node.pipeline_node)]
    if needed:
        base = _newest_run_with(store, pipeline.pipeline_info.id, needed, again)
        asked = [name for name in needed if not metadata.is_resolver(nodes[name].node_info.type.name)]
        if base is None and again:
            raise InputError(
                f"The run {again} does not have all that {_listed(asked)} gave, and another run may have "
                "another model: train and judge it with catsdogs run first."
            )
        if base is None:
            raise InputError(
                f"--from {first} needs what {_listed(asked)} gave in an earlier run, and no run has got so "
                "far: run once without --from."
            )
        pipeline.runtime_spec.snapshot_settings.base_pipeline_run_strategy.base_run_id = base
    for node in pipeline.nodes if again is None else ():
        node.pipeline_node.execution_options.caching_options.enable_cache = False


def is_needed(node: pipeline_pb2.PipelineNode) -> bool:
    """Whether a step that does not run gives what it gave in an earlier run to one that does."""
    mode = node.execution_options.skip.reuse_artifacts_mode
    return bool(mode == pipeline_pb2.NodeExecutionOptions.Skip.REQUIRED)


def find(name: str, steps: Sequence[str]) -> str:
    """Returns the step of this name, whatever its case.

    Raises:
        InputError: There is none; the message names the nearest.
    """
    by_lower = {step.lower(): step for step in steps}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    raise InputError(f"There is no step {name!r} in the pipeline.{nearest(name, steps)}")


def _newest_run_with(
    store: ml_metadata.MetadataStore, pipeline_name: str, steps: Sequence[str], only: str | None
) -> str | None:
    """Returns the newest run in which all these steps succeeded and whose artifacts are still there.

    `only` is the one run that may be taken; None allows any.
    """
    succeeded = []
    for step in steps:
        name = compiler_utils.node_context_name(pipeline_name, step)
        context = store.get_context_by_type_and_name(constants.NODE_CONTEXT_TYPE_NAME, name)
        executions = store.get_executions_by_context(context.id) if context else []
        succeeded.append({execution.id for execution in executions if metadata.has_succeeded(execution)})
    for run in metadata.contexts(store):
        of_run = {execution.id for execution in store.get_executions_by_context(run.id)}
        if only not in (None, run.name):
            continue
        if not metadata.is_cleaned(run) and all(of_run & of_step for of_step in succeeded):
            return str(run.name)
    return None


def _listed(steps: Sequence[str]) -> str:
    return steps[0] if len(steps) == 1 else f"{', '.join(steps[:-1])} and {steps[-1]}"
