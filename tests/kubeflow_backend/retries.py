"""Which tries of a pod Argo repeats. Go: workflow/controller/operator.go, processNodeRetries."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.kubeflow_backend.launcher import Failed
from tests.kubeflow_backend.specs import Task


class Deleted(Failed):
    """The pod was deleted: an error in Argo's words, where an exit status is a failure."""


@dataclass(frozen=True)
class RetryStrategy:
    """How often a node of a workflow is repeated.

    Attributes:
        limit: Retries at most.
        policy: `OnFailure`, which is Argo's own default, or `OnError`; KFP sets none.
    """

    limit: int
    policy: str = "OnFailure"

    def repeats(self, error: Failed, retry: int) -> bool:
        """Returns whether a node is tried again after a number of retries."""
        is_error = isinstance(error, Deleted)
        return retry < self.limit and self.policy == ("OnError" if is_error else "OnFailure")


# `templateDefaults` in the workflow-controller-configmap of KFP 2.17 as installed; 2.16 has none. Argo merges
# them under the strategy of each template, so that a task's own limit gets this policy.
INSTALLED = RetryStrategy(2, "OnError")


def of_task(task: Task, defaults: RetryStrategy | None) -> RetryStrategy:
    """Returns the strategy of a task's pod."""
    strategy = defaults or RetryStrategy(0)
    if task.spec.HasField("retry_policy"):
        return replace(strategy, limit=task.spec.retry_policy.max_retry_count)
    return strategy
