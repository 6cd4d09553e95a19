from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.client.client import MAX_REQUEST_BYTES
from serving.client.images import Unreadable, find, read, shown
from serving.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.JPG",
        "a.png",
        "deep/er/c.jpeg",
        "notes.txt",
        ".hidden.jpg",
        ".cache/d.jpg",
        "deep/.e.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"picture")
    return tmp_path


def test_files_and_folders_are_found_in_order(folder: Path) -> None:
    named = [str(folder / "notes.txt"), str(folder), "-"]
    found = find(named)
    inside = [str(folder / name) for name in ("a.png", "b.JPG", "deep/er/c.jpeg")]
    assert found == [str(folder / "notes.txt"), *inside, "-"]  # what is named is sent, whatever its ending


def test_a_link_to_a_folder_is_followed_where_it_is_named_only(folder: Path, tmp_path: Path) -> None:
    (folder / "deep" / "loop").symlink_to(folder)
    (folder / "link").symlink_to(folder / "deep")
    assert find([str(folder / "link")]) == [str(folder / "link" / "er" / "c.jpeg")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent.jpg", ""),
        ("broken.jpg", ""),
        ("empty", r"\.bmp, \.gif, \.jpeg"),
        ("a.jpg/b.jpg", os.strerror(errno.ENOTDIR)),
        ("x" * 300, os.strerror(errno.ENAMETOOLONG)),
    ],
)
def test_names_that_lead_nowhere(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jpg").touch()
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    with pytest.raises(UsageError, match=f"{name}.*{reason}"):
        find([str(tmp_path / name)])


def test_a_folder_that_may_not_be_read_keeps_no_other_from_its_answer(tmp_path: Path) -> None:
    program = """
import os, sys
from serving.client.images import find
os.chdir(sys.argv[1])
if os.getuid() == 0:
    os.setuid(65534)  # to whom nothing is forbidden but what is forbidden to all
for one in find(["."]):
    print(type(one).__name__, one)
"""
    tmp_path.chmod(0o755)
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open" / "a.jpg").touch()
    (tmp_path / "shut").mkdir(mode=0o000)
    shown = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    first, second = shown.splitlines()
    assert first == "str open/a.jpg"
    assert second.startswith("Unreadable ")
    assert "./shut" in second
    assert os.strerror(errno.EACCES) in second


def test_a_picture_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    assert read(str(tmp_path / "a.jpg")) == b"picture"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"sent")))
    assert read("-") == b"sent"


def test_what_cannot_be_sent_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    with (tmp_path / "huge.jpg").open("wb") as huge:
        huge.truncate(2**40)
    for name in ("empty.jpg", "broken.jpg"):
        with pytest.raises(Unreadable, match=name):
            read(str(tmp_path / name))
    for name in (str(tmp_path / "huge.jpg"), "/dev/zero"):
        with pytest.raises(Unreadable, match=f"{name}.* {MAX_REQUEST_BYTES // 2**20} MiB"):
            read(name)


def test_a_name_cannot_command_the_terminal() -> None:
    name = os.fsdecode(b"a\x1b[31m\n\xff.jpg")
    assert shown(name) == "a\ufffd[31m\ufffd\ufffd.jpg"
