from __future__ import annotations

import pytest
from rich.table import Table
from rich.text import Text

from pipelines.console import PrintableConsole, echo, print_line

HOSTILE = "[/x] [bold]cat\x1b[2J :cat: \u202e"
SHOWN = r"[/x] [bold]cat\x1b[2J :cat: \u202e"


def test_a_console_prints_text_from_outside_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console = PrintableConsole(width=200)
    table = Table(box=None, pad_edge=False, padding=0)
    table.add_column(HOSTILE, min_width=100)
    table.add_row(HOSTILE)
    console.print(HOSTILE)
    console.print(Text(HOSTILE), soft_wrap=True)
    console.print(table)
    print_line(console, HOSTILE)
    with console.status("Waiting"):  # draws a moving line on a terminal
        pass
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [SHOWN] * 5


def test_a_console_keeps_its_own_colours_and_cursor_movements(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    console = PrintableConsole(stderr=True)
    with console.status("Waiting"):
        console.print(Text("\x1b[2Jdone", "green"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b[32m\\x1b[2Jdone\x1b[0m" in err
    assert "\x1b[2K" in err  # erases the spinner
    assert "\x1b[2J" not in err


@pytest.mark.parametrize("err", [False, True])
def test_echo_prints_lines(capsys: pytest.CaptureFixture[str], err: bool) -> None:
    echo("one\ntwo\x1b[31m", err=err)
    assert capsys.readouterr()[err] == "one\ntwo\\x1b[31m\n"
