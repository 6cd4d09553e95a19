from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.commands import serve
from serving.errors import ServingError, UsageError
from tests.serving import saved_models

CATSDOGS = [sys.executable, "-P", "-m", "pipelines.cli"]


def test_an_unusable_model_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="/none "):
        serve.serve(model_dir=tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="/file "):
        serve.serve(model_dir=tmp_path / "file")
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "saved_model.pb").touch()
    with pytest.raises(UsageError, match=re.escape(f" {tmp_path}.")):
        serve.serve(model_dir=tmp_path / "7")


def test_unusable_ports_and_hosts_are_errors(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        for option in ("rest_port", "grpc_port"):
            ports = {"rest_port": 0, "grpc_port": 0, option: taken}
            with pytest.raises(ServingError, match=f"{taken}.*--{option.replace('_', '-')}"):
                serve.serve(model_dir=tmp_path, **ports)
    with pytest.raises(UsageError, match="9999"):
        serve.serve(model_dir=tmp_path, rest_port=9999, grpc_port=9999)
    with pytest.raises(UsageError, match="192.0.2.1"):
        serve.serve(model_dir=tmp_path, host="192.0.2.1", rest_port=0, grpc_port=0)
    with pytest.raises(UsageError, match="no.such.host.invalid"):
        serve.serve(model_dir=tmp_path, host="no.such.host.invalid", rest_port=0, grpc_port=0)


def test_listening_on_all_networks_prints_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "models.config"
    for host, warned in (("127.0.0.1", False), ("0.0.0.0", True)):
        with pytest.raises(UsageError, match="models.config"):
            serve.serve(model_dir=tmp_path, model_config_file=missing, host=host, rest_port=0, grpc_port=0)
        output = capsys.readouterr().out
        assert "not TensorFlow Serving" in output
        assert (host in output) is warned


@pytest.mark.parametrize("writable", ["", ".", "7", "7/saved_model.pb"])
def test_a_folder_that_others_can_change_prints_a_warning(
    writable: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.local.server.serve", lambda *args, **options: None)
    (tmp_path / "m" / "7").mkdir(parents=True)
    (tmp_path / "m" / "7" / "saved_model.pb").touch()
    (tmp_path / "m" / "broken link").symlink_to("nowhere")
    config = tmp_path / "models.config"
    place = f'name: "m" base_path: "{tmp_path / "m"}" model_platform: "tensorflow"'
    config.write_text(f"model_config_list {{ config {{ {place} }} }}")
    if writable:
        changed = tmp_path / "m" / writable
        changed.chmod(changed.stat().st_mode | 0o002)
    for model_config_file in (None, config):
        serve.serve(model_dir=tmp_path / "m", model_config_file=model_config_file, rest_port=0, grpc_port=0)
        warnings = capsys.readouterr().err.splitlines()
        assert len(warnings) == (1 if writable else 0)
        assert all(str(changed) in line and f"chmod -R o-w {tmp_path / 'm'}" in line for line in warnings)


def test_a_models_config_that_others_can_change_prints_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.local.server.serve", lambda *args, **options: None)
    config = tmp_path / "models.config"
    config.write_text("model_config_list { }")
    config.chmod(0o666)
    serve.serve(model_config_file=config, rest_port=0, grpc_port=0)
    assert str(config) in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "http://models.example", "models.example:8501", "*"])
def test_an_invalid_allowed_host_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--allow-host"):
        serve.serve(model_dir=tmp_path, allow_host=[name])


def get(url: str, host: str = "localhost") -> Any:
    request = urllib.request.Request(url, headers={"Host": host})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return result


@pytest.mark.slow
def test_serve_loads_new_versions_and_stops_on_sigint(tmp_path: Path) -> None:
    served, log = tmp_path / "half", tmp_path / "log"
    served.mkdir()
    options = ["--model-dir", served, "--model-name", "half", "--rest-port", "0", "--grpc-port", "0"]
    options += ["--allow-host", "models.example"]
    with (
        log.open("w") as output,
        subprocess.Popen([*CATSDOGS, "serve", *map(str, options)], stdout=output, stderr=output) as process,
    ):
        try:
            port = wait_for(lambda: re.search(r"http://[\d.]+:(\d+)/", log.read_text()))[1]
            model = f"http://127.0.0.1:{port}/v1/models/half"
            with pytest.raises(urllib.error.HTTPError, match="404"):
                get(model)
            saved_models.half_plus_two(served, 7)
            wait_for(lambda: "half version 7" in log.read_text())
            assert get(model)["model_version_status"][0]["version"] == "7"
            assert get(model, host="models.example") == get(model)
            with pytest.raises(urllib.error.HTTPError, match="403"):
                get(model, host="other.example")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
    text = log.read_text()
    assert "Traceback" not in text
    assert "oneDNN" not in text
