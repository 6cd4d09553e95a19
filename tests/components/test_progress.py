"""The progress of a pass over the images."""

from __future__ import annotations

import pytest

from components.progress import Progress


def test_images_that_are_read_again_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catsdogs.progress")
    progress = Progress(2)
    for _ in range(4):
        progress.step()
    assert caplog.messages == ["2 of 2 images"]
