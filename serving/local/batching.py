"""Batches requests that are queued at the same time, so that the model runs once for several of them.

There is no batch timeout: a free thread takes the requests that are queued. While a batch runs, the next one
fills up, so that batches grow with the load and a single client never waits for others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

import grpc
import numpy as np

from serving.local.metrics import ServerMetrics
from serving.local.servable import DEFAULT_SIGNATURE, Servable
from serving.local.status import StatusError, to_status_error, unavailable

_log = logging.getLogger(__name__)

Tensors = Mapping[str, np.ndarray]
Run = Callable[[Servable, str, Tensors, Sequence[str]], dict[str, np.ndarray]]
_Result = dict[str, np.ndarray] | StatusError


@dataclass(eq=False)
class _BatchTask:
    """A queued request, or a part of a large one.

    Attributes:
        rows: Its batch size; None if it must run alone.
    """

    servable: Servable
    signature_name: str
    inputs: Tensors
    output_filter: tuple[str, ...]
    rows: int | None
    future: asyncio.Future[dict[str, np.ndarray]]
    queued_at: float = field(default_factory=time.perf_counter)

    @property
    def batch_key(self) -> object:
        """Tasks with equal keys may run in one batch."""
        if self.rows is None:
            return self
        shapes = tuple((name, array.dtype, array.shape[1:]) for name, array in sorted(self.inputs.items()))
        return id(self.servable), self.signature_name, self.output_filter, shapes


class Batcher:
    """Runs requests in batches on a few threads. Use it from one event loop only.

    Args:
        run: Runs one batch: servable, signature name, inputs, output names (none means all). It blocks, and
            must be thread-safe.
        metrics: Counts the batches.
        max_batch_size: Most rows in a batch. Larger requests with string inputs run in parts of that size.
        max_queued: Most requests in the queue; further ones fail with UNAVAILABLE.
        num_batch_threads: Number of batches that run at the same time.
    """

    def __init__(
        self,
        run: Run,
        metrics: ServerMetrics,
        *,
        max_batch_size: int = 16,
        max_queued: int = 4096,
        num_batch_threads: int = 2,
    ) -> None:
        self._run = run
        self._metrics = metrics
        self._max_batch_size = max_batch_size
        self._max_queued = max_queued
        self._queues: dict[object, deque[_BatchTask]] = {}  # by batch key, the longest-waiting key first
        self._queued = 0
        self._free_threads = num_batch_threads
        self._threads = ThreadPoolExecutor(num_batch_threads, "batch")

    async def run(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Tensors,
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one request, in a batch with others if possible.

        Args:
            servable: The version to run.
            signature_name: The signature to run; empty means `serving_default`.
            inputs: Tensors by input name; strings as arrays of type object that hold bytes.
            output_filter: The outputs to return; none means all.
            timeout: In seconds; None means no limit.

        Returns:
            Tensors by output name.

        Raises:
            StatusError: The queue is full, the timeout expired, or the model rejects the request.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        rows = batch_rows(servable, signature_name, inputs)
        size = self._max_batch_size
        # Only strings are split: they may be images, which are much larger once decoded.
        has_strings = any(array.dtype == object for array in inputs.values())
        if rows is None or rows <= size or not has_strings:
            parts: list[tuple[Tensors, int | None]] = [(inputs, rows)]
        else:
            parts = [
                (
                    {name: array[start : start + size] for name, array in inputs.items()},
                    min(size, rows - start),
                )
                for start in range(0, rows, size)
            ]
        try:
            async with asyncio.timeout(timeout):
                # Sequentially, so that the parts of a large request do not fill the queue.
                results = [
                    await self._enqueue(servable, signature_name, part, tuple(output_filter), part_rows)
                    for part, part_rows in parts
                ]
        except TimeoutError:
            raise StatusError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"The request exceeded the limit of {timeout:g} s."
            ) from None
        if len(results) == 1:
            return results[0]
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}

    def close(self) -> None:
        """Waits for the running batches to finish."""
        self._threads.shutdown()

    def _enqueue(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Tensors,
        output_filter: tuple[str, ...],
        rows: int | None,
    ) -> asyncio.Future[dict[str, np.ndarray]]:
        if self._queued >= self._max_queued:
            raise unavailable("The batch scheduling queue to which this task was submitted is full")
        future = asyncio.get_running_loop().create_future()
        task = _BatchTask(servable, signature_name, inputs, output_filter, rows, future)
        self._queues.setdefault(task.batch_key, deque()).append(task)
        self._queued += 1
        self._schedule_batches()
        return future

    def _schedule_batches(self) -> None:
        while self._free_threads and self._queues:
            if batch := self._next_batch():
                self._free_threads -= 1
                done = asyncio.get_running_loop().run_in_executor(self._threads, self._run_batch, batch)
                done.add_done_callback(partial(self._finish_batch, batch))

    def _next_batch(self) -> list[_BatchTask]:
        """Removes the next batch from the longest-waiting queue, without tasks that were cancelled."""
        key = next(iter(self._queues))
        queue = self._queues.pop(key)
        batch: list[_BatchTask] = []
        rows = 0
        while queue and (not batch or rows + (queue[0].rows or 0) <= self._max_batch_size):
            task = queue.popleft()
            self._queued -= 1
            if not task.future.done():
                batch.append(task)
                rows += task.rows or 0
        if queue:
            self._queues[key] = queue  # at the end, behind the other keys
        return batch

    def _run_batch(self, batch: Sequence[_BatchTask]) -> list[_Result]:
        """Runs a batch in a thread. If it fails, each task runs alone, so that only the bad ones fail."""
        started = time.perf_counter()
        try:
            results = self._run_merged(batch) if len(batch) > 1 else None
            return results or [self._run_task(task) for task in batch]
        finally:
            self._metrics.batch_finished(
                batch[0].servable.name,
                time.perf_counter() - started,
                [started - task.queued_at for task in batch],
            )

    def _run_merged(self, batch: Sequence[_BatchTask]) -> list[_Result] | None:
        """Runs several tasks as one; returns None if that fails."""
        first = batch[0]
        try:
            merged = {name: np.concatenate([task.inputs[name] for task in batch]) for name in first.inputs}
            outputs = self._run(first.servable, first.signature_name, merged, first.output_filter)
        except StatusError:
            return None
        except Exception:  # also of merging, for example for lack of memory
            _log.exception("a batch of %s failed", first.servable.name)
            return None
        ends = list(accumulate(task.rows or 0 for task in batch))
        if any(array.shape[:1] != (ends[-1],) for array in outputs.values()):
            return None  # the signature declares a batch dimension that the outputs do not have
        return [
            {name: array[end - (task.rows or 0) : end] for name, array in outputs.items()}
            for task, end in zip(batch, ends, strict=True)
        ]

    def _run_task(self, task: _BatchTask) -> _Result:
        try:
            return self._run(task.servable, task.signature_name, task.inputs, task.output_filter)
        except Exception as error:
            if not isinstance(error, StatusError):
                _log.exception("%s failed", task.servable.name)
            return to_status_error(error)

    def _finish_batch(self, batch: Sequence[_BatchTask], done: asyncio.Future[list[_Result]]) -> None:
        self._free_threads += 1
        self._schedule_batches()  # first, so that the thread does not idle while responses are written
        for task, result in zip(batch, done.result(), strict=True):
            if task.future.done():  # cancelled
                continue
            if isinstance(result, StatusError):
                task.future.set_exception(result)
            else:
                task.future.set_result(result)


def batch_rows(servable: Servable, signature_name: str, inputs: Tensors) -> int | None:
    """Returns the batch size of a request, or None if it must run alone.

    A signature can be batched if the first dimension of every input and output is unknown, and no other
    dimension of an output is: that one could depend on the other rows of the batch. Requests that do not fit
    their signature run alone, so that only they fail.
    """
    signature = servable.signature_defs.get(signature_name)
    if signature is None or not inputs or inputs.keys() != signature.inputs.keys():
        return None
    for info in (*signature.inputs.values(), *signature.outputs.values()):
        shape = info.tensor_shape
        if shape.unknown_rank or not shape.dim or shape.dim[0].size != -1:
            return None
    if any(dim.size < 0 for info in signature.outputs.values() for dim in info.tensor_shape.dim[1:]):
        return None
    rows = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
    return rows.pop() or None if len(rows) == 1 else None
