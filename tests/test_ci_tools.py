"""What `scripts/ci_tools.sh` installs, and where it refuses to."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import shell_host
from tests.shell_host import ROOT

TOOLS = ("bwrap", "chromium", "faketime", "java", "kubectl", "mvn", "openssl", "podman")
PACKAGES = {"bubblewrap", "chromium", "faketime", "maven", "default-jre-headless", "openssl", "podman"}


class Host(shell_host.Host):
    """Debian, used by root; without the programs that tests run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.add("id", "echo 0")
        self.add("apt-get", "exit 0")

    def install(self) -> subprocess.CompletedProcess[str]:
        return self.run("install_kubectl() { echo kubectl; }; main", "ci_tools.sh")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


def test_what_is_missing_is_installed(host: Host) -> None:
    host.add("openssl", "exit 0")
    done = host.install()
    assert (done.returncode, done.stdout) == (0, "kubectl\n")
    update, install = (line.split() for line in host.called("apt-get"))
    assert update[0] == "update"
    assert install[0] == "install"
    assert {word for word in install[1:] if not word.startswith("-")} == PACKAGES - {"openssl"}


def test_kubectl_alone_needs_no_packages(host: Host) -> None:
    for tool in set(TOOLS) - {"kubectl"}:
        host.add(tool, "exit 0")
    assert host.install().stdout == "kubectl\n"
    assert host.called("apt-get") == []


@pytest.mark.parametrize("root", [True, False])
def test_a_host_with_all_of_them_is_left_alone(host: Host, root: bool) -> None:
    host.add("id", f"echo {0 if root else 1000}")
    for tool in TOOLS:
        host.add(tool, "exit 0")
    done = host.install()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert host.called("apt-get") == []


@pytest.mark.parametrize("lacking", ["root", "apt-get"])
def test_without_root_or_apt_the_missing_are_named(host: Host, lacking: str) -> None:
    if lacking == "root":
        host.add("id", "echo 1000")
    else:
        (host.bin / "apt-get").unlink()
    for tool in set(TOOLS) - {"chromium"}:
        host.add(tool, "exit 0")
    done = host.install()
    assert (done.returncode, done.stdout) == (2, "")
    assert "chromium" in done.stderr
    assert host.called("apt-get") == []


def test_a_failure_of_apt_fails(host: Host) -> None:
    host.add("apt-get", "exit 100")
    assert host.install().returncode == 100


def test_every_program_that_tests_require_is_installed() -> None:
    required = {
        name
        for file in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r'require_tool\("([a-z-]+)"\)', file.read_text())
    }
    assert required - {"apt-get", "sh"} == set(TOOLS)


def test_ci_sets_up_and_installs_before_the_tests_which_require_every_program(
    host: Host, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / "project/.ci")
    for script in ("setup.sh", "ci_tools.sh"):
        host.add(tmp_path / "project/scripts" / script, f"echo {script}")
    host.add("make", 'echo "$*, REQUIRE_TOOLS=$REQUIRE_TOOLS"')
    command = ["bash", str(tmp_path / "project/.ci/run")]
    done = subprocess.run(command, env=host.environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["setup.sh", "ci_tools.sh", "test, REQUIRE_TOOLS=1"]
    host.add(tmp_path / "project/scripts/ci_tools.sh", "exit 2")
    done = subprocess.run(command, env=host.environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (2, ["setup.sh"])
