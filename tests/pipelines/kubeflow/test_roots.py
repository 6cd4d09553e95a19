from __future__ import annotations

import pytest

from pipelines.kubeflow.roots import check

SERVICE = "?endpoint=https://minio.example.com:9000&region=eu-1&use_path_style=true"


@pytest.mark.parametrize(
    "root",
    [
        "minio://mlpipeline/v2/artifacts",
        "s3://bucket",
        "s3://my.bucket-1/a_b/C=1/x@y:z",
        f"s3://{'a' * 63}/a",
        "gs://my_bucket/a/b",
        "s3://0-9/.hidden/...",
        f"minio://mlpipeline/v2{SERVICE}",
        "s3://bucket?endpoint=http://minio:9000&disable_https=true",
        "s3://bucket/a?region=eu-central-1",
    ],
)
def test_where_kfp_can_write(root: str) -> None:
    assert check(root) == root


def test_a_slash_at_the_end_makes_no_difference() -> None:
    assert check("s3://bucket/") == "s3://bucket"
    assert check(f"s3://bucket/a/{SERVICE}") == f"s3://bucket/a{SERVICE}"


@pytest.mark.parametrize(
    ("root", "sentence"),
    [
        ("", "'' is not a place that KFP can write to: it must be minio://BUCKET/FOLDER, s3://BUCKET"),
        ("/var/artifacts", "is not a place that KFP can write to"),
        ("hdfs://bucket/a", "is not a place that KFP can write to"),
        ("S3://bucket/a", "is not a place that KFP can write to"),
        ("s3://", "is not a place that KFP can write to"),
        ("s3:///a", "is not a place that KFP can write to"),
        ("s3://bucket//a", "is not a place that KFP can write to"),
        ("s3://bucket/a//", "is not a place that KFP can write to"),
        ("s3://bucket/a/../b", "is not a place that KFP can write to"),
        ("s3://bucket/./b", "is not a place that KFP can write to"),
        ("s3://bucket/a b", "is not a place that KFP can write to"),
        ("s3://bucket/a&b", "the folder of letters, digits and -._=@: between its slashes"),
        ("s3://bucket/ä", "is not a place that KFP can write to"),
        ("s3://bucket/a#b", "is not a place that KFP can write to"),
        ("s3://bucket/a\n", "is not a place that KFP can write to"),
        (
            "s3://My_Bucket/a",
            "'s3://My_Bucket/a' has 'My_Bucket' as its bucket, and a bucket's name must be 3",
        ),
        ("minio://my_bucket", "has 'my_bucket' as its bucket"),
        ("gs://My-Bucket", "has 'My-Bucket' as its bucket"),
        ("s3://ab", "has 'ab' as its bucket"),
        (f"s3://{'a' * 64}", "as its bucket"),
        ("s3://-bucket", "has '-bucket' as its bucket"),
        ("s3://bucket.", "has 'bucket.' as its bucket"),
        ("s3://buc..ket", "has 'buc..ket' as its bucket"),
        ("s3://user:pw@bucket", "has 'user:pw@bucket' as its bucket"),
        (
            "s3://bucket?endpoint=http://minio:9000&s3ForcePathStyle=true",
            "has 's3ForcePathStyle=true' in its query, and KFP takes endpoint, region, use_path_style and",
        ),
        ("s3://bucket?disableSSL=true", "has 'disableSSL=true' in its query"),
        ("s3://bucket?region=", "has 'region=' in its query"),
        ("s3://bucket?region", "has 'region' in its query"),
        ("s3://bucket?", "has '' in its query"),
        (
            "s3://bucket?endpoint=minio:9000",
            "has the endpoint 'minio:9000', which must begin with http:// or",
        ),
        (
            f"gs://bucket{SERVICE}",
            "has a query, and gs:// takes none: leave out what follows the question mark",
        ),
    ],
)
def test_where_kfp_cannot_write(root: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="^'") as caught:
        check(root)
    assert sentence in str(caught.value)
    assert not str(caught.value).endswith(".")
