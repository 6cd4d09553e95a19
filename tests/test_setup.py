"""What set-up decides (which Python, platform, C library; done or not) and what the pins promise."""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests import shell_host
from tests.shell_host import ROOT

HOST_PYTHON = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


class Host(shell_host.Host):
    """Runs set-up, and may have interpreters."""

    def add_python(self, path: str | Path, *, headers: bool = True) -> Path:
        """Puts an interpreter there that set-up takes for one it can use."""
        return self.add(path, f'[[ $1 != -c ]] || exit {int(not headers)}\ncat >/dev/null; echo "$0"')

    def run(self, code: str, script: str = "setup.sh") -> subprocess.CompletedProcess[str]:
        return super().run(code, script)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def copy(tmp_path: Path) -> Host:
    """A host with a copy of the project that has no environment yet."""
    project = tmp_path / "project"
    for part in ("scripts", "requirements"):
        shutil.copytree(ROOT / part, project / part)
    shutil.copy(ROOT / "pyproject.toml", project)
    host = Host(tmp_path / "host", project)
    host.add("g++", "exit 0")
    (host.bin / "python3").symlink_to(HOST_PYTHON)
    return host


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    """The one sentence that a refusal consists of."""
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


# Platform, compiler, disk


@pytest.mark.parametrize("platform", ["Darwin arm64", "Linux aarch64"])
def test_other_platforms_are_pointed_to_a_container(host: Host, platform: str) -> None:
    system, machine = platform.split()
    host.add("uname", f"[[ $1 == -s ]] && echo {system} || echo {machine}")
    sentence = refusal(host.run("main"))
    assert platform in sentence
    assert "docker run --platform linux/amd64" in sentence


def test_linux_without_glibc_is_pointed_to_a_container(host: Host) -> None:
    host.add("getconf", "exit 1")
    assert "glibc" in refusal(host.run("require_platform"))


def test_this_platform_is_accepted(host: Host) -> None:
    assert host.run("require_platform").returncode == 0


def test_missing_compiler_is_named_with_its_cure(host: Host) -> None:
    assert "apt-get install g++ python3-dev" in refusal(host.run("require_compiler"))
    host.add("g++", "exit 0")
    assert host.run("require_compiler").returncode == 0


def test_full_disk_is_noticed_before_anything_is_installed(host: Host) -> None:
    host.add("df", r"printf 'head\n/dev/sda 9 9 2048000 99%% /\n'")
    assert "2000 MB" in refusal(host.run("require_disk"))


# Finding Python


def test_oldest_supported_python_is_preferred_and_a_shim_that_points_at_nothing_passed_over(
    host: Host,
) -> None:
    host.add_python("python3.13")
    wanted = host.add_python("python3.12")
    host.add_python("python3")
    host.add("python3.11", "echo 'pyenv: python3.11: command not found' >&2; exit 127")
    result = host.run("find_python")
    assert (result.stdout.strip(), result.stderr) == (str(wanted), "")


@pytest.mark.parametrize(
    "places",
    [
        [".pyenv/versions/3.11.9/bin/python", ".pyenv/versions/3.11.10/bin/python"],
        [".local/share/uv/python/cpython-3.11.9-linux-x86_64-gnu/bin/python"],
    ],
)
def test_newest_patch_release_of_pyenv_and_uv_is_found(host: Host, places: list[str]) -> None:
    *_, newest = [host.add_python(host.home / place) for place in places]
    assert host.run("find_python").stdout.strip() == str(newest)


def test_python_with_headers_wins_over_one_without(host: Host) -> None:
    host.add_python("python3.11", headers=False)
    wanted = host.add_python("python3.13")
    assert host.run("find_python").stdout.strip() == str(wanted)


def test_missing_headers_are_named_with_their_cure(host: Host) -> None:
    found = host.add_python("python3.11", headers=False)
    sentence = refusal(host.run("find_python"))
    assert str(found) in sentence
    assert "apt-get install python3-dev" in sentence


