import io
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.local.asked import Asked
from pipelines.local.board import Board
from pipelines.local.events import Ended, Planned, State
from pipelines.local.report import advise, how_to_go_on, print_failure, print_outcome
from pipelines.local.summary import Check, Outcome, Push
from pipelines.settings import load

SERVED = "/d/[/x]/out[v2]/serving_model/catsdogs/7"
ASKED = Asked(images=Path("/pets"), overrides=("output_root=/d/out[v2]",), from_step="Trainer")


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=40)


@pytest.fixture
def board() -> Board:
    board = Board()
    board.apply(Planned({"Ingest": State.WAITING, "Train": State.WAITING}))
    return board


def _said(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_paths_that_look_like_markup_and_long_commands_come_out_whole(console: Console, board: Board) -> None:
    board.apply(Ended("Ingest", State.CACHED, 0.1))
    outcome = Outcome(
        {"accuracy": 0.975, "auc": 0.9912, "loss": 0.0712, "examples": 1200},
        {"accuracy": (0.9646, 0.9824)},
        blessed=True,
        sentence="Blessed [b].",
        push=Push("7", SERVED),
        reached_pusher=True,
    )
    run_dir, next_ = Path("/d/[/x]/runs/1"), ["catsdogs run --images /pets    x", "catsdogs runs    y"]
    print_outcome(console, board, outcome, 65.0, run_dir, run_dir / "report.html", next_)
    assert _said(console) == [
        "",
        "Blessed and pushed as version 7.",
        "  test    accuracy 97.50% (96.5–98.2)  auc 0.9912  loss 0.0712  on 1,200 pictures",
        "  why     Blessed [b].",
        "  report  /d/[/x]/runs/1/report.html",
        f"  model   {SERVED}",
        "  time    1 min 05 s, 1 of 2 steps taken from earlier runs",
        "  logs    /d/[/x]/runs/1/logs",
        "  next    catsdogs run --images /pets    x",
        "          catsdogs runs    y",
    ]


def test_a_refusal_names_its_sentence_and_the_rules_that_failed(console: Console, board: Board) -> None:
    refused = Outcome(
        blessed=False, sentence="Refused: why.", reasons=["first", "second"], reached_pusher=True
    )
    print_outcome(console, board, refused, 65.0, Path("/d/runs/1"), None, ["catsdogs report"])
    assert _said(console)[1:5] == [
        "Not blessed, and so not pushed.",
        "  why     Refused: why.",
        "          first",
        "          second",
    ]


def test_a_lifted_refusal_is_no_plain_blessing(console: Console, board: Board) -> None:
    outcome = Outcome(blessed=True, overridden=True, push=Push("7", SERVED), reached_pusher=True)
    print_outcome(console, board, outcome, 65.0, Path("/d/runs/1"), None, [])
    assert _said(console)[1] == "Blessed against the rules and pushed as version 7."


CHECKED = Check(True, [], "the local server", 32, 1.2e-7, {"REST": 41.2, "gRPC": 38.0})
UNLIKE = "REST answered 0.7312 for picture cats/12.jpg where the Evaluator works with 0.2113"


@pytest.mark.parametrize(
    ("outcome", "headline", "check"),
    [
        (
            Outcome(blessed=True, push=Push("7", SERVED), reached_pusher=True, check=CHECKED),
            "Blessed and pushed as version 7.",
            [
                "the local server answers 32 pictures as the Evaluator does, to 1.2e-07; 95 of 100 within "
                "41.2 ms over REST, 38 ms over gRPC"
            ],
        ),
        (
            Outcome(blessed=True, reached_pusher=True, check=Check(False, [UNLIKE, "it is slow"])),
            "Not pushed: a server does not serve the model as it was judged.",
            [UNLIKE, "it is slow"],
        ),
        (
            Outcome(blessed=False, reached_pusher=True, check=Check(False, [UNLIKE])),
            "Not pushed: a server does not serve the model as it was judged.",
            [UNLIKE],
        ),
        (
            Outcome(
                blessed=True, reached_pusher=True, check=CHECKED, not_pushed="Version 6 was rolled back."
            ),
            "Version 6 was rolled back.",
            None,
        ),
    ],
)
def test_what_a_server_showed_is_told(
    console: Console, board: Board, outcome: Outcome, headline: str, check: list[str] | None
) -> None:
    print_outcome(console, board, outcome, 65.0, Path("/d/runs/1"), None, ["catsdogs runs"])
    said = _said(console)
    assert said[1] == headline
    if check is not None:
        start = next(number for number, line in enumerate(said) if line.startswith("  check   "))
        assert [line[10:] for line in said[start : start + len(check)]] == check


RUN = "2026-11-22T05-10-33"


def _advice(outcome: Outcome, asked: Asked, *overrides: str) -> list[str]:
    return advise(outcome, asked, load(overrides=overrides), RUN)


@pytest.mark.parametrize("blessed", [True, None])
def test_a_refused_check_can_be_repeated(blessed: bool | None) -> None:
    refused = Outcome(blessed=blessed, reached_pusher=True, check=Check(False, [UNLIKE]))
    again = "catsdogs run --from ServingCheck    checks it again"
    assert _advice(refused, Asked()) == [again]


def test_the_report_comes_first_after_a_refused_check_that_the_gate_heard_of() -> None:
    refused = Outcome(blessed=False, reached_pusher=True, check=Check(False, [UNLIKE]))
    assert _advice(refused, Asked()) == [
        "catsdogs report    shows why",
        "catsdogs run --from ServingCheck    checks it again",
    ]


def test_advice_repeats_the_options() -> None:
    root = "output_root=/d/out[v2]"
    run = f"catsdogs run --images /pets --set '{root}'"
    gone = Outcome(push=Push("7", SERVED, earlier=True, missing=True), reached_pusher=True)
    assert _advice(gone, ASKED, root) == [f"{run} --from Pusher    pushes it again"]
    assert _advice(Outcome(), ASKED, root) == [f"{run}    takes what is finished and goes on"]
    pushed = Outcome(blessed=True, push=Push("7", SERVED), reached_pusher=True)
    listed = f"catsdogs runs --set '{root}'    lists this run beside earlier ones"
    assert _advice(pushed, ASKED, root) == [listed]


def test_after_a_refusal_the_report_comes_first_then_what_may_help() -> None:
    refused = Outcome(blessed=False, reached_pusher=True)
    longer = "training.fine_tuning.epochs=5"
    assert _advice(refused, Asked()) == [
        "catsdogs report    shows why",
        f"catsdogs run --set {longer}    trains longer",
        f"catsdogs bless {RUN} --reason TEXT    pushes it against the rules, if you know better",
    ]
    again = _advice(refused, Asked(overrides=(longer,)), longer)[1]
    assert again == "catsdogs run --set training.fine_tuning.epochs=10    trains longer"


def test_going_on_needs_a_finished_step_and_no_from(board: Board) -> None:
    assert how_to_go_on(board, Asked()) == ""
    board.apply(Ended("Ingest", State.DONE, 1.0))
    kept = "Finished steps are kept: the same command"
    assert how_to_go_on(board, Asked()) == f"{kept} goes on where this one stopped."
    assert how_to_go_on(board, ASKED) == f"{kept} without --from goes on where this one stopped."


def test_a_failure_names_its_log_where_there_is_one(console: Console) -> None:
    print_failure(console, "Train [/x] failed.", Path("/d/[/x]/03-Train.log"), "It goes on.")
    print_failure(console, "No such step.", None, "")
    assert _said(console) == [
        "Train [/x] failed.",
        "The details are in /d/[/x]/03-Train.log",
        "It goes on.",
        "No such step.",
    ]
