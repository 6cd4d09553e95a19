import os
import threading

import pytest

from pipelines.local.events import (
    Ended,
    Event,
    EventWriter,
    Failed,
    Finished,
    Planned,
    Progress,
    Started,
    State,
    decode,
    encode,
)
from pipelines.local.summary import Outcome, Push


@pytest.mark.parametrize(
    "event",
    [
        Planned({"A": State.REUSED, "B": State.WAITING}),
        Started("A"),
        Progress("1,200 of 3,000 pictures\nand more"),
        Ended("A", State.CACHED, 1.5),
        Finished(
            Outcome({"accuracy": 0.9}, {"accuracy": (0.8, 0.95)}, True, push=Push("7", "/m/7", earlier=True))
        ),
        Finished(Outcome()),
        Failed("No.", 4, expected=True),
    ],
)
def test_an_event_is_one_line_and_comes_back_equal(event: Event) -> None:
    line = encode(event)
    assert line.count(b"\n") == 1
    assert decode(line) == event


def test_threads_do_not_mix_their_lines() -> None:
    read_fd, write_fd = os.pipe()
    writer = EventWriter(write_fd)
    texts = [character * 5000 for character in "abcdefgh"]
    threads = [threading.Thread(target=writer.send, args=[Progress(text)]) for text in texts]
    for thread in threads:
        thread.start()
    with open(read_fd, "rb") as pipe:  # noqa: PTH123
        received = [decode(pipe.readline()) for _ in texts]
    assert set(received) == {Progress(text) for text in texts}
    os.close(write_fd)
