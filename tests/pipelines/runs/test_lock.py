import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.errors import PipelineError
from pipelines.runs import lock

_HOLD = """
import sys, time
from pathlib import Path
from pipelines.runs import lock
with lock.acquire(Path(sys.argv[1]), "run 2026-11-22T05-10-33") as fd:
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_process_gets_an_error_naming_the_first(
    tmp_path: Path, other: subprocess.Popen[bytes]
) -> None:
    with pytest.raises(PipelineError) as caught, lock.acquire(tmp_path, "clean"):
        pass
    for named in (f"kill {other.pid}", "run 2026-11-22T05-10-33", str(tmp_path)):
        assert named in str(caught.value)
    assert caught.value.exit_status == 1
    assert lock.holder_purpose(tmp_path) == "run 2026-11-22T05-10-33"


def test_kill_9_releases_the_lock(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert lock.holder_purpose(tmp_path) is None
    with lock.acquire(tmp_path, "clean"):
        assert lock.holder_purpose(tmp_path) == "clean"


def test_reading_the_lock_does_not_block_a_run(tmp_path: Path) -> None:
    with lock.acquire(tmp_path, "first"):
        pass
    with open(tmp_path / lock.LOCK_FILE) as looked_at:  # noqa: PTH123
        import fcntl
        import threading

        fcntl.flock(looked_at, fcntl.LOCK_SH)
        start = time.monotonic()
        threading.Timer(0.3, lambda: fcntl.flock(looked_at, fcntl.LOCK_UN)).start()
        with lock.acquire(tmp_path, "second"):
            assert time.monotonic() - start > 0.2


def test_the_lock_works_on_a_full_disk(tmp_path: Path) -> None:
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    command = [sys.executable, "-c", f"{full}\n{_HOLD}", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert lock.holder_purpose(tmp_path) == "starting"
        process.kill()


def test_a_child_that_inherits_the_lock_keeps_it(tmp_path: Path) -> None:
    with lock.acquire(tmp_path, "run") as fd:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[fd])
    try:
        assert lock.holder_purpose(tmp_path) == "run"
    finally:
        child.kill()
        child.wait()
    assert lock.holder_purpose(tmp_path) is None


def test_a_missing_folder_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="/missing"), lock.acquire(tmp_path / "missing", "x"):
        pass


def test_an_output_root_that_was_never_locked_has_no_holder(tmp_path: Path) -> None:
    assert lock.holder_purpose(tmp_path) is None
    assert lock.holder_purpose(tmp_path / "missing") is None
