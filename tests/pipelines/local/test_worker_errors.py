import errno
from pathlib import Path

import pytest

from components.errors import DataRejected, InputError, PipelineError
from pipelines.disk_errors import disk_error
from pipelines.local.worker import is_user_error, to_pipeline_error

ROOT = Path("/output")


def _behind(first: Exception, second: Exception, explicit: bool = False) -> Exception:
    """Returns the second exception as it looks when it was raised while the first was handled."""
    try:
        try:
            raise first
        except Exception as handled:
            raise second from (handled if explicit else None)
    except Exception as outer:
        return outer


def test_a_user_error_is_returned_unchanged() -> None:
    found = to_pipeline_error(DataRejected("Half of the labels are missing."), ROOT)
    assert (type(found), str(found), found.exit_status) == (
        DataRejected,
        "Half of the labels are missing.",
        4,
    )


def test_a_user_error_is_found_behind_a_library_s_exception() -> None:
    outer = _behind(InputError("The folder is empty."), RuntimeError("bundle failed"), explicit=True)
    assert str(to_pipeline_error(outer, ROOT)) == "The folder is empty."
    assert to_pipeline_error(outer, ROOT).exit_status == 2
    assert is_user_error(outer)


def test_a_user_error_is_found_in_the_traceback_text_of_beam() -> None:
    text = (
        "Traceback (most recent call last):\n  File ...\n"
        "components.errors.DataRejected: Half of the labels are missing. [while running 'Count/Map']\n"
    )
    found = to_pipeline_error(RuntimeError(text), ROOT)
    assert (type(found), str(found)) == (DataRejected, "Half of the labels are missing.")
    assert is_user_error(RuntimeError(text))


def test_other_exceptions_become_their_type_and_first_line() -> None:
    found = to_pipeline_error(ValueError("the cat sat\non the mat [while running 'x']"), ROOT)
    assert (str(found), found.exit_status) == ("ValueError: the cat sat", 1)
    assert not is_user_error(ValueError("x"))
    assert str(to_pipeline_error(KeyError(), ROOT)) == "KeyError: no message"
    long = str(to_pipeline_error(ValueError("many words " * 100), ROOT))
    assert 250 < len(long) < 330
    assert long.endswith(" …")


def test_a_full_disk_is_reported() -> None:
    with pytest.raises(OSError) as caught:
        Path("/dev/full").write_text("x")
    found = to_pipeline_error(caught.value, Path("/my output"))
    assert type(found) is PipelineError
    assert "catsdogs clean --set 'output_root=/my output'" in str(found)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("UNKNOWN: /output/x; No space left on device [Op:WriteFile]"),
        RuntimeError("INTERNAL: database or disk is full"),
        _behind(OSError(errno.ENOSPC, "No space left on device"), RuntimeError("ML Metadata failed")),
    ],
)
def test_a_full_disk_is_found_in_messages_and_behind_later_errors(error: Exception) -> None:
    assert "catsdogs clean --set output_root=/output" in str(to_pipeline_error(error, ROOT))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/output/runs"), "read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/output/runs"), "no permission"),
    ],
)
def test_an_unwritable_output_root_suggests_another_folder(error: OSError, why: str) -> None:
    said = str(to_pipeline_error(error, ROOT))
    assert all(part in said for part in ("/output ", why, "--set output_root=DIR"))


def test_an_error_outside_the_output_root_does_not_name_it() -> None:
    read_only = str(to_pipeline_error(OSError(errno.EROFS, "Read-only file system", "/data/tfds"), ROOT))
    assert "/data/tfds" in read_only
    assert "output_root" not in read_only
    forbidden = str(
        to_pipeline_error(PermissionError(errno.EACCES, "Permission denied", "/pictures/cat.jpg"), ROOT)
    )
    assert "PermissionError" in forbidden
    assert "/output" not in forbidden


def test_other_errors_in_the_output_root_name_it() -> None:
    error = disk_error(NotADirectoryError(errno.ENOTDIR, "Not a directory", "/output/x"), ROOT)
    assert isinstance(error, PipelineError)
    assert "/output " in str(error)
    assert "Not a directory" in str(error)
