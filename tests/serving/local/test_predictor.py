from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from serving.local.limits import Limits
from serving.local.metrics import Metrics
from serving.local.predictor import Predictor
from serving.local.servable import Servable
from serving.local.status import StatusError
from tests.serving import models

Answers = list[dict[str, np.ndarray] | BaseException]


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return Servable("mean", 1, models.image_mean(tmp_path_factory.mktemp("mean"), 1))


def ask(servable: Servable, *pictures: bytes, signature_name: str = "") -> Answers:
    """Returns what requests of one picture each give, all sent at once."""

    async def main() -> Answers:
        predictor = Predictor(Limits(max_pixels=10_000), Metrics())
        requests = [
            predictor.run(servable, signature_name, {"image_bytes": np.array([one], object)})
            for one in pictures
        ]
        try:
            return await asyncio.gather(*requests, return_exceptions=True)
        finally:
            predictor.close()

    return asyncio.run(main())


def test_a_picture_that_is_too_large_is_refused_undecoded_and_the_others_are_answered(
    servable: Servable, picture: Callable[..., bytes]
) -> None:
    answers = ask(servable, picture(0), picture(1, size=(101, 100)), b"text", picture(2, size=(100, 100)))
    for answer in (answers[0], answers[3]):
        assert isinstance(answer, dict)
        assert answer["mean"].shape == (1,)
    assert isinstance(answers[1], StatusError)
    assert "limit is 10000 pixels" in str(answers[1])
    assert isinstance(answers[2], StatusError)
    assert "Unknown image file format" in str(answers[2])


def test_what_is_not_served_is_said_in_tensorflow_serving_s_words(
    servable: Servable, picture: Callable[..., bytes]
) -> None:
    (answer,) = ask(servable, picture(0), signature_name="other")
    assert str(answer) == 'Serving signature key "other" not found.'
