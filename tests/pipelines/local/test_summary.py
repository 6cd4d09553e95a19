import io
import shlex
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.local.summary import RunOptions, next_commands, print_failure, print_outcome, resume_hint
from pipelines.runs.run_record import (
    PushOutcome,
    RunOutcome,
    RunRecord,
    ServingCheckOutcome,
    StepRecord,
    StepState,
)
from pipelines.settings.loading import load

RUN = "2026-11-22T05-10-33"
SERVED = "/d/[/x]/out[v2]/serving_model/catsdogs/7"
MISMATCH = "REST predicts 0.7312 for cats/12.jpg, the Evaluator 0.2113"
CHECK_PASSED = ServingCheckOutcome(True, [], "the local server", 32, 1.2e-7, {"REST": 41.2, "gRPC": 38.0})
CHECK_FAILED = ServingCheckOutcome(False, [MISMATCH, "it is slow"])


def record(ingest: StepState = StepState.WAITING) -> RunRecord:
    return RunRecord(
        run_id=RUN, seconds=65.0, steps={"Ingest": StepRecord(state=ingest), "Train": StepRecord()}
    )


def printed(outcome: RunOutcome, commands: tuple[str, ...] = ()) -> tuple[str, dict[str, list[str]]]:
    """Returns the printed headline and the rows below it by label, from a narrow terminal."""
    console = Console(file=io.StringIO(), width=40)
    run_dir = Path("/d/[/x]/runs/1")
    print_outcome(console, record(StepState.CACHED), outcome, run_dir, run_dir / "report.html", commands)
    assert isinstance(console.file, io.StringIO)
    _, headline, *lines = console.file.getvalue().splitlines()
    rows: dict[str, list[str]] = {}
    label = ""
    for line in lines:
        label = line[:10].strip() or label
        rows.setdefault(label, []).append(line[10:])
    return headline, rows


def test_paths_with_markup_and_long_commands_are_printed_unchanged() -> None:
    outcome = RunOutcome(
        {"accuracy": 0.975, "auc": 0.9912, "loss": 0.0712, "examples": 1200},
        {"accuracy": (0.9646, 0.9824)},
        blessed=True,
        sentence="Blessed [b].",
        push=PushOutcome("7", SERVED),
        pusher_ran=True,
    )
    commands = ("catsdogs run --images /pets    x", "catsdogs runs    y")
    headline, rows = printed(outcome, commands)
    assert "7" in headline
    assert list(rows) == ["test", "why", "report", "model", "time", "logs", "next"]
    for metric in ("97.50% (96.5–98.2)", "0.9912", "0.0712", "1,200"):
        assert metric in rows["test"][0]
    assert rows["why"] == ["Blessed [b]."]
    assert rows["report"] == ["/d/[/x]/runs/1/report.html"]
    assert rows["model"] == [SERVED]
    assert all(part in rows["time"][0] for part in ("1 min 05 s", "1 of 2"))
    assert rows["logs"] == ["/d/[/x]/runs/1/logs"]
    assert rows["next"] == list(commands)


@pytest.mark.parametrize(
    ("outcome", "headline", "check"),
    [
        (RunOutcome(blessed=False, pusher_ran=True), "Not blessed", []),
        (
            RunOutcome(blessed=True, overridden=True, push=PushOutcome("7", SERVED), pusher_ran=True),
            "override",
            [],
        ),
        (
            RunOutcome(blessed=True, push=PushOutcome("7", SERVED), pusher_ran=True, check=CHECK_PASSED),
            "7",
            ["the local server", "32", "1.2e-07", "41.2 ms over REST", "38 ms over gRPC"],
        ),
        (RunOutcome(blessed=True, pusher_ran=True, check=CHECK_FAILED), "Not pushed", CHECK_FAILED.problems),
        (RunOutcome(blessed=False, pusher_ran=True, check=CHECK_FAILED), "Not pushed", CHECK_FAILED.problems),
        (
            RunOutcome(blessed=True, not_pushed_reason="6 was rolled back.", check=CHECK_PASSED),
            "6 was rolled back.",
            [],
        ),
        (RunOutcome(), "Ingest", []),  # the last step that ran
    ],
)
def test_the_headline_and_the_serving_check(outcome: RunOutcome, headline: str, check: list[str]) -> None:
    headline_line, rows = printed(outcome)
    assert headline in headline_line
    assert [part for part in check if part not in "\n".join(rows["check"])] == []


def test_a_refusal_prints_its_sentence_and_failed_rules() -> None:
    _, rows = printed(RunOutcome(blessed=False, sentence="Refused: why.", reasons=["first", "second"]))
    assert rows["why"] == ["Refused: why.", "first", "second"]


