from pathlib import Path

import pytest

from pipelines.local.wording import duration, path, share, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (65.4, "1 min 05 s"), (7380, "2 h 03 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes() -> None:
    assert size(12_340_000) == "12.3 MB"
    assert size(2_500_000_000) == "2.5 GB"


def test_shares_with_and_without_an_interval() -> None:
    assert share(0.97892, None) == "97.89%"
    assert share(0.97892, (0.92648, 0.9942)) == "97.89% (92.6–99.4)"
    assert share(1.0, (0.9612, 1.0), decimals=1) == "100.0% (96.1–100.0)"


def test_paths_below_the_working_directory_are_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert path(tmp_path / "output" / "runs") == "output/runs"
    assert path(Path("/elsewhere/x")) == "/elsewhere/x"
    assert path("gs://bucket/pets/7") == "gs://bucket/pets/7"
