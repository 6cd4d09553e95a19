"""Pipeline roots: the bucket and folder where artifacts are kept, and how their service is reached."""

from __future__ import annotations

import re

_ROOT = re.compile(r"(gs|s3|minio)://([^/?#\s]+)((?:/[^/?#\s]+)*)/?(\?.*)?")
# KFP puts the folder into a query as it is, so what means something there may not be in it.
_FOLDER = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._=@:-]+)*")
_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_GOOGLE_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")

# Of those that gocloud reads, by which KFP opens a bucket; it refuses a root with any that it does not know.
_QUERY = ("endpoint", "region", "use_path_style", "disable_https")


def check(root: str) -> str:
    """Checks a pipeline root: `SCHEME://BUCKET/FOLDER`, for s3 and minio with a query or without.

    Returns:
        The root, without a slash at the end of the folder.

    Raises:
        ValueError: KFP could not write there; the message begins with what is wrong.
    """
    found = _ROOT.fullmatch(root)
    if found is None or not _FOLDER.fullmatch(found[3]):
        raise ValueError(
            f"{root!r} is not a place that KFP can write to: it must be minio://BUCKET/FOLDER, "
            "s3://BUCKET/FOLDER or gs://BUCKET/FOLDER, the folder of letters, digits and -._=@: between its "
            "slashes"
        )
    scheme, bucket, folder, query = found.groups(default="")
    if not (_GOOGLE_BUCKET if scheme == "gs" else _BUCKET).fullmatch(bucket):
        raise ValueError(
            f"{root!r} has {bucket!r} as its bucket, and a bucket's name must be 3 to 63 small letters, "
            "digits, hyphens and dots, with a letter or digit at both ends"
        )
    if query:
        _check_query(root, scheme, query.removeprefix("?"))
    return f"{scheme}://{bucket}{folder}{query}"


def _check_query(root: str, scheme: str, query: str) -> None:
    if scheme == "gs":
        raise ValueError(
            f"{root!r} has a query, and gs:// takes none: leave out what follows the question mark"
        )
    for option in query.split("&"):
        name, _, value = option.partition("=")
        if name not in _QUERY or not value:
            raise ValueError(
                f"{root!r} has {option!r} in its query, and KFP takes {', '.join(_QUERY[:-1])} and "
                f"{_QUERY[-1]} there, as NAME=VALUE with & between them"
            )
        if name == "endpoint" and not value.startswith(("http://", "https://")):
            raise ValueError(
                f"{root!r} has the endpoint {value!r}, which must begin with http:// or https://"
            )
