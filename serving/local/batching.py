"""Merges requests that wait at the same time, so that the model runs once for many of them.

Nothing is waited for on purpose: as soon as a runner is free, it takes what is there. While it runs, the next
batch gathers, so that batches grow with the load by themselves and a single client never waits.
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

from serving.local.metrics import Metrics
from serving.local.servable import DEFAULT_SIGNATURE, Servable, status_of
from serving.local.status import StatusError, unavailable

_log = logging.getLogger(__name__)

Tensors = Mapping[str, np.ndarray]
Run = Callable[[Servable, str, Tensors, Sequence[str]], dict[str, np.ndarray]]


@dataclass(eq=False)
class _Waiting:
    """A request, or a part of a large one.

    Attributes:
        rows: Its leading dimension; None where it must run alone.
    """

    servable: Servable
    signature_name: str
    inputs: Tensors
    output_filter: tuple[str, ...]
    rows: int | None
    answer: asyncio.Future[dict[str, np.ndarray]]
    since: float = field(default_factory=time.perf_counter)

    @property
    def kind(self) -> object:
        """Requests of equal kind may run in one batch."""
        if self.rows is None:
            return self
        shapes = tuple((name, array.dtype, array.shape[1:]) for name, array in sorted(self.inputs.items()))
        return id(self.servable), self.signature_name, self.output_filter, shapes


class Batcher:
    """Runs requests in batches on a few threads. To be used from one event loop only.

    Args:
        run: Runs one batch: servable, signature's name, inputs, names of the outputs (none means all).
            Blocking, thread-safe.
        metrics: Counts what runs.
        max_batch: How many rows run at once. Requests with more strings are run in parts of that size.
        max_queue: How many requests may wait; further ones are refused.
        runners: How many batches run at the same time.
    """

    def __init__(
        self, run: Run, metrics: Metrics, *, max_batch: int = 16, max_queue: int = 4096, runners: int = 2
    ) -> None:
        self._run = run
        self._metrics = metrics
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._waiting: dict[object, deque[_Waiting]] = {}  # by kind, the kind that waits longest first
        self._count = 0
        self._free = runners
        self._threads = ThreadPoolExecutor(runners, "batch")

    async def run(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Tensors,
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one request, together with others or alone.

        Args:
            servable: The version to run.
            signature_name: Which of its signatures; empty means `serving_default`.
            inputs: By the signature's names for them; strings as arrays of type object that hold bytes.
            output_filter: The outputs wanted; none means all.
            timeout: In seconds; None means that the caller waits as long as it takes.

        Returns:
            The outputs by the signature's names for them.

        Raises:
            StatusError: The queue is full, the time is up, or the model refuses the request.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        rows = batch_rows(servable, signature_name, inputs)
        # Strings may be pictures, and much larger once they are decoded. Numbers are as large as they come.
        has_strings = any(array.dtype == object for array in inputs.values())
        if rows is None or rows <= self._max_batch or not has_strings:
            parts: list[tuple[Tensors, int | None]] = [(inputs, rows)]
        else:
            parts = [
                (
                    {name: array[start : start + self._max_batch] for name, array in inputs.items()},
                    min(self._max_batch, rows - start),
                )
                for start in range(0, rows, self._max_batch)
            ]
        try:
            async with asyncio.timeout(timeout):
                # One after the other, so that a large request leaves room for the others' rows.
                answers = [
                    await self._enqueue(servable, signature_name, part, tuple(output_filter), count)
                    for part, count in parts
                ]
        except TimeoutError:
            raise StatusError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"The request was not answered within {timeout:g} s."
            ) from None
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def close(self) -> None:
        """Waits for the batches that run."""
        self._threads.shutdown()

    def _enqueue(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Tensors,
        output_filter: tuple[str, ...],
        rows: int | None,
    ) -> asyncio.Future[dict[str, np.ndarray]]:
        if self._count >= self._max_queue:
            raise unavailable("The batch scheduling queue to which this task was submitted is full")
        answer = asyncio.get_running_loop().create_future()
        one = _Waiting(servable, signature_name, inputs, output_filter, rows, answer)
        self._waiting.setdefault(one.kind, deque()).append(one)
        self._count += 1
        self._start()
        return answer

    def _start(self) -> None:
        """Gives work to the free runners."""
        while self._free and self._waiting:
            if batch := self._next_batch():
                self._free -= 1
                work = asyncio.get_running_loop().run_in_executor(self._threads, self._work, batch)
                work.add_done_callback(partial(self._finished, batch))

    def _next_batch(self) -> list[_Waiting]:
        """Takes requests of the kind that waits longest, without those that nobody waits for any more."""
        kind = next(iter(self._waiting))
        queue = self._waiting.pop(kind)
        batch: list[_Waiting] = []
        rows = 0
        while queue and (not batch or rows + (queue[0].rows or 0) <= self._max_batch):
            one = queue.popleft()
            self._count -= 1
            if not one.answer.done():
                batch.append(one)
                rows += one.rows or 0
        if queue:
            self._waiting[kind] = queue  # behind the other kinds
        return batch

    def _work(self, batch: Sequence[_Waiting]) -> list[dict[str, np.ndarray] | StatusError]:
        """Runs a batch, in a thread; one that fails again, one by one, so that only the bad ones fail."""
        started = time.perf_counter()
        try:
            try:
                return self._together(batch)
            except Exception as error:  # of merging too, such as no room for the merged inputs
                return [status_of(error)] if len(batch) == 1 else [self._alone(one) for one in batch]
        finally:
            self._metrics.batch_finished(
                batch[0].servable.name,
                time.perf_counter() - started,
                [started - one.since for one in batch],
            )

    def _together(self, batch: Sequence[_Waiting]) -> list[dict[str, np.ndarray] | StatusError]:
        first = batch[0]
        if len(batch) == 1:
            return [self._checked(first, first.inputs)]
        merged = {name: np.concatenate([one.inputs[name] for one in batch]) for name in first.inputs}
        outputs = self._checked(first, merged)
        ends = list(accumulate(one.rows or 0 for one in batch))
        if any(array.shape[:1] != (ends[-1],) for array in outputs.values()):
            return [self._alone(one) for one in batch]  # the signature promised rows, and does not keep it
        return [
            {name: array[end - (one.rows or 0) : end] for name, array in outputs.items()}
            for one, end in zip(batch, ends, strict=True)
        ]

    def _alone(self, one: _Waiting) -> dict[str, np.ndarray] | StatusError:
        try:
            return self._checked(one, one.inputs)
        except StatusError as error:
            return error

    def _checked(self, one: _Waiting, inputs: Tensors) -> dict[str, np.ndarray]:
        try:
            return self._run(one.servable, one.signature_name, inputs, one.output_filter)
        except StatusError:
            raise
        except Exception as error:
            _log.exception("%s failed", one.servable.name)
            raise StatusError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}") from error

    def _finished(
        self, batch: Sequence[_Waiting], work: asyncio.Future[list[dict[str, np.ndarray] | StatusError]]
    ) -> None:
        self._free += 1
        self._start()  # before the answers are written, which takes the runner's time otherwise
        for one, answer in zip(batch, work.result(), strict=True):
            if one.answer.done():  # nobody waits for it any more
                continue
            if isinstance(answer, StatusError):
                one.answer.set_exception(answer)
            else:
                one.answer.set_result(answer)


def batch_rows(servable: Servable, signature_name: str, inputs: Tensors) -> int | None:
    """Returns how many rows a request has, or None where it cannot be merged with others.

    A signature can be batched where every input and output has a first dimension of any size, and its outputs
    no other such dimension, as that may grow with the other rows of a batch. Requests that do not fit their
    signature run alone, and get its complaint alone.
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
