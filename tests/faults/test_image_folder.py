"""Image folders with links, pipes and devices: no file gets two labels, and a run never waits for a file."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_TIMEOUT = 300.0  # seconds; many times the duration


def ingest(images: Path, output_root: Path) -> subprocess.CompletedProcess[str]:
    """Runs the pipeline up to ImageExampleGen."""
    settings = {"output_root": output_root, "data.max_rejected_fraction": 0.2}
    return subprocess.run(
        [
            *(
                Path(sys.executable).with_name("catsdogs"),
                "run",
                "--images",
                images,
                "--to",
                "ImageExampleGen",
            ),
            *(argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")),
        ],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
    )


def test_link_that_gives_a_file_both_classes_stops_the_run_before_it_starts(
    folder_of: Callable[[Mapping[str, int]], Path], tmp_path: Path
) -> None:
    images = folder_of({"cats": 1, "dogs": 1})
    (images / "cats" / "loop").symlink_to("..")
    result = ingest(images, tmp_path / "output")
    assert result.returncode == 2, result.stderr
    assert str(images / "dogs") in result.stderr
    assert str(images / "cats/loop/dogs") in result.stderr
    assert not (tmp_path / "output").exists()


@pytest.mark.e2e
@pytest.mark.faults
def test_links_pipes_and_devices_neither_block_ingest_nor_count_twice(
    folder_of: Callable[[Mapping[str, int]], Path], tmp_path: Path, make_image: Callable[..., bytes]
) -> None:
    subfolders = [f"cats/{number}" for number in range(12)]
    images = folder_of(dict.fromkeys(subfolders, 4) | {"dogs": 50})
    for folder in subfolders:
        for number in range(12):
            (images / folder / f"to-{number}").symlink_to(f"../{number}")
    (tmp_path / "elsewhere.jpg").write_bytes(make_image(1000))
    (images / "dogs" / "linked.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    os.mkfifo(images / "dogs" / "pipe.jpg")
    targets = {"device.jpg": "/dev/zero", "dangling.jpg": "nowhere.jpg", "itself.jpg": "itself.jpg"}
    for name, target in targets.items():
        (images / "dogs" / name).symlink_to(target)

    result = ingest(images, tmp_path / "output")

    assert result.returncode == 0, result.stderr
    [table] = (tmp_path / "output").rglob("rejected.csv")
    with table.open() as lines:
        rejected = {row["file"] for row in csv.DictReader(lines)}
    assert rejected == {f"dogs/{name}" for name in ("pipe.jpg", *targets)}
    [log] = (tmp_path / "output").rglob("*-ImageExampleGen.log")
    assert f"'{images}/dogs/linked.jpg'" in log.read_text()