def test_no_python_at_all(host: Host) -> None:
    assert "3.11, 3.12, 3.13" in refusal(host.run("find_python"))


def test_named_python_is_taken_or_refused(host: Host) -> None:
    host.add_python("python3.11")
    host.variables["PYTHON"] = str(host.add_python("mine"))
    assert host.run("find_python").stdout.strip() == host.variables["PYTHON"]
    host.variables["PYTHON"] = "/no/such/python"
    assert "PYTHON=/no/such/python" in refusal(host.run("find_python"))


def test_virtual_environment_is_followed_to_its_interpreter(host: Host) -> None:
    assert host.run(f"real_python {sys.executable}").stdout.strip() == HOST_PYTHON
    assert host.run(f"PYTHON_VERSIONS=3.10; real_python {sys.executable}").returncode != 0


# The C library


@pytest.mark.parametrize(
    ("glibc", "old"), [("2.31", True), ("2.38", True), ("2.39", False), ("2.100", False)]
)
def test_glibc_versions_are_compared_as_numbers(host: Host, tmp_path: Path, glibc: str, old: bool) -> None:
    host.add(tmp_path / "venv/bin/python", f"echo {glibc}")
    assert (host.run(f"VENV={tmp_path}/venv; glibc_is_old").returncode == 0) is old


def test_environment_and_its_children_have_a_new_enough_glibc() -> None:
    code = "import os; print(os.confstr('CS_GNU_LIBC_VERSION'))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for reported in (os.confstr("CS_GNU_LIBC_VERSION") or "", child):
        assert [int(part) for part in reported.split()[1].split(".")] >= [2, 39]


@pytest.mark.parametrize(
    ("os_release", "expected"),
    [
        ("ID=debian", "trixie /usr/share/keyrings/debian-archive-keyring.gpg"),
        ("ID=ubuntu\nID_LIKE=debian", "noble noble-updates /usr/share/keyrings/ubuntu-archive-keyring.gpg"),
        (
            'ID=pop\nID_LIKE="ubuntu debian"',
            "noble noble-updates /usr/share/keyrings/ubuntu-archive-keyring.gpg",
        ),
    ],
)
def test_newer_release_of_the_same_distribution_is_chosen(
    host: Host, tmp_path: Path, os_release: str, expected: str
) -> None:
    host.variables["OS_RELEASE"] = str(tmp_path / "os-release")
    (tmp_path / "os-release").write_text(os_release)
    assert host.run("choose_release; echo $SUITES $KEYRING", "newer_glibc.sh").stdout.strip() == expected


def test_old_glibc_of_other_distributions_is_pointed_to_a_container(host: Host, tmp_path: Path) -> None:
    host.variables["OS_RELEASE"] = str(tmp_path / "os-release")
    (tmp_path / "os-release").write_text('ID="rhel"\nID_LIKE="fedora"\nPRETTY_NAME="Red Hat 9"')
    sentence = refusal(host.run("choose_release", "newer_glibc.sh"))
    assert "Red Hat 9" in sentence
    assert "docker run" in sentence


def test_mirrors_are_read_from_both_formats_of_apt_sources(
    host: Host, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.invalid/debian bookworm main\n")
    (tmp_path / "sources/two.sources").write_text(
        "Types: deb\nURIs: http://two.invalid/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
    )
    (tmp_path / "sources/three.list").write_text(
        "deb mirror+file:/etc/apt/mirrors/debian.list bookworm main\n"
    )
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::SourceList "{tmp_path}/sources.list";\nDir::Etc::SourceParts "{tmp_path}/sources";\n'
    )
    host.variables["APT_CONFIG"] = str(tmp_path / "apt.conf")
    (host.bin / "apt-get").symlink_to(require_tool("apt-get"))
    assert sorted(host.run("host_mirrors", "newer_glibc.sh").stdout.split()) == [
        "http://one.invalid/debian",
        "http://two.invalid/debian",
        "mirror+file:/etc/apt/mirrors/debian.list",
    ]


