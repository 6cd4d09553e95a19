import io
import shlex
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.local.summary import RunOptions, advise, how_to_go_on, print_failure, print_outcome
from pipelines.runs.run_record import Check, Outcome, Push, RunRecord, State, Step
from pipelines.settings.loading import load

RUN = "2026-11-22T05-10-33"
SERVED = "/d/[/x]/out[v2]/serving_model/catsdogs/7"
UNLIKE = "REST answered 0.7312 for picture cats/12.jpg where the Evaluator works with 0.2113"
CHECKED = Check(True, [], "the local server", 32, 1.2e-7, {"REST": 41.2, "gRPC": 38.0})
UNSERVED = Check(False, [UNLIKE, "it is slow"])


def record(ingest: State = State.WAITING) -> RunRecord:
    return RunRecord(run_id=RUN, seconds=65.0, steps={"Ingest": Step(state=ingest), "Train": Step()})


def told(outcome: Outcome, advice: tuple[str, ...] = ()) -> tuple[str, dict[str, list[str]]]:
    """The headline, and what is printed below it, by label, on a terminal that is too narrow for it."""
    console = Console(file=io.StringIO(), width=40)
    run_dir = Path("/d/[/x]/runs/1")
    print_outcome(console, record(State.CACHED), outcome, run_dir, run_dir / "report.html", advice)
    assert isinstance(console.file, io.StringIO)
    _, headline, *lines = console.file.getvalue().splitlines()
    rows: dict[str, list[str]] = {}
    label = ""
    for line in lines:
        label = line[:10].strip() or label
        rows.setdefault(label, []).append(line[10:])
    return headline, rows


def test_paths_that_look_like_markup_and_long_commands_come_out_whole() -> None:
    outcome = Outcome(
        {"accuracy": 0.975, "auc": 0.9912, "loss": 0.0712, "examples": 1200},
        {"accuracy": (0.9646, 0.9824)},
        blessed=True,
        sentence="Blessed [b].",
        push=Push("7", SERVED),
        reached_pusher=True,
    )
    advice = ("catsdogs run --images /pets    x", "catsdogs runs    y")
    headline, rows = told(outcome, advice)
    assert "7" in headline
    assert list(rows) == ["test", "why", "report", "model", "time", "logs", "next"]
    for figure in ("97.50% (96.5–98.2)", "0.9912", "0.0712", "1,200"):
        assert figure in rows["test"][0]
    assert rows["why"] == ["Blessed [b]."]
    assert rows["report"] == ["/d/[/x]/runs/1/report.html"]
    assert rows["model"] == [SERVED]
    assert all(part in rows["time"][0] for part in ("1 min 05 s", "1 of 2"))
    assert rows["logs"] == ["/d/[/x]/runs/1/logs"]
    assert rows["next"] == list(advice)


@pytest.mark.parametrize(
    ("outcome", "headline", "check"),
    [
        (Outcome(blessed=False, reached_pusher=True), "Not blessed", []),
        (
            Outcome(blessed=True, overridden=True, push=Push("7", SERVED), reached_pusher=True),
            "against the rules",
            [],
        ),
        (
            Outcome(blessed=True, push=Push("7", SERVED), reached_pusher=True, check=CHECKED),
            "7",
            ["the local server", "32", "1.2e-07", "41.2 ms over REST", "38 ms over gRPC"],
        ),
        (Outcome(blessed=True, reached_pusher=True, check=UNSERVED), "Not pushed", UNSERVED.problems),
        (Outcome(blessed=False, reached_pusher=True, check=UNSERVED), "Not pushed", UNSERVED.problems),
        (Outcome(blessed=True, not_pushed="6 was rolled back.", check=CHECKED), "6 was rolled back.", []),
        (Outcome(), "Ingest", []),  # the last step that was asked for
    ],
)
def test_the_headline_and_what_a_server_showed(outcome: Outcome, headline: str, check: list[str]) -> None:
    said, rows = told(outcome)
    assert headline in said
    assert [part for part in check if part not in "\n".join(rows["check"])] == []


def test_a_refusal_names_its_sentence_and_the_rules_that_failed() -> None:
    _, rows = told(Outcome(blessed=False, sentence="Refused: why.", reasons=["first", "second"]))
    assert rows["why"] == ["Refused: why.", "first", "second"]


