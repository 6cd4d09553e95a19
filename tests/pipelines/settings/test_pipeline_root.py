from __future__ import annotations

import pytest

from pipelines.settings.pipeline_root import check_pipeline_root

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
    assert check_pipeline_root(root) == root


def test_a_slash_at_the_end_makes_no_difference() -> None:
    assert check_pipeline_root("s3://bucket/") == "s3://bucket"
    assert check_pipeline_root(f"s3://bucket/a/{SERVICE}") == f"s3://bucket/a{SERVICE}"


@pytest.mark.parametrize(
    ("root", "named"),
    [
        *(
            (root, root)
            for root in (
                *("", "/var/artifacts", "hdfs://bucket/a", "S3://bucket/a", "s3://", "s3:///a"),
                *("s3://bucket//a", "s3://bucket/a//", "s3://bucket/a/../b", "s3://bucket/./b"),
                *("s3://bucket/a b", "s3://bucket/a&b", "s3://bucket/ä", "s3://bucket/a#b"),
            )
        ),
        ("s3://bucket/a\n", r"s3://bucket/a\n"),
        ("s3://My_Bucket/a", "'My_Bucket'"),
        ("minio://my_bucket", "'my_bucket'"),
        ("gs://My-Bucket", "'My-Bucket'"),
        ("s3://ab", "'ab'"),
        (f"s3://{'a' * 64}", f"'{'a' * 64}'"),
        ("s3://-bucket", "'-bucket'"),
        ("s3://bucket.", "'bucket.'"),
        ("s3://buc..ket", "'buc..ket'"),
        ("s3://user:pw@bucket", "'user:pw@bucket'"),
        ("s3://bucket?endpoint=http://minio:9000&s3ForcePathStyle=true", "'s3ForcePathStyle=true'"),
        ("s3://bucket?region=", "'region='"),
        ("s3://bucket?region", "'region'"),
        ("s3://bucket?", "''"),
        ("s3://bucket?endpoint=minio:9000", "'minio:9000'"),
        (f"gs://bucket{SERVICE}", "gs://"),
    ],
)
def test_where_kfp_cannot_write(root: str, named: str) -> None:
    with pytest.raises(ValueError, match="^'") as caught:  # its callers put a setting's name before it
        check_pipeline_root(root)
    assert named in str(caught.value)
