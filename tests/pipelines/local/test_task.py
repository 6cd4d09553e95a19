from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.errors import InputError
from pipelines import settings as settings_module
from pipelines.local.task import check_classes
from pipelines.settings import Settings


def _settings(tmp_path: Path, *overrides: str) -> Settings:
    return settings_module.load(overrides=[f"output_root={tmp_path}", *overrides])


def _past_run(settings: Settings, name: str, version: str | None) -> None:
    folder = settings.runs_dir / name
    folder.mkdir(parents=True)
    (folder / "settings.yaml").write_text(settings_module.dump(settings))
    push = {"version": version, "path": "somewhere"} if version else None
    (folder / "summary.json").write_text(json.dumps({"outcome": {"push": push}}))


def test_a_first_run_may_have_any_classes(tmp_path: Path) -> None:
    check_classes(_settings(tmp_path, "data.class_names=[ant, bee]"))


def test_the_same_classes_again(tmp_path: Path) -> None:
    _past_run(_settings(tmp_path), "2026-01-01", "7")
    check_classes(_settings(tmp_path))


def test_other_classes_under_the_name_of_a_served_model_are_refused(tmp_path: Path) -> None:
    _past_run(_settings(tmp_path), "2026-01-01", "7")
    with pytest.raises(
        InputError,
        match=r"'catsdogs' in .* serves a model for cat and dog, and data.class_names is now \[ant, bee\].*"
        "--set pipeline_name=ant-bee",
    ):
        check_classes(_settings(tmp_path, "data.class_names=[ant, bee]"))


def test_another_name_may_have_other_classes(tmp_path: Path) -> None:
    _past_run(_settings(tmp_path), "2026-01-01", "7")
    check_classes(_settings(tmp_path, "data.class_names=[ant, bee]", "pipeline_name=ant-bee"))


def test_runs_that_pushed_nothing_or_were_killed_do_not_count(tmp_path: Path) -> None:
    _past_run(_settings(tmp_path), "2026-01-01", None)
    (tmp_path / "runs" / "2026-01-02").mkdir()
    check_classes(_settings(tmp_path, "data.class_names=[ant, bee]"))