REPORT, BLESS = "catsdogs report", f"catsdogs bless {RUN} --reason TEXT"
CHECK_AGAIN = "catsdogs run --from ServingCheck"
LONGER = "training.fine_tuning.epochs"


@pytest.mark.parametrize(
    ("outcome", "overrides", "commands"),
    [
        (Outcome(blessed=True, reached_pusher=True, check=UNSERVED), (), [CHECK_AGAIN]),
        (Outcome(reached_pusher=True, check=UNSERVED), (), [CHECK_AGAIN]),
        (Outcome(blessed=False, reached_pusher=True, check=UNSERVED), (), [REPORT, CHECK_AGAIN]),
        (
            Outcome(blessed=False, reached_pusher=True),
            (),
            [REPORT, f"catsdogs run --set {LONGER}=5", BLESS],
        ),
        (
            Outcome(blessed=False, reached_pusher=True),
            (f"{LONGER}=5",),
            [REPORT, f"catsdogs run --set {LONGER}=10", BLESS],
        ),
        (
            Outcome(push=Push("7", SERVED, earlier=True, missing=True), reached_pusher=True),
            ("output_root=/d/o [v]",),
            ["catsdogs run --images /pets --set 'output_root=/d/o [v]' --from Pusher"],
        ),
        (
            Outcome(),
            ("output_root=/d/o [v]",),
            ["catsdogs run --images /pets --set 'output_root=/d/o [v]'"],
        ),
        (
            Outcome(blessed=True, push=Push("7", SERVED), reached_pusher=True),
            ("output_root=/d/o [v]",),
            ["catsdogs runs --set 'output_root=/d/o [v]'"],
        ),
    ],
)
def test_the_commands_that_come_next_repeat_the_options(
    outcome: Outcome, overrides: tuple[str, ...], commands: list[str]
) -> None:
    images = Path("/pets") if any("output_root" in override for override in overrides) else None
    asked = RunOptions(images=images, overrides=overrides, from_step="Trainer")
    advice = advise(outcome, asked, load(overrides=overrides), RUN)
    assert [line.partition("    ")[0] for line in advice] == commands


def test_going_on_needs_a_finished_step_and_no_from() -> None:
    assert how_to_go_on(record(), RunOptions()) == ""
    assert "--from" not in how_to_go_on(record(State.DONE), RunOptions())
    assert "without --from" in how_to_go_on(record(State.DONE), RunOptions(from_step="Trainer"))


@pytest.mark.parametrize(
    ("changes", "log"),
    [
        (
            {"steps": {"Ingest": Step(state=State.DONE), "Train [/x]": Step(state=State.FAILED)}},
            "02-Train [/x]",
        ),
        ({}, "00-Start"),
        ({"is_expected": True}, None),
        ({"state": "interrupted"}, None),
    ],
)
def test_a_failure_names_its_log_where_that_tells_more(changes: dict[str, Any], log: str | None) -> None:
    console = Console(file=io.StringIO(), width=40)
    failed = RunRecord(**{"run_id": RUN, "state": "failed", "message": "It failed [/x].", **changes})
    print_failure(console, failed, Path("/d/[/x]"), RunOptions())
    assert isinstance(console.file, io.StringIO)
    said, *more = console.file.getvalue().splitlines()
    assert said == "It failed [/x]."
    assert [line for line in more if line.endswith(f"/d/[/x]/logs/{log}.log")] == more[: log is not None]
    assert bool(more[log is not None :]) is ("steps" in changes)  # how to go on, where a step has finished


def test_what_is_run_in_a_line_and_in_a_command() -> None:
    assert RunOptions().title == "quickstart"
    asked = RunOptions("full", Path("/my pets"), ("training.batch_size=64",), "Trainer", "Pusher")
    assert asked.title == "full, --images /my pets, training.batch_size=64"
    words = ["catsdogs", "run", "--config", "full", "--images", "/my pets", "--set", "training.batch_size=64"]
    assert shlex.split(asked.run()) == words


def test_other_commands_look_into_the_folder_that_was_chosen() -> None:
    assert RunOptions(images=Path("/pets"), overrides=("training.seed=1",)).on("runs", Path("/out")) == (
        "catsdogs runs"
    )
    assert RunOptions("my.yaml").on("runs", Path("/out")) == "catsdogs runs --set output_root=/out"
