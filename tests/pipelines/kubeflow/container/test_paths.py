from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.kubeflow.container.paths import Paths


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("minio://mlpipeline/v2/a", "/minio/mlpipeline/v2/a"),
        ("s3://bucket/v2/a", "/s3/bucket/v2/a"),
        ("gs://bucket/v2/a", "/gcs/bucket/v2/a"),
    ],
)
def test_artifacts_are_where_the_launcher_puts_them(uri: str, path: str) -> None:
    paths = Paths.from_environment({})
    assert paths.executor_path(uri) == path
    assert paths.to_uri(path) == uri


def test_only_google_s_store_stays_remote_for_remote_workers() -> None:
    paths = Paths.from_environment({}, keep_remote=True)
    assert paths.executor_path("gs://bucket/a") == "gs://bucket/a"
    assert paths.to_uri("gs://bucket/a") == "gs://bucket/a"
    assert paths.executor_path("s3://bucket/a") == "/s3/bucket/a"
    assert paths.local_path("gs://bucket/a") == Path("/gcs/bucket/a")


@pytest.mark.parametrize(
    "text", ["/state/catsdogs/serving_model/1795331511", "miniodata", "cat", "/minios/a"]
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert Paths.from_environment({}).to_uri(text) == text
