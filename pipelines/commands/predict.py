"""`catsdogs predict`: asks a server about pictures. What it needs is imported when it runs, and is light."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.console import silence_stderr

if TYPE_CHECKING:
    from rich.progress import Progress

    from serving.client import Prediction

_PATIENCE = 2.0  # seconds until the progress is shown


def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Pictures, folders with pictures in them at any depth, or - for one from standard input.",
            show_default=False,
        ),
    ],
    url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="The server: http://HOST:PORT, https://HOST:PORT (TLS), or grpc://HOST:PORT (without TLS; "
            "takes seconds to start).",
        ),
    ] = "http://localhost:8501",
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object a line and picture, as the answers come: file, label, probability, "
            "probability_of, version; or file and error.",
        ),
    ] = False,
    model_name: Annotated[str, typer.Option(metavar="NAME", help="The model's name there.")] = "catsdogs",
    version: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Ask this version. Else the newest.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="L", help="Ask the version with this label: stable, canary.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures to a request, at most.")] = 16,
) -> None:
    """Ask a server, catsdogs serve or TensorFlow Serving, what is in pictures.

    A picture without an answer (no picture, not readable) is told on stderr and does not keep the others
    from theirs.

    Exit status: 0 all pictures have an answer; 1 some have none, or no server answers; 2 bad usage, such as
    a file that does not exist; 130 interrupted.
    """
    from serving.client import Client, RequestRejected
    from serving.client import images as files

    found = files.find(images)
    shown = _Lines() if as_json else _Table(len(found))
    being_asked: deque[str] = deque()

    def readable() -> Iterator[bytes]:
        for name in found:
            try:
                if isinstance(name, files.Unreadable):
                    raise name
                picture = files.read(name)
            except files.Unreadable as error:
                shown.failed(None if isinstance(name, files.Unreadable) else name, str(error))
            else:
                being_asked.append(name)
                yield picture

    with silence_stderr():
        client = Client(url, model_name, version=version, label=label, batch=batch, tell_version=True)
    try:
        with client, shown:
            client.metadata()  # a wrong model, version or label is told once, and not of each picture
            for answer in client.answers(readable()):
                name = being_asked.popleft()
                if isinstance(answer, RequestRejected):
                    said = answer.text.partition("\n")[0]
                    shown.failed(name, f"{files.shown(name)} has no answer, the server says: {said}")
                else:
                    shown.answered(name, answer)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(1 if shown.failures else 0)


class _Lines:
    """Prints answers as JSON, each on a line, at once."""

    def __init__(self) -> None:
        self.failures = 0

    def answered(self, file: str, prediction: Prediction) -> None:
        self._print(file=file, **asdict(prediction))

    def failed(self, file: str | None, error: str) -> None:
        self.failures += 1
        self._print(file=file, error=error)
        print(error, file=sys.stderr)

    def _print(self, **values: object) -> None:
        print(json.dumps(values), flush=True)

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Table:
    """Prints answers as a table at the end, also when there is no end; until then shows how far it is."""

    def __init__(self, total: int) -> None:
        self.failures = 0
        self._total = total
        self._answers: list[tuple[str, Prediction]] = []
        self._began = time.monotonic()
        self._progress: Progress | None = None

    def answered(self, file: str, prediction: Prediction) -> None:
        self._answers.append((file, prediction))
        self._advance()

    def failed(self, file: str | None, error: str) -> None:
        self.failures += 1
        print(error, file=sys.stderr)
        self._advance()

    def _advance(self) -> None:
        if not self._progress and sys.stderr.isatty() and time.monotonic() - self._began > _PATIENCE:
            from rich.console import Console
            from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

            self._progress = Progress(
                *Progress.get_default_columns()[:2],
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
            self._progress.add_task("Asking", total=self._total)
        if self._progress:
            done = len(self._answers) + self.failures
            self._progress.update(self._progress.task_ids[0], completed=done)

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()
        if self._answers:
            self._print()

    def _print(self) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from serving.client.images import shown

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("file", overflow="fold")
        table.add_column("label", no_wrap=True)
        table.add_column(f"{self._answers[0][1].probability_of} probability", no_wrap=True, justify="right")
        table.add_column("version", no_wrap=True)
        for file, prediction in self._answers:
            table.add_row(
                Text(shown(file)),
                Text(prediction.label),
                f"{prediction.probability:.4f}",
                str(prediction.version or ""),
            )
        # Not cut to 80 columns for a file or a pipe.
        Console(width=None if sys.stdout.isatty() else 1000).print(table)