def test_packages_that_no_mirror_proves_are_refused(host: Host, tmp_path: Path) -> None:
    host.add(
        "apt-get",
        "[[ $* != *print-uris* ]] || { echo \"'http://m.invalid/dists/x/InRelease' f\"; exit; }\n"
        'echo "E: The repository is not signed." >&2; exit 100',
    )
    keyring = tmp_path / "keyring"
    code = f"WORK={tmp_path} RELEASE='Debian 13' SUITES=trixie KEYRING={keyring}; download_packages"
    assert str(keyring) in refusal(host.run(code, "newer_glibc.sh"))
    keyring.touch()
    assert "E: The repository is not signed." in refusal(host.run(code, "newer_glibc.sh"))


# Finished or not


def finish(host: Host) -> None:
    """Makes an environment that passes for finished."""
    subprocess.run([HOST_PYTHON, "-m", "venv", "--without-pip", host.project / ".venv"], check=True)
    assert host.run('fingerprint >"$STAMP"').returncode == 0


def is_ready(host: Host) -> bool:
    return host.run("is_ready").returncode == 0


def test_finished_set_up_is_instant(copy: Host) -> None:
    finish(copy)
    before = os.times()
    result = subprocess.run(
        [copy.project / "scripts/setup.sh"], env=copy.environment, capture_output=True, text=True
    )
    after = os.times()
    assert (result.returncode, result.stderr) == (0, "")
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2


@pytest.mark.parametrize(
    ("changed", "is_whole"),
    [
        ("scripts/newer_glibc.sh", False),
        ("requirements/setup.txt", False),
        ("scripts/setup.sh", True),
        ("requirements/project.txt", True),
        ("pyproject.toml", True),
    ],
)
def test_set_up_is_redone_when_its_inputs_change_and_anew_when_no_update_would_do(
    copy: Host, changed: str, is_whole: bool
) -> None:
    finish(copy)
    assert is_ready(copy)
    with (copy.project / changed).open("a") as file:
        file.write("# changed\n")
    assert not is_ready(copy)
    assert (copy.run("venv_is_whole").returncode == 0) is is_whole


def test_moved_broken_or_unfinished_environments_do_not_pass(copy: Host) -> None:
    finish(copy)
    moved = Host(copy.bin.parent / "other", copy.project.rename(copy.project.with_name("moved")))
    assert not is_ready(moved)
    finish(moved)
    (moved.project / ".venv/bin/python").unlink()
    assert not is_ready(moved)
    finish(moved)
    assert is_ready(moved)
    (moved.project / ".venv/set-up-finished").unlink()
    assert not is_ready(moved)


def test_killed_set_up_is_not_taken_for_finished(copy: Host) -> None:
    finish(copy)
    (copy.project / ".venv/set-up-finished").unlink()
    may_end = copy.home / "may-end"
    os.mkfifo(may_end)
    release = os.open(may_end, os.O_RDWR)  # waits for no reader
    copy.add("uv", "[[ $1 == --version ]] && exit; >~/at-work; read -r <~/may-end")
    command = [copy.project / "scripts/setup.sh"]
    setup = subprocess.Popen(command, env=copy.environment, stderr=subprocess.DEVNULL)
    try:
        while not (copy.home / "at-work").exists():
            assert setup.poll() is None
            time.sleep(0.05)
        setup.kill()
        setup.wait()
        assert not is_ready(copy)

        copy.add("uv", "[[ $1 == --version ]] || exit 2")
        again = subprocess.Popen(command, env=copy.environment, stderr=subprocess.PIPE, text=True)
        assert again.stderr is not None
        assert again.stderr.readline()
        assert again.poll() is None, "an orphan is still writing"
    finally:
        os.write(release, b"\n")
    _, err = again.communicate()
    os.close(release)
    assert "uv" in err
    assert again.returncode == 1
    assert not is_ready(copy)


