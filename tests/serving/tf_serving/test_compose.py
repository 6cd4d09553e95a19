from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Annotated, Literal

import pydantic
import pytest
import yaml

from tests.serving.tf_serving.shipped import HERE, ROOT, Strict, compose

Duration = Annotated[str, pydantic.Field(pattern=r"^(\d+(us|ms|s|m|h))+$")]


class Bind(Strict):
    type: Literal["bind"]
    source: str
    target: str
    read_only: bool = False


class Healthcheck(Strict):
    test: list[str]
    interval: Duration
    timeout: Duration
    start_period: Duration


class Limits(Strict):
    cpus: str
    memory: Annotated[str, pydantic.Field(pattern=r"^\d+[bkmgBKMG]$")]


class Resources(Strict):
    limits: Limits


class Deploy(Strict):
    resources: Resources


class ComposeService(Strict):
    """The part of the Compose Specification (compose-spec.json, checked in November 2026) that is in use."""

    image: str
    entrypoint: list[str]
    command: list[str]
    ports: list[Annotated[str, pydantic.Field(pattern=r"^127\.0\.0\.1:\d+:\d+$")]]
    volumes: list[Bind]
    user: str
    read_only: bool
    cap_drop: list[str]
    security_opt: list[str]
    restart: Literal["no", "always", "on-failure", "unless-stopped"]
    stop_grace_period: Duration
    healthcheck: Healthcheck
    deploy: Deploy


class Compose(Strict):
    name: str
    services: dict[str, ComposeService]


def test_the_compose_file_matches_the_specification() -> None:
    Compose.model_validate(compose())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only: true #", "readonly: true #"),
        ("stop_grace_period: 10s", "stop_grace_period: 10"),
        ("    image: ", "    images: "),
        ("restart: unless-stopped", "restart: sometimes"),
    ],
)
def test_a_mistake_in_the_compose_file_fails(right: str, wrong: str) -> None:
    text = (HERE / "compose.yaml").read_text()
    assert right in text
    with pytest.raises(pydantic.ValidationError):
        Compose.model_validate(yaml.safe_load(text.replace(right, wrong)))


@pytest.mark.parametrize(
    ("environment", "models"), [({}, "../../output/serving_model/catsdogs"), ({"MODELS": "/m"}, "/m")]
)
def test_podman_compose_parses_the_file(
    environment: dict[str, str], models: str, require_tool: Callable[[str], str]
) -> None:
    require_tool("podman")
    command = [str(ROOT / ".venv/bin/podman-compose"), "--file", str(HERE / "compose.yaml"), "config"]
    kept = {name: value for name, value in os.environ.items() if name != "MODELS"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=kept | environment)
    assert done.returncode == 0, done.stderr
    given, read = compose(), yaml.safe_load(done.stdout)
    given["services"]["tensorflow-serving"]["volumes"][0]["source"] = models
    assert read == given
