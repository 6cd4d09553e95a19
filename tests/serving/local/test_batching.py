from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from serving.local.batching import Batcher, Tensors, batch_rows
from serving.local.metrics import ServerMetrics
from serving.local.servable import Servable
from serving.local.status import StatusError
from tests.serving import saved_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def half(folder: Path) -> Servable:
    return Servable("half", 1, saved_models.half_plus_two(folder / "half"))


class Recorder:
    """Runs servables and records the number of rows of each run; runs wait until the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.rows: list[int] = []

    def __call__(
        self, servable: Servable, signature_name: str, inputs: Tensors, output_filter: Sequence[str]
    ) -> dict[str, np.ndarray]:
        self.gate.wait(60)
        self.rows.append(max(array.size for array in inputs.values()))
        return servable.run(signature_name, inputs, output_filter)


def run_queued(
    recorder: Recorder, send_requests: Callable[[Batcher], Sequence[Coroutine[Any, Any, Any]]], **options: int
) -> list[Any]:
    """Returns the results of requests that are queued while the only thread runs the first one."""

    async def main() -> list[Any]:
        batcher = Batcher(recorder, ServerMetrics(), num_batch_threads=1, **options)
        recorder.gate.clear()
        tasks = []
        for coroutine in send_requests(batcher):
            tasks.append(asyncio.create_task(coroutine))
            await asyncio.sleep(0)
        recorder.gate.set()
        try:
            return await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            batcher.close()

    return asyncio.run(main())


def x(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, np.float32).reshape(-1, 1)}


def code(response: object) -> grpc.StatusCode:
    assert isinstance(response, StatusError)
    return response.code


def test_queued_requests_run_in_one_batch(half: Servable) -> None:
    recorder = Recorder()
    responses = run_queued(
        recorder,
        lambda batcher: [batcher.run(half, "serving_default", x(*range(n, n + n % 3 + 1))) for n in range(7)],
    )
    for n, response in enumerate(responses):
        np.testing.assert_array_equal(response["y"], x(*range(n, n + n % 3 + 1))["x"] / 2 + 2)
    assert recorder.rows == [1, 12]


def test_batches_do_not_exceed_the_maximum_size(half: Servable) -> None:
    recorder = Recorder()
    run_queued(
        recorder,
        lambda batcher: [batcher.run(half, "serving_default", x(n, n)) for n in range(6)],
        max_batch_size=5,
    )
    assert recorder.rows == [2, 4, 4, 2]


def test_splits_a_large_request_of_strings(folder: Path) -> None:
    spec = tf.TensorSpec([None], tf.string)
    servable = Servable("text", 1, saved_models.identity(folder / "text", {"x": spec}))
    texts = np.array([str(number).encode() for number in range(10)], object)
    recorder = Recorder()
    large, small = run_queued(
        recorder,
        lambda batcher: [
            batcher.run(servable, "serving_default", {"x": texts}),
            batcher.run(servable, "serving_default", {"x": texts[:1]}),
        ],
        max_batch_size=4,
    )
    assert large["x"].tolist() == texts.tolist()
    assert small["x"].tolist() == [b"0"]
    assert recorder.rows[:2] == [4, 1]
    assert sum(recorder.rows) == 11


def test_does_not_split_a_large_request_of_numbers(half: Servable) -> None:
    recorder = Recorder()
    responses = run_queued(
        recorder,
        lambda batcher: [batcher.run(half, "serving_default", x(*range(count))) for count in (1, 10, 2)],
        max_batch_size=4,
    )
    assert [len(response["y"]) for response in responses] == [1, 10, 2]
    assert recorder.rows == [1, 10, 2]


def test_an_invalid_image_fails_alone(folder: Path, make_image: Callable[..., bytes]) -> None:
    servable = Servable("mean", 1, saved_models.image_mean(folder / "mean"))
    images = [make_image(0), make_image(1), b"not an image", make_image(2)]
    responses = run_queued(
        Recorder(),
        lambda batcher: [
            batcher.run(servable, "serving_default", {"image_bytes": np.array([one], object)})
            for one in images
        ],
    )
    assert code(responses[2]) is grpc.StatusCode.INVALID_ARGUMENT
    assert "Unknown image file format" in str(responses[2])
    assert [response["mean"].shape for response in (responses[0], responses[1], responses[3])] == [(1,)] * 3


def test_batches_only_requests_with_equal_signatures_and_shapes(folder: Path) -> None:
    spec = tf.TensorSpec([None, None], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec(spec.shape, name=name) for name in ("a", "b")])
    def first_columns(a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"a": a[:, :1], "b": b[:, :1]}

    tf.saved_model.save(tf.Module(), str(folder / "columns"), signatures=first_columns)
    servable = Servable("columns", 1, folder / "columns")
    one, wide = np.ones((1, 1), np.float32), np.ones((1, 2), np.float32)
    recorder = Recorder()
    responses = run_queued(
        recorder,
        lambda batcher: [
            batcher.run(servable, "serving_default", {"a": one, "b": one}),
            batcher.run(servable, "serving_default", {"a": one, "b": one}),
            batcher.run(servable, "serving_default", {"a": wide, "b": one}),
            batcher.run(servable, "serving_default", {"a": one, "b": one}, ("a",)),
            batcher.run(servable, "serving_default", {"a": one}),
            batcher.run(servable, "other", {"a": one, "b": one}),
            batcher.run(servable, "serving_default", {"a": one, "b": np.ones((3, 1), np.float32)}),
        ],
    )
    assert [response.keys() for response in responses[:4]] == [{"a", "b"}] * 3 + [{"a"}]
    assert code(responses[4]) is grpc.StatusCode.INVALID_ARGUMENT
    assert code(responses[5]) is grpc.StatusCode.FAILED_PRECONDITION
    assert responses[6]["b"].shape == (3, 1)


def total(x: tf.Tensor) -> tf.Tensor:
    """Returns one number for all rows."""
    return tf.reduce_sum(x)


def distinct(x: tf.Tensor) -> tf.Tensor:
    """Returns another number of rows than its input has."""
    return tf.unique(x).y


def words(x: tf.Tensor) -> tf.Tensor:
    """Returns rows as wide as the widest input row."""
    return tf.strings.split(x).to_tensor("-")


@pytest.mark.parametrize(
    ("compute", "kind", "requests", "expected"),
    [
        (total, tf.float32, [[0, 0], [1, 1], [2, 2]], [0, 2, 4]),
        (distinct, tf.float32, [[1, 1, 0], [1, 1, 1], [1, 1, 2]], [[1, 0], [1], [1, 2]]),
        (words, tf.string, [[b"a"], [b"a b c"], [b"a b"]], [[[b"a"]], [[b"a", b"b", b"c"]], [[b"a", b"b"]]]),
    ],
)
def test_runs_requests_that_cannot_be_batched_one_by_one(
    folder: Path,
    compute: Callable[[tf.Tensor], tf.Tensor],
    kind: tf.DType,
    requests: list[list[Any]],
    expected: list[Any],
) -> None:
    serve = tf.function(lambda x: {"y": compute(x)}, input_signature=[tf.TensorSpec([None], kind, name="x")])
    place = folder / compute.__name__
    tf.saved_model.save(tf.Module(), str(place), signatures=serve)
    servable = Servable("m", 1, place)
    responses = run_queued(
        Recorder(),
        lambda batcher: [
            batcher.run(servable, "serving_default", {"x": np.array(values, kind.as_numpy_dtype)})
            for values in requests
        ],
    )
    assert [response["y"].tolist() for response in responses] == expected


def test_batches_the_exported_classifier(folder: Path, make_image: Callable[..., bytes]) -> None:
    servable = Servable("ours", 1, saved_models.classifier(folder / "ours"))
    inputs = {"image_bytes": np.array([make_image(0)], object)}
    assert batch_rows(servable, "serving_default", inputs) == 1


def test_rejects_requests_while_the_queue_is_full(half: Servable) -> None:
    async def twice(batcher: Batcher) -> Any:
        with pytest.raises(StatusError):
            await batcher.run(half, "serving_default", x(5))
        await asyncio.sleep(0.2)
        return await batcher.run(half, "serving_default", x(6))

    responses = run_queued(
        Recorder(),
        lambda batcher: [
            *(batcher.run(half, "serving_default", x(n)) for n in range(4)),
            twice(batcher),
        ],
        max_queued=3,
    )
    assert responses[4]["y"] == [[5]]
    assert not any(isinstance(response, Exception) for response in responses)


def test_a_request_that_timed_out_does_not_run(half: Servable) -> None:
    recorder = Recorder()

    async def main() -> None:
        batcher = Batcher(recorder, ServerMetrics(), num_batch_threads=1)
        recorder.gate.clear()
        first = asyncio.create_task(batcher.run(half, "serving_default", x(1)))
        await asyncio.sleep(0)
        with pytest.raises(StatusError) as late:
            await batcher.run(half, "serving_default", x(2), timeout=0.05)
        assert code(late.value) is grpc.StatusCode.DEADLINE_EXCEEDED
        recorder.gate.set()
        await first
        await batcher.run(half, "serving_default", x(3))
        batcher.close()

    asyncio.run(main())
    assert recorder.rows == [1, 1]


def test_an_unexpected_error_fails_only_its_request(half: Servable) -> None:
    def fails(*_: object) -> dict[str, np.ndarray]:
        raise MemoryError("no room")

    async def main() -> None:
        batcher = Batcher(fails, ServerMetrics(), num_batch_threads=1)
        for _ in range(3):
            with pytest.raises(StatusError, match="no room") as error:
                await batcher.run(half, "serving_default", x(1))
            assert code(error.value) is grpc.StatusCode.INTERNAL
        batcher.close()

    asyncio.run(main())
