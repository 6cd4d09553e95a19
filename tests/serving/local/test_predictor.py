from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from serving.local.limits import Limits
from serving.local.metrics import Metrics
from serving.local.models import Models, configs
from serving.local.predictor import Answer, Predictor
from serving.local.status import StatusError
from tests.serving import models


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    folder = tmp_path_factory.mktemp("mean")
    models.image_mean(folder, 1)
    models.image_mean(folder, 2)
    config = folder / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "mean" base_path: "{folder}" model_platform: "tensorflow" '
        'model_version_policy { all {} } version_labels { key: "stable" value: 1 } } }'
    )
    result = Models(configs("mean", folder, config))
    result.start()
    assert result.wait_until_loaded(60)
    yield result
    result.stop()


def ask(served: Models, *pictures: bytes, **how: object) -> list[Answer | BaseException]:
    """Returns what requests of one picture each give, all sent at once."""

    async def main() -> list[Answer | BaseException]:
        predictor = Predictor(served, Limits(max_pixels=10_000), Metrics())
        asked = {"version": None, "label": None, "signature_name": "", **how}
        requests = [
            predictor.predict("mean", inputs={"image_bytes": np.array([one], object)}, **asked)  # type: ignore[arg-type]
            for one in pictures
        ]
        try:
            return await asyncio.gather(*requests, return_exceptions=True)
        finally:
            predictor.close()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("how", "version"), [({}, 2), ({"version": 1}, 1), ({"label": "stable"}, 1), ({"version": 2}, 2)]
)
def test_the_version_asked_for_answers(
    served: Models, picture: Callable[..., bytes], how: dict[str, object], version: int
) -> None:
    (answer,) = ask(served, picture(0), **how)
    assert isinstance(answer, Answer)
    assert answer.servable.version == version
    assert answer.outputs["mean"].shape == (1,)


def test_a_picture_that_is_too_large_is_refused_undecoded_and_the_others_are_answered(
    served: Models, picture: Callable[..., bytes]
) -> None:
    answers = ask(served, picture(0), picture(1, size=(101, 100)), b"text", picture(2, size=(100, 100)))
    assert isinstance(answers[0], Answer)
    assert isinstance(answers[1], StatusError)
    assert "limit is 10000 pixels" in str(answers[1])
    assert isinstance(answers[2], StatusError)
    assert "Unknown image file format" in str(answers[2])
    assert isinstance(answers[3], Answer)


def test_what_is_not_served_is_said_in_tensorflow_serving_s_words(
    served: Models, picture: Callable[..., bytes]
) -> None:
    (answer,) = ask(served, picture(0), version=9)
    assert str(answer) == "Servable not found for request: Specific(mean, 9)"
    (answer,) = ask(served, picture(0), signature_name="other")
    assert str(answer) == 'Serving signature key "other" not found.'
