"""`catsdogs predict`: sends images to a server. Imports inside the functions keep `--help` fast."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.console import PrintableConsole, echo, silence_stderr
from serving.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from serving.client import Prediction

_ASSERTION = re.compile(r"^assertion failed: \[(.*)\]$")  # how TensorFlow words the model's own checks
_PROGRESS_AFTER = 2.0  # seconds until the progress bar appears


def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Image files, folders (searched recursively), or - for an image on standard input.",
            show_default=False,
        ),
    ],
    url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="The server: http://HOST:PORT, https://HOST:PORT, or grpc://HOST:PORT (without TLS; starts "
            "slowly).",
        ),
    ] = "http://localhost:8501",
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one line of JSON per image as responses arrive: file, label, probability, "
            "probability_of, version; or file and error.",
        ),
    ] = False,
    model_name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the model on the server.")
    ] = "catsdogs",
    version: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Model version. Default: the newest.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="L", help="Label of the model version: stable or canary.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, metavar="N", help="Maximum number of images per request.")
    ] = 16,
) -> None:
    """Classify images with a running server: catsdogs serve or TensorFlow Serving.

    An image that cannot be read or classified is reported on stderr; the others are still classified.

    Exit status: 0 all images were classified; 1 some were not, or the server cannot be reached; 2 invalid
    usage, such as a missing file; 130 interrupted.
    """
    from serving.client import Client, RequestRejected
    from serving.client.images import UnreadableImage, find_images, printable_name, read_image
    from serving.client.protocol import single_line

    paths = find_images(images)
    output = _JsonLines() if as_json else _Table(len(paths))
    pending: deque[str] = deque()

    def read_all() -> Iterator[bytes]:
        for path in paths:
            try:
                if isinstance(path, UnreadableImage):
                    raise path
                image = read_image(path)
            except UnreadableImage as error:
                output.add_error(None if isinstance(path, UnreadableImage) else path, str(error))
            else:
                pending.append(path)
                yield image

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it would log what is wrong with a response
    with silence_stderr():
        client = Client(url, model_name, version=version, label=label, batch=batch, include_version=True)
    try:
        with client, output:
            client.metadata()  # reports a wrong model, version or label once instead of for each image
            for result in client.predict_each(read_all()):
                path = pending.popleft()
                if isinstance(result, RequestRejected):
                    message = single_line(_ASSERTION.sub(r"\1", result.text.partition("\n")[0]))
                    output.add_error(path, f"{printable_name(path)} was rejected: {message}.")
                else:
                    output.add(path, result)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(1 if output.failures else 0)


class _JsonLines:
    """Prints each prediction immediately, as a line of JSON."""

    def __init__(self) -> None:
        self.failures = 0

    def add(self, file: str, prediction: Prediction) -> None:
        self._print(file=file, **asdict(prediction))

    def add_error(self, file: str | None, error: str) -> None:
        self.failures += 1
        self._print(file=file, error=error)
        echo(error, err=True)

    def _print(self, **values: object) -> None:
        print(json.dumps(values), flush=True)

    def __enter__(self) -> _JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Table:
    """Prints predictions as a table at the end, even after an interrupt; shows progress until then."""

    def __init__(self, total: int) -> None:
        self.failures = 0
        self._total = total
        self._predictions: list[tuple[str, Prediction]] = []
        self._start = time.monotonic()
        self._progress: Progress | None = None

    def add(self, file: str, prediction: Prediction) -> None:
        self._predictions.append((file, prediction))
        self._advance()

    def add_error(self, file: str | None, error: str) -> None:
        self.failures += 1
        echo(error, err=True)
        self._advance()

    def _advance(self) -> None:
        if not self._progress and sys.stderr.isatty() and time.monotonic() - self._start > _PROGRESS_AFTER:
            from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

            self._progress = Progress(
                *Progress.get_default_columns()[:2],
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=PrintableConsole(stderr=True),
                transient=True,
            )
            self._progress.start()
            self._progress.add_task("Classifying", total=self._total)
        if self._progress:
            done = len(self._predictions) + self.failures
            self._progress.update(self._progress.task_ids[0], completed=done)

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()
        if self._predictions:
            self._print()

    def _print(self) -> None:
        from rich.table import Table
        from rich.text import Text

        from serving.client.images import printable_name

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("file", overflow="fold")
        table.add_column("label", no_wrap=True)
        table.add_column(
            printable(f"{self._predictions[0][1].probability_of} probability"), no_wrap=True, justify="right"
        )
        table.add_column("version", no_wrap=True)
        for file, prediction in self._predictions:
            table.add_row(
                Text(printable_name(file)),
                Text(printable(prediction.label)),
                f"{prediction.probability:.4f}",
                str(prediction.version or ""),
            )
        # In a file or pipe, do not cut lines to 80 columns.
        PrintableConsole(width=None if sys.stdout.isatty() else 1000).print(table)