def test_link_to_another_environment_is_refused_and_kept(copy: Host, tmp_path: Path) -> None:
    other = Host(tmp_path / "other", tmp_path / "other-project")
    shutil.copytree(copy.project, other.project)
    finish(other)
    (copy.project / ".venv").symlink_to(other.project / ".venv")
    sentence = refusal(copy.run("main"))
    assert str(copy.project / ".venv") in sentence
    assert str(other.project / ".venv") in sentence
    assert is_ready(other)


@pytest.mark.parametrize("name", ["nowhere", "file", "folder"])
def test_link_to_what_is_no_environment_is_refused_and_kept(copy: Host, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/set-up-finished").write_text("kept")
    (copy.project / ".venv").symlink_to(tmp_path / name)
    assert str(tmp_path / name) in refusal(copy.run("main"))
    assert (tmp_path / "file").read_text() == (tmp_path / "folder/set-up-finished").read_text() == "kept"


def test_environment_that_was_moved_and_linked_is_used_and_updated(copy: Host, tmp_path: Path) -> None:
    finish(copy)
    environment = copy.project / ".venv"
    moved = environment.rename(tmp_path / "larger-disk")
    environment.symlink_to(moved)
    assert is_ready(copy)
    (copy.project / "pyproject.toml").open("a").write("# changed\n")
    copy.add(environment / "bin/uv", "exit 0")
    copy.add("env", "exit 0")  # starts TFX
    result = copy.run("main")
    assert result.returncode == 0, result.stderr
    assert is_ready(copy)
    assert environment.readlink() == moved


def test_failed_update_leaves_the_environment_in_use(copy: Host) -> None:
    finish(copy)
    (copy.project / "pyproject.toml").open("a").write("# changed\n")
    copy.add(copy.project / ".venv/bin/uv", "echo 'error: no network' >&2; exit 2")
    result = subprocess.run(
        [copy.project / "scripts/setup.sh"], env=copy.environment, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "error: no network" in result.stderr
    assert copy.run("venv_is_whole").returncode == 0
    assert not is_ready(copy)


# The pins


def pins(name: str) -> list[Requirement]:
    """The pins of a file that this interpreter heeds, after seeing that each has hashes."""
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements" / name).read_text())
    found = []
    for block in blocks:
        if not block.startswith("#"):
            assert "--hash=sha256:" in block, block
            found.append(Requirement(block.split(" \\")[0]))
    return [pin for pin in found if pin.marker is None or pin.marker.evaluate()]


def declared() -> list[Requirement]:
    """Everything that pyproject.toml asks for."""
    project = PYPROJECT["project"]
    groups = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PYPROJECT["dependency-groups"].values(),
    ]
    return [Requirement(line) for group in groups for line in group]


@pytest.mark.parametrize("name", ["project.txt", "setup.txt", "image.txt", "gpu.txt"])
def test_every_pin_has_a_hash_and_no_index(name: str) -> None:
    assert pins(name)
    text = (ROOT / "requirements" / name).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index|--extra-index|--find-links|-f)\b", text, re.MULTILINE)


def test_pins_fit_what_pyproject_declares() -> None:
    versions = {pin.name: next(iter(pin.specifier)).version for pin in pins("project.txt")}
    for requirement in declared():
        assert requirement.specifier.contains(versions[requirement.name.lower()]), requirement


def test_both_pin_files_agree() -> None:
    project = {str(pin) for pin in pins("project.txt")}
    assert {str(pin) for pin in pins("setup.txt")} <= project


def test_environment_holds_the_pins() -> None:
    wrong = []
    for pin in pins("project.txt"):
        try:
            if not pin.specifier.contains(version(pin.name), prereleases=True):
                wrong.append(f"{pin.name} {version(pin.name)}")
        except PackageNotFoundError:
            wrong.append(f"{pin.name} missing")
    assert not wrong


def test_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    shown = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make (\S+)", shown, re.MULTILINE) == phony.group(1).split()