REPORT, BLESS = "catsdogs report", f"catsdogs bless {RUN} --reason TEXT"
CHECK_AGAIN = "catsdogs run --from ServingCheck"
LONGER = "training.fine_tuning.epochs"


@pytest.mark.parametrize(
    ("outcome", "overrides", "commands"),
    [
        (RunOutcome(blessed=True, pusher_ran=True, check=CHECK_FAILED), (), [CHECK_AGAIN]),
        (RunOutcome(pusher_ran=True, check=CHECK_FAILED), (), [CHECK_AGAIN]),
        (RunOutcome(blessed=False, pusher_ran=True, check=CHECK_FAILED), (), [REPORT, CHECK_AGAIN]),
        (
            RunOutcome(blessed=False, pusher_ran=True),
            (),
            [REPORT, f"catsdogs run --set {LONGER}=5", BLESS],
        ),
        (
            RunOutcome(blessed=False, pusher_ran=True),
            (f"{LONGER}=5",),
            [REPORT, f"catsdogs run --set {LONGER}=10", BLESS],
        ),
        (
            RunOutcome(
                push=PushOutcome("7", SERVED, already_pushed=True, no_longer_served=True), pusher_ran=True
            ),
            ("output_root=/d/o [v]",),
            ["catsdogs run --images /pets --set 'output_root=/d/o [v]' --from Pusher"],
        ),
        (
            RunOutcome(),
            ("output_root=/d/o [v]",),
            ["catsdogs run --images /pets --set 'output_root=/d/o [v]'"],
        ),
        (
            RunOutcome(blessed=True, push=PushOutcome("7", SERVED), pusher_ran=True),
            ("output_root=/d/o [v]",),
            ["catsdogs runs --set 'output_root=/d/o [v]'"],
        ),
    ],
)
def test_the_next_commands_repeat_the_user_s_options(
    outcome: RunOutcome, overrides: tuple[str, ...], commands: list[str]
) -> None:
    images = Path("/pets") if any("output_root" in override for override in overrides) else None
    options = RunOptions(images=images, overrides=overrides, from_node="Trainer")
    lines = next_commands(outcome, options, load(overrides=overrides), RUN)
    assert [line.partition("    ")[0] for line in lines] == commands


def test_the_resume_hint_needs_a_finished_step() -> None:
    assert resume_hint(record(), RunOptions()) == ""
    assert "--from" not in resume_hint(record(StepState.DONE), RunOptions())
    assert "without --from" in resume_hint(record(StepState.DONE), RunOptions(from_node="Trainer"))


@pytest.mark.parametrize(
    ("changes", "log"),
    [
        (
            {
                "steps": {
                    "Ingest": StepRecord(state=StepState.DONE),
                    "Train [/x]": StepRecord(state=StepState.FAILED),
                }
            },
            "02-Train [/x]",
        ),
        ({}, "00-Start"),
        ({"is_expected": True}, None),
        ({"state": "interrupted"}, None),
    ],
)
def test_a_failure_names_its_log_unless_the_message_is_enough(
    changes: dict[str, Any], log: str | None
) -> None:
    console = Console(file=io.StringIO(), width=40)
    failed = RunRecord(**{"run_id": RUN, "state": "failed", "message": "It failed [/x].", **changes})
    print_failure(console, failed, Path("/d/[/x]"), RunOptions())
    assert isinstance(console.file, io.StringIO)
    headline_line, *more = console.file.getvalue().splitlines()
    assert headline_line == "It failed [/x]."
    assert [line for line in more if line.endswith(f"/d/[/x]/logs/{log}.log")] == more[: log is not None]
    assert bool(more[log is not None :]) is ("steps" in changes)  # how to go on, where a step has finished


def test_the_title_and_the_command_of_a_run() -> None:
    assert RunOptions().title == "quickstart"
    options = RunOptions("full", Path("/my pets"), ("training.batch_size=64",), "Trainer", "Pusher")
    assert options.title == "full, --images /my pets, training.batch_size=64"
    words = ["catsdogs", "run", "--config", "full", "--images", "/my pets", "--set", "training.batch_size=64"]
    assert shlex.split(options.run_command()) == words


def test_other_commands_name_the_chosen_output_root() -> None:
    assert RunOptions(images=Path("/pets"), overrides=("training.seed=1",)).other_command(
        "runs", Path("/out")
    ) == ("catsdogs runs")
    assert RunOptions("my.yaml").other_command("runs", Path("/out")) == "catsdogs runs --set output_root=/out"
