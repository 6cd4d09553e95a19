"""Checks pipeline roots: the bucket and folder for artifacts, and an optional query."""

from __future__ import annotations

import re

_ROOT = re.compile(r"(gs|s3|minio)://([^/?#\s]+)((?:/[^/?#\s]+)*)/?(\?.*)?")
# KFP inserts the folder unescaped into a query, so it must not contain a query's special characters.
_FOLDER = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._=@:-]+)*")
_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_GOOGLE_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")

# Query parameters that gocloud, with which KFP opens buckets, accepts; it refuses a root with any other.
_QUERY = ("endpoint", "region", "use_path_style", "disable_https")


def check_pipeline_root(root: str) -> str:
    """Checks a pipeline root: `SCHEME://BUCKET/FOLDER`, with an optional query for s3 and minio.

    Returns:
        The root without a trailing slash.

    Raises:
        ValueError: KFP cannot write there.
    """
    match = _ROOT.fullmatch(root)
    if match is None or not _FOLDER.fullmatch(match[3]):
        raise ValueError(
            f"{root!r} is not a pipeline root that KFP can write to: it must be minio://BUCKET/FOLDER, "
            "s3://BUCKET/FOLDER or gs://BUCKET/FOLDER, with folders of letters, digits and -._=@:"
        )
    scheme, bucket, folder, query = match.groups(default="")
    if not (_GOOGLE_BUCKET if scheme == "gs" else _BUCKET).fullmatch(bucket):
        raise ValueError(
            f"{root!r} has the bucket {bucket!r}, but a bucket name must be 3 to 63 lower-case letters, "
            "digits, hyphens and dots, with a letter or digit at both ends"
        )
    if query:
        _check_query(root, scheme, query.removeprefix("?"))
    return f"{scheme}://{bucket}{folder}{query}"


def _check_query(root: str, scheme: str, query: str) -> None:
    if scheme == "gs":
        raise ValueError(
            f"{root!r} has a query, but gs:// takes none: remove the question mark and what follows"
        )
    for option in query.split("&"):
        name, _, value = option.partition("=")
        if name not in _QUERY or not value:
            raise ValueError(
                f"{root!r} has {option!r} in its query, but KFP accepts only {', '.join(_QUERY[:-1])} and "
                f"{_QUERY[-1]}, as NAME=VALUE separated by &"
            )
        if name == "endpoint" and not value.startswith(("http://", "https://")):
            raise ValueError(
                f"{root!r} has the endpoint {value!r}, which must begin with http:// or https://"
            )
