"""Builds the container images with podman on this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from components.errors import InputError

SCRIPTS = Path(__file__).resolve().parent.parent
IMAGE = "localhost/catsdogs"
OWN_BASE = "localhost/catsdogs-base:trixie"

# Prints podman's flags for this machine.
_FLAGS = 'WORK=$(mktemp -d); find_flags; rm -rf "$WORK"; echo "${FLAGS[@]}"'


def require_podman() -> None:
    """Raises InputError if podman does not work here."""
    if shutil.which("podman") is None:
        raise InputError("podman is not installed: apt-get install podman")
    result = subprocess.run(["podman", "info"], capture_output=True, text=True, check=False)
    if result.returncode:
        raise InputError(
            f"podman does not work here: {(result.stderr.strip() or 'no reason').splitlines()[-1]}"
        )


def require_flink() -> None:
    """Raises InputError if this machine lacks what runs Flink and builds Beam's job server for it."""
    for program, package in (("java", "openjdk-17-jdk-headless"), ("mvn", "maven"), ("bwrap", "bubblewrap")):
        if shutil.which(program) is None:
            raise InputError(
                f"{program} is not installed, which the check on Flink needs: apt-get install {package}"
            )


def find_base(report: Callable[[str], None]) -> str:
    """Returns the base image: $BASE, else Debian's own, else one that debootstrap makes once."""
    if base := os.environ.get("BASE"):
        return base
    public_base = _image_script('echo "$BASE"')
    for known in (public_base, OWN_BASE):
        if _succeeds("podman", "image", "exists", known):
            return known
    report(f"Fetching {public_base}")
    if _succeeds("podman", "pull", "--quiet", public_base):
        return public_base
    report("No registry can be reached")
    run([SCRIPTS / "debian_base.sh", OWN_BASE])
    return OWN_BASE


def build(base: str, targets: Sequence[str]) -> dict[str, str]:
    """Builds the images of the targets (`cpu`, `gpu`) and returns their names by digest."""
    run([SCRIPTS / "image.sh", *targets], {"ENGINE": "podman", "IMAGE": IMAGE, "BASE": base, "PUSH": ""})
    tag = _image_script("content", base)
    return {target: f"{IMAGE}@{_digest(f'{IMAGE}:{target}-{tag}')}" for target in targets}


def flags(base: str) -> list[str]:
    """Returns podman's flags for starting a container on this machine."""
    return shlex.split(_image_script(_FLAGS, base))


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    """Runs a command of this project, which prints its own errors.

    Raises:
        InputError: The command failed.
    """
    status = subprocess.run(command, env=os.environ | dict(environment or {}), check=False).returncode
    if status:
        raise InputError(
            f"{Path(command[0]).name} failed with exit status {status}; its error is shown above."
        )


def _digest(name: str) -> str:
    command = ["podman", "image", "inspect", "--format", "{{.Digest}}", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _image_script(code: str, base: str = "") -> str:
    """Returns the output of shell code that uses scripts/image.sh, with its own base by default."""
    done = subprocess.run(
        ["bash", "-euc", f"source {shlex.quote(str(SCRIPTS / 'image.sh'))}; {code}"],
        env=os.environ | {"ENGINE": "podman", "BASE": base},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
