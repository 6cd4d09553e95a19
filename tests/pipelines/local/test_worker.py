import logging
import os
import threading
from pathlib import Path

from pipelines.local.worker import RecordSender, open_log_stream
from pipelines.runs.run_record import RunRecord, StepRecord, StepState


def test_threads_send_whole_lines_and_progress_of_the_running_step() -> None:
    record = RunRecord(
        run_id="1", steps={"A": StepRecord(state=StepState.DONE), "B": StepRecord(state=StepState.RUNNING)}
    )
    read_fd, write_fd = os.pipe()
    sender = RecordSender(record, write_fd)
    texts = [character * 5000 for character in "abcdefgh"]
    log = logging.getLogger("catsdogs.progress.tested")
    log.addHandler(sender)
    log.setLevel(logging.INFO)
    threads = [threading.Thread(target=log.info, args=[text]) for text in texts]
    for thread in threads:
        thread.start()
    with open(read_fd, "rb", closefd=False) as pipe:
        received = [RunRecord.model_validate_json(pipe.readline()) for _ in texts]
    assert {sent.steps["B"].text for sent in received} == set(texts)
    assert {sent.steps["A"].text for sent in received} == {""}

    log.info("Reading cat\n\x1b[2J.jpg")
    with open(read_fd, "rb", closefd=False) as pipe:
        sent = RunRecord.model_validate_json(pipe.readline())
    assert sent.steps["B"].text == r"Reading cat\n\x1b[2J.jpg"
    os.close(read_fd)
    os.close(write_fd)


def test_a_log_on_a_full_disk_raises_nothing() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    stream = open_log_stream(fd)
    print("a traceback", file=stream, flush=True)
    stream.buffer.write(b"bytes")
    assert stream.write("text") == 4
    os.close(fd)


def test_a_log_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    stream = open_log_stream(fd)
    print("an image: \udcff", end=" ", file=stream)
    stream.buffer.write(b"bytes")
    assert path.read_text() == "an image: \\udcff bytes"
    os.close(fd)
