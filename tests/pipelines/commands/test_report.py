"""Tests `catsdogs report` and the copying of reports into run folders."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from pipelines.runs import reports
from pipelines.settings.loading import load
from tests.pipelines.conftest import Command
from tests.pipelines.stores import record_output

OLD, NEW, NEWEST = "2026-11-20T05-10-01", "2026-11-21T05-10-02", "2026-11-22T05-10-03"


@pytest.fixture
def report(catsdogs: Command, tmp_path: Path) -> Command:
    """Runs `catsdogs report` on the runs in `tmp_path`."""
    return lambda *arguments: catsdogs("report", *arguments, "--set", f"output_root={tmp_path}")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Creates three runs; the newest has no report."""
    for run_id in (OLD, NEW, NEWEST):
        (tmp_path / "runs" / run_id).mkdir(parents=True)
        if run_id != NEWEST:
            (tmp_path / "runs" / run_id / "report.html").write_text(run_id)
    return tmp_path / "runs"


def test_newest_report_is_printed_and_a_newer_run_without_one_is_named(report: Command, runs: Path) -> None:
    status, out, err = report()
    assert (status, out) == (0, f"{runs / NEW / 'report.html'}\n")
    assert NEWEST in err
    assert NEW in err
    (runs / NEWEST / "report.html").touch()
    assert report() == (0, f"{runs / NEWEST / 'report.html'}\n", "")
    assert report(OLD) == (0, f"{runs / OLD / 'report.html'}\n", "")


def test_run_without_report_exits_with_2(report: Command, runs: Path) -> None:
    status, out, err = report(NEWEST)
    assert (status, out) == (2, "")
    assert all(part in err for part in (NEWEST, "EvaluationReport", str(runs / NEWEST / "run.json")))


@pytest.mark.parametrize("named", [[], [NEWEST]])
def test_report_of_a_run_that_failed_later_is_found(report: Command, runs: Path, named: list[str]) -> None:
    made = runs.parent / "artifacts" / "17"
    made.mkdir(parents=True)
    for name in ("report.html", "model_card.md", "report.json"):
        (made / name).write_text(name)
    record_output(
        load(overrides=[f"output_root={runs.parent}"]).metadata_path, NEWEST, "EvaluationReport.report", made
    )
    assert report(*named) == (0, f"{runs / NEWEST / 'report.html'}\n", "")
    assert (runs / NEWEST / "report.html").read_text() == "report.html"
    status, _, err = report(NEW)
    assert (status, err) == (0, "")


def test_unknown_run_exits_with_2(report: Command, runs: Path) -> None:
    status, out, err = report("2026-11-21T05-10-20")
    assert (status, out) == (2, "")
    assert all(part in err for part in ("2026-11-21T05-10-20", str(runs.parent), NEW))


def test_no_runs_or_no_reports_exits_with_2(report: Command, tmp_path: Path) -> None:
    status, _, err = report(OLD)
    assert status == 2
    assert str(tmp_path) in err
    for runs in ("none", OLD):
        if runs != "none":
            (tmp_path / "runs" / OLD).mkdir(parents=True)
        status, _, err = report()
        assert status == 2
        assert str(tmp_path) in err


@pytest.mark.parametrize(("opened", "expected"), [(True, 0), (False, 1)])
def test_report_opens_in_the_browser(
    report: Command, runs: Path, monkeypatch: pytest.MonkeyPatch, opened: bool, expected: int
) -> None:
    opened_urls: list[str] = []

    def open_(url: str) -> bool:
        opened_urls.append(url)
        return opened

    monkeypatch.setattr(webbrowser, "open", open_)
    status, out, err = report(OLD, "--open")
    assert (status, opened_urls) == (expected, [f"file://{runs / OLD / 'report.html'}"])
    assert out == f"{runs / OLD / 'report.html'}\n"
    assert (str(runs / OLD / "report.html") in err) is not opened


def test_copy_writes_report_and_model_card(tmp_path: Path) -> None:
    made, run_dir = tmp_path / "made", tmp_path / "run"
    for folder in (made, run_dir):
        folder.mkdir()
    for name in ("report.html", "model_card.md", "report.json"):
        (made / name).write_text(name)
    assert reports.copy(str(made), run_dir) == run_dir / "report.html"
    assert {file.name: file.read_text() for file in run_dir.iterdir()} == {
        "report.html": "report.html",
        "model_card.md": "model_card.md",
    }
