from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from benchmarks import tutorial


@pytest.mark.slow
def test_the_script_trains_like_the_notebook(
    tmp_path: Path,
    make_image: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    index = 0
    for part, count in (("train", 8), ("validation", 33)):
        for name in ("cats", "dogs"):
            (tmp_path / part / name).mkdir(parents=True)
            for _ in range(count):
                (tmp_path / part / name / f"{index}.jpg").write_bytes(make_image(index))
                index += 1
    monkeypatch.setattr(tutorial, "SIZE", 32)
    monkeypatch.setattr(sys, "argv", ["tutorial", str(tmp_path), "--epochs", "1"])
    tf.config.run_functions_eagerly(True)  # tracing the graphs takes longer than these few steps
    try:
        tutorial.main()
    finally:
        tf.config.run_functions_eagerly(False)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(result["seconds"]) == ["imports", "images and network", "frozen", "measuring", "fine-tuning"]
    assert all(seconds > 0 for seconds in result["seconds"].values())
    assert (result["train_images"], result["test_images"]) == (16, 66)
    assert all(0 <= correct <= 66 for correct in result["correct"].values())
    assert result["trainable"] == {"frozen": 2, "fine-tuning": 56}  # as the notebook prints them
    assert result["xla"] is False
