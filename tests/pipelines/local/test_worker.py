import logging
import os
import threading

from pipelines.local.worker import RecordSender
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
