from __future__ import annotations

import errno
import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serving.client.client import MAX_REQUEST_BYTES
from serving.client.images import UnreadableImage, find_images, printable_name, read_image
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
        (tmp_path / name).write_bytes(b"image")
    return tmp_path


def test_files_and_folders_are_found_in_order(folder: Path) -> None:
    images = find_images([str(folder / "notes.txt"), str(folder), "-"])
    in_folder = [str(folder / name) for name in ("a.png", "b.JPG", "deep/er/c.jpeg")]
    assert images == [str(folder / "notes.txt"), *in_folder, "-"]  # a named file needs no image suffix


def test_a_link_to_a_folder_is_followed_only_if_it_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "deep" / "loop").symlink_to(folder)
    (folder / "link").symlink_to(folder / "deep")
    assert find_images([str(folder / "link")]) == [str(folder / "link" / "er" / "c.jpeg")]


def test_broken_links_are_listed(folder: Path) -> None:
    (folder / "broken.jpg").symlink_to("nowhere")
    (folder / "itself.jpg").symlink_to("itself.jpg")
    (folder / "folder.jpg").symlink_to("deep")
    names = [str(image) for image in find_images([str(folder)])]
    assert names == [
        str(folder / name) for name in ("a.png", "b.JPG", "broken.jpg", "itself.jpg", "deep/er/c.jpeg")
    ]


def test_a_folder_deeper_than_the_recursion_limit_is_searched(tmp_path: Path) -> None:
    deepest = tmp_path / "/".join(["deep"] * 300)
    deepest.mkdir(parents=True)
    (deepest / "a.jpg").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(250)  # a folder deeper than the usual 1,000 could not be deleted by pytest
    try:
        assert find_images([str(tmp_path)]) == [str(deepest / "a.jpg")]
    finally:
        sys.setrecursionlimit(limit)


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
def test_unusable_paths_are_usage_errors(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jpg").touch()
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    with pytest.raises(UsageError, match=f"{name}.*{reason}"):
        find_images([str(tmp_path / name)])


def test_a_folder_that_cannot_be_read_does_not_affect_the_others(tmp_path: Path) -> None:
    program = """
import os, sys
from serving.client.images import find_images
os.chdir(sys.argv[1])
if os.getuid() == 0:
    os.setuid(65534)  # nobody, as root can read everything
for image in find_images(["."]):
    print(type(image).__name__, image)
"""
    tmp_path.chmod(0o755)
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open" / "a.jpg").touch()
    (tmp_path / "shut").mkdir(mode=0o000)
    output = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    first, second = output.splitlines()
    assert first == "str open/a.jpg"
    assert second.startswith("UnreadableImage ")
    assert "./shut" in second
    assert os.strerror(errno.EACCES) in second


def test_a_file_or_standard_input_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    assert read_image(str(tmp_path / "a.jpg")) == b"image"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"sent")))
    assert read_image("-") == b"sent"


def test_empty_missing_and_huge_files_are_errors_that_name_them(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    with (tmp_path / "huge.jpg").open("wb") as huge:
        huge.truncate(2**40)
    for name in ("empty.jpg", "broken.jpg"):
        with pytest.raises(UnreadableImage, match=name):
            read_image(str(tmp_path / name))
    with pytest.raises(UnreadableImage, match=f"huge.jpg.* {MAX_REQUEST_BYTES // 2**20} MiB"):
        read_image(str(tmp_path / "huge.jpg"))


def test_only_regular_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
    Path("tty.jpg").symlink_to("/dev/ptmx")  # reading it would wait for ever
    for name in ("pipe.jpg", "socket.jpg", "tty.jpg", "/dev/zero", "."):
        with pytest.raises(UnreadableImage, match=f"^{name}"):
            read_image(name)


def test_a_pipe_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"sent")
    os.close(writing)
    with os.fdopen(reading, "r") as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert read_image("-") == b"sent"


def test_control_characters_in_names_are_visible() -> None:
    name = os.fsdecode(b"a\x1b[31m\n\xff.jpg")
    assert printable_name(name) == r"a\x1b[31m\n\udcff.jpg"
