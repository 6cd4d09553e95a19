from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import compare, docs_page, gate, growth
from benchmarks.growth_table import FEATURE_PASS

BEAM_STEPS = ["ImageExampleGen", "StatisticsGen", "Transform", "PredictionTable", "Evaluator"]


def test_all_counts_are_measured_here_and_some_with_the_trainer_and_on_flink() -> None:
    local, trainer, flink = growth.plan_runs([100_000, 3000, 10_000, 30_000], "localhost:8081")
    assert [run.images for run in local] == [3000, 10_000, 30_000, 100_000]
    assert [run.images for run in trainer] == [3000, 30_000]
    assert [(run.images, run.settings[-1]) for run in flink] == [
        (count, f"beam.flink.parallelism={slots}") for count in (3000, 10_000) for slots in (1, 2)
    ]
    assert {run.settings[1] for run in flink} == {"beam.flink.master=localhost:8081"}
    assert len({run.name for run in (*local, *trainer, *flink)}) == 10


def test_without_a_cluster_nothing_runs_on_flink() -> None:
    local, trainer, flink = growth.plan_runs([100, 10_000], None)
    assert ([run.images for run in local], trainer, flink) == ([100, 10_000], [], [])


def test_settings_of_the_cluster_apply_to_runs_on_it_alone() -> None:
    [local], [trainer], [on_flink, _] = growth.plan_runs([3000], "localhost:8081")
    overrides = ["beam.workers=2", "beam.flink.environment=external"]
    assert local.all_settings(overrides) == trainer.all_settings(overrides) == overrides[:1]
    assert on_flink.all_settings(overrides) == [*overrides, *on_flink.settings]


def test_a_folder_without_images_ends_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["growth", str(tmp_path / "missing"), "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="missing"):
        growth.main()


def test_settings_replace_those_of_the_benchmark() -> None:
    settings = growth.merge_settings(["training.image_size=224", "beam.workers=2"])
    assert settings.count("training.image_size=224") == 1
    assert "training.image_size=96" not in settings
    assert settings[-1] == "beam.workers=2"


@pytest.mark.parametrize(
    ("log", "text", "part"),
    [
        ("08-Trainer", "", "Trainer"),
        ("08-Trainer", "features of train: 32 of 2,400 images, 90 views/s", FEATURE_PASS),
        ("08-Trainer", "frozen, epoch 1 of 1", "Trainer"),
        ("07-Transform", "", "Transform"),
    ],
)
def test_the_feature_pass_is_a_part_of_the_trainer(log: str, text: str, part: str, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "2026-01-01T00-00-00Z"
    (run / "logs").mkdir(parents=True)
    (run / "logs" / f"{log}.log").touch()
    (run / "run.json").write_text(json.dumps({"steps": {"Trainer": {"text": text}}}))
    assert growth.current_part(tmp_path) == part


@pytest.mark.parametrize(
    ("arguments", "is_found"),
    [
        (["apache_beam.runners.worker.worker_pool_main"], True),
        (["org.apache.flink.runtime.taskexecutor.TaskManagerRunner"], True),
        (["-jar", "job-server.jar", "--flink-master=localhost:8081"], True),
        (["apache_beam.runners.worker.sdk_worker_main"], False),
    ],
)
def test_processes_of_a_cluster_are_found(arguments: list[str], is_found: bool) -> None:
    script = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()  # the command line is that of Python
        assert (process.pid in growth.flink_pids()) is is_found


@pytest.mark.e2e
def test_the_beam_steps_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    monkeypatch.setattr(sys, "argv", ["growth", "--counts", "120", "--output", str(output)])
    growth.main()
    [measurement] = json.loads((output / "growth.json").read_text())["measurements"]
    assert measurement["train_images"] == 120
    assert 0 < measurement["test_images"] < 40
    for step in BEAM_STEPS:
        assert measurement["cpu_seconds"][step] > 0
        assert measurement["peaks"][step]["memory"]["own"] > 500
    assert (output / growth.CHART.name).exists()
    growth.main()
    assert len(json.loads((output / "growth.json").read_text())["measurements"]) == 1
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert {f"| {step}" for step in BEAM_STEPS} < {row[0] for row in rows}


def test_a_section_is_replaced_between_its_markers(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(
        "# Title\n<!-- a: begin -->\nold\n<!-- a: end -->\n<!-- b: begin -->\n<!-- b: end -->\nend\n"
    )
    for _ in range(2):
        docs_page.replace_section(file, "a", "new")
        docs_page.replace_section(file, "b", "table")
    assert file.read_text() == (
        "# Title\n<!-- a: begin -->\nnew\n<!-- a: end -->\n<!-- b: begin -->\ntable\n<!-- b: end -->\nend\n"
    )


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (compare.PAGE, "benchmarks.compare"),
        (growth.PAGE, "benchmarks.growth"),
        (gate.PAGE, "benchmarks.gate"),
    ],
)
def test_the_pages_have_the_markers(file: Path, name: str, tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text((Path(__file__).parents[2] / file).read_text())
    docs_page.replace_section(copy, name, "a table")
    assert f"<!-- {name}: begin -->\na table\n<!-- {name}: end -->" in copy.read_text()
