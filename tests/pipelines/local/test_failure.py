import errno
from pathlib import Path

import pytest

from components.errors import DataRejected, InputError, PipelineError
from pipelines.disk_errors import disk_error
from pipelines.local.failure import explain, is_expected

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


def test_an_error_written_for_the_user_is_taken_as_it_is() -> None:
    found = explain(DataRejected("Half of the labels are missing."), ROOT)
    assert (type(found), str(found), found.exit_status) == (
        DataRejected,
        "Half of the labels are missing.",
        4,
    )


def test_it_is_found_behind_what_a_library_made_of_it() -> None:
    outer = _behind(InputError("The folder is empty."), RuntimeError("bundle failed"), explicit=True)
    assert str(explain(outer, ROOT)) == "The folder is empty."
    assert explain(outer, ROOT).exit_status == 2
    assert is_expected(outer)


def test_it_is_found_in_the_traceback_that_beam_hands_on() -> None:
    text = (
        "Traceback (most recent call last):\n  File ...\n"
        "components.errors.DataRejected: Half of the labels are missing. [while running 'Count/Map']\n"
    )
    found = explain(RuntimeError(text), ROOT)
    assert (type(found), str(found)) == (DataRejected, "Half of the labels are missing.")
    assert is_expected(RuntimeError(text))


def test_anything_else_is_named_by_type_and_first_line() -> None:
    found = explain(ValueError("the cat sat\non the mat [while running 'x']"), ROOT)
    assert (str(found), found.exit_status) == ("ValueError: the cat sat", 1)
    assert not is_expected(ValueError("x"))
    assert str(explain(KeyError(), ROOT)) == "KeyError: no message"
    long = str(explain(ValueError("many words " * 100), ROOT))
    assert 250 < len(long) < 330
    assert long.endswith(" …")


def test_a_full_disk_real_one() -> None:
    with pytest.raises(OSError) as caught:
        Path("/dev/full").write_text("x")
    found = explain(caught.value, Path("/my output"))
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
def test_a_full_disk_in_other_words_or_behind_a_later_error(error: Exception) -> None:
    assert "catsdogs clean --set output_root=/output" in str(explain(error, ROOT))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/output/runs"), "read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/output/runs"), "no permission"),
    ],
)
def test_an_output_that_cannot_be_written_may_be_another_folder(error: OSError, why: str) -> None:
    said = str(explain(error, ROOT))
    assert all(part in said for part in ("/output ", why, "--set output_root=DIR"))


def test_a_file_elsewhere_is_not_blamed_on_the_output() -> None:
    read_only = str(explain(OSError(errno.EROFS, "Read-only file system", "/data/tfds"), ROOT))
    assert "/data/tfds" in read_only
    assert "output_root" not in read_only
    forbidden = str(explain(PermissionError(errno.EACCES, "Permission denied", "/pictures/cat.jpg"), ROOT))
    assert "PermissionError" in forbidden
    assert "/output" not in forbidden


def test_other_trouble_with_the_output_folder_names_it() -> None:
    error = disk_error(NotADirectoryError(errno.ENOTDIR, "Not a directory", "/output/x"), ROOT)
    assert isinstance(error, PipelineError)
    assert "/output " in str(error)
    assert "Not a directory" in str(error)
