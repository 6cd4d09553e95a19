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
from serving.local.metrics import Metrics
from serving.local.servable import Servable
from serving.local.status import StatusError
from tests.serving import models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def half(folder: Path) -> Servable:
    return Servable("half", 1, models.half_plus_two(folder / "half"))


class Recorder:
    """Runs servables, and keeps how many rows each run had; runs wait until the gate is open."""

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


def together(
    recorder: Recorder, ask: Callable[[Batcher], Sequence[Coroutine[Any, Any, Any]]], **options: int
) -> list[Any]:
    """Returns what requests give that come while the only runner is busy with the first."""

    async def main() -> list[Any]:
        batcher = Batcher(recorder, Metrics(), runners=1, **options)
        recorder.gate.clear()
        tasks = []
        for coroutine in ask(batcher):
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


def code(answer: object) -> grpc.StatusCode:
    assert isinstance(answer, StatusError)
    return answer.code


def test_what_waits_runs_at_once_and_everybody_gets_their_own(half: Servable) -> None:
    recorder = Recorder()
    answers = together(
        recorder,
        lambda batcher: [batcher.run(half, "serving_default", x(*range(n, n + n % 3 + 1))) for n in range(7)],
    )
    for n, answer in enumerate(answers):
        np.testing.assert_array_equal(answer["y"], x(*range(n, n + n % 3 + 1))["x"] / 2 + 2)
    assert recorder.rows == [1, 12]


def test_batches_do_not_grow_over_their_limit(half: Servable) -> None:
    recorder = Recorder()
    together(
        recorder,
        lambda batcher: [batcher.run(half, "serving_default", x(n, n)) for n in range(6)],
        max_batch=5,
    )
    assert recorder.rows == [2, 4, 4, 2]


def test_a_large_request_of_strings_runs_in_parts_and_leaves_room_for_others(folder: Path) -> None:
    spec = tf.TensorSpec([None], tf.string)
    servable = Servable("text", 1, models.identity(folder / "text", {"x": spec}))
    texts = np.array([str(number).encode() for number in range(10)], object)
    recorder = Recorder()
    large, small = together(
        recorder,
        lambda batcher: [
            batcher.run(servable, "serving_default", {"x": texts}),
            batcher.run(servable, "serving_default", {"x": texts[:1]}),
        ],
        max_batch=4,
    )
    assert large["x"].tolist() == texts.tolist()
    assert small["x"].tolist() == [b"0"]
    assert recorder.rows[:2] == [4, 1]
    assert sum(recorder.rows) == 11


def test_a_large_request_of_numbers_runs_at_once(half: Servable) -> None:
    recorder = Recorder()
    answers = together(
        recorder,
        lambda batcher: [batcher.run(half, "serving_default", x(*range(count))) for count in (1, 10, 2)],
        max_batch=4,
    )
    assert [len(answer["y"]) for answer in answers] == [1, 10, 2]
    assert recorder.rows == [1, 10, 2]


def test_a_bad_picture_fails_alone(folder: Path, picture: Callable[..., bytes]) -> None:
    servable = Servable("mean", 1, models.image_mean(folder / "mean"))
    pictures = [picture(0), picture(1), b"no picture", picture(2)]
    answers = together(
        Recorder(),
        lambda batcher: [
            batcher.run(servable, "serving_default", {"image_bytes": np.array([one], object)})
            for one in pictures
        ],
    )
    assert code(answers[2]) is grpc.StatusCode.INVALID_ARGUMENT
    assert "Unknown image file format" in str(answers[2])
    assert [answer["mean"].shape for answer in (answers[0], answers[1], answers[3])] == [(1,)] * 3


def test_only_what_is_alike_runs_together(folder: Path) -> None:
    spec = tf.TensorSpec([None, None], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec(spec.shape, name=name) for name in ("a", "b")])
    def first_columns(a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"a": a[:, :1], "b": b[:, :1]}

    tf.saved_model.save(tf.Module(), str(folder / "columns"), signatures=first_columns)
    servable = Servable("columns", 1, folder / "columns")
    one, wide = np.ones((1, 1), np.float32), np.ones((1, 2), np.float32)
    recorder = Recorder()
    answers = together(
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
    assert [answer.keys() for answer in answers[:4]] == [{"a", "b"}] * 3 + [{"a"}]
    assert code(answers[4]) is grpc.StatusCode.INVALID_ARGUMENT
    assert code(answers[5]) is grpc.StatusCode.FAILED_PRECONDITION
    assert answers[6]["b"].shape == (3, 1)


def total(x: tf.Tensor) -> tf.Tensor:
    """Gives one number for all rows."""
    return tf.reduce_sum(x)


def distinct(x: tf.Tensor) -> tf.Tensor:
    """Gives another number of rows than it takes."""
    return tf.unique(x).y


def words(x: tf.Tensor) -> tf.Tensor:
    """Gives rows that are as wide as the widest."""
    return tf.strings.split(x).to_tensor("-")


@pytest.mark.parametrize(
    ("compute", "kind", "requests", "expected"),
    [
        (total, tf.float32, [[0, 0], [1, 1], [2, 2]], [0, 2, 4]),
        (distinct, tf.float32, [[1, 1, 0], [1, 1, 1], [1, 1, 2]], [[1, 0], [1], [1, 2]]),
        (words, tf.string, [[b"a"], [b"a b c"], [b"a b"]], [[[b"a"]], [[b"a", b"b", b"c"]], [[b"a", b"b"]]]),
    ],
)
def test_what_cannot_run_in_a_batch_runs_request_by_request(
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
    answers = together(
        Recorder(),
        lambda batcher: [
            batcher.run(servable, "serving_default", {"x": np.array(values, kind.as_numpy_dtype)})
            for values in requests
        ],
    )
    assert [answer["y"].tolist() for answer in answers] == expected


def test_our_own_network_runs_in_batches(folder: Path, picture: Callable[..., bytes]) -> None:
    servable = Servable("ours", 1, models.classifier(folder / "ours"))
    inputs = {"image_bytes": np.array([picture(0)], object)}
    assert batch_rows(servable, "serving_default", inputs) == 1


def test_a_full_queue_refuses_and_recovers(half: Servable) -> None:
    async def twice(batcher: Batcher) -> Any:
        with pytest.raises(StatusError):
            await batcher.run(half, "serving_default", x(5))
        await asyncio.sleep(0.2)
        return await batcher.run(half, "serving_default", x(6))

    answers = together(
        Recorder(),
        lambda batcher: [
            *(batcher.run(half, "serving_default", x(n)) for n in range(4)),
            twice(batcher),
        ],
        max_queue=3,
    )
    assert answers[4]["y"] == [[5]]
    assert not any(isinstance(answer, Exception) for answer in answers)


def test_who_has_no_time_left_is_told_and_not_run(half: Servable) -> None:
    recorder = Recorder()

    async def main() -> None:
        batcher = Batcher(recorder, Metrics(), runners=1)
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


def test_an_error_nobody_expected_ends_the_request_and_not_the_server(half: Servable) -> None:
    def fails(*_: object) -> dict[str, np.ndarray]:
        raise MemoryError("no room")

    async def main() -> None:
        batcher = Batcher(fails, Metrics(), runners=1)
        for _ in range(3):
            with pytest.raises(StatusError, match="no room") as error:
                await batcher.run(half, "serving_default", x(1))
            assert code(error.value) is grpc.StatusCode.INTERNAL
        batcher.close()

    asyncio.run(main())
