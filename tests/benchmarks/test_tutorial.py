from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_tutorial_s_script_trains_as_the_notebook_does(
    tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    index = 0
    for part, count in (("train", 8), ("validation", 33)):
        for name in ("cats", "dogs"):
            (tmp_path / part / name).mkdir(parents=True)
            for _ in range(count):
                (tmp_path / part / name / f"{index}.jpg").write_bytes(picture(index))
                index += 1
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.tutorial", str(tmp_path), "--epochs", "1"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(ended.stdout.splitlines()[-1])
    assert list(told["seconds"]) == ["imports", "pictures and network", "frozen", "measuring", "fine-tuning"]
    assert all(seconds > 0 for seconds in told["seconds"].values())
    assert (told["trained"], told["pictures"]) == (16, 66)
    assert all(0 <= correct <= 66 for correct in told["correct"].values())
    assert told["trainable"] == {"frozen": 2, "fine-tuning": 56}  # as the notebook prints them
    assert told["xla"] is False
