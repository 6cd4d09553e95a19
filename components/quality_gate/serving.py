"""What the serving check found, as a rule of the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.quality_gate.verdict import SERVING_CHECK, Rule


def rule(served: Mapping[str, Any]) -> Rule:
    """Returns the serving check's own verdict, with its latency beside the limit.

    Args:
        served: What `components.serving_check.report` wrote.
    """
    allowed = served.get("limits", {}).get("max_latency_ms")
    times = {name: figures["p95_ms"] for name, figures in served.get("protocols", {}).items()}
    slowest = max(times.values(), default=None)
    if served["blessed"]:
        told = " and ".join(f"{milliseconds:.4g} ms over {name}" for name, milliseconds in times.items())
        words = (
            f"{served['server']} answers as the model was judged, 95 of 100 pictures within {told}; "
            f"{allowed:g} ms are allowed."
        )
        return Rule(SERVING_CHECK, "passed", slowest, allowed, words[:1].upper() + words[1:])
    problems = served.get("problems") or ["the serving check left no report"]
    reason = f"it must not be served: {problems[0]}"
    words = f"It must not be served: {'; '.join(problems)}."
    return Rule(SERVING_CHECK, "failed", slowest, allowed, words, reason)
