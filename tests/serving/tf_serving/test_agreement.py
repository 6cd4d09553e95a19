"""Checks that configuration files, settings and documentation agree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipelines.settings import loading
from serving.local import metrics
from serving.local.options import ServerOptions
from tests.serving.tf_serving.messages import parsed
from tests.serving.tf_serving.shipped import HERE, ROOT, compose, kserve, manifest, manifests

# The used flags and their types, checked by hand against model_servers/main.cc at 9d981c5c.
FLAGS: Mapping[str, type] = {
    "allow_version_labels_for_unavailable_models": bool,
    "batching_parameters_file": str,
    "enable_batching": bool,
    "enable_model_warmup": bool,
    "file_system_poll_wait_seconds": int,
    "grpc_channel_arguments": str,
    "model_base_path": str,
    "model_config_file": str,
    "model_config_file_poll_wait_seconds": int,
    "model_name": str,
    "monitoring_config_file": str,
    "num_load_threads": int,
    "port": int,
    "rest_api_port": int,
    "rest_api_timeout_in_ms": int,
    "tensorflow_inter_op_parallelism": int,
    "tensorflow_intra_op_parallelism": int,
}


def arguments() -> Iterator[tuple[str, list[str]]]:
    """Yields the server arguments in each file."""
    yield "compose", compose()["services"]["tensorflow-serving"]["command"]
    yield "deployment", manifest("Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    yield "kserve", kserve()["spec"]["predictor"]["model"]["args"]


def flags(words: list[str]) -> dict[str, str]:
    return dict(
        word.removeprefix("--").split("=", 1) for word in words if word.startswith("--") and "=" in word
    )


def check_flags(words: list[str]) -> None:
    for name, value in flags(words).items():
        assert name in FLAGS, name
        if FLAGS[name] is bool:
            assert value in ("true", "false"), f"{name}={value}"
        elif FLAGS[name] is int:
            assert value.isdecimal(), f"{name}={value}"
        else:
            assert value


@pytest.mark.parametrize("path", [*HERE.rglob("*.yaml"), *HERE.glob("*.config")], ids=lambda path: path.name)
def test_every_flag_exists(path: Path) -> None:
    written = re.findall(r"--[a-z]+_[a-z_]+=[^\s,}\"']+", path.read_text())  # in comments too
    check_flags(written)


def test_flags_in_the_documentation_exist() -> None:
    named = {
        flag
        for page in ("README.md", "docs/serving.md")
        for flag in re.findall(r"--([a-z]+(?:_[a-z]+)+)\b", (ROOT / page).read_text())
    }
    assert {"model_config_file", "enable_batching"} < named <= set(FLAGS)


@pytest.mark.parametrize("wrong", ["--enable_batchin=true", "--enable_batching=yes", "--rest_api_port=REST"])
def test_a_wrong_flag_fails(wrong: str) -> None:
    with pytest.raises(AssertionError):
        check_flags([wrong])


def test_batching_has_both_flags_or_none() -> None:
    for _, words in arguments():
        assert ("enable_batching" in flags(words)) == ("batching_parameters_file" in flags(words))


def test_compose_kubernetes_and_kserve_serve_the_same_model() -> None:
    per_file = dict(arguments())
    [config] = parsed("models.config").model_config_list.config
    defaults = loading.load()
    assert config.name == defaults.pipeline_name == "catsdogs"
    assert config.base_path == defaults.serving_base_path
    read = {name: flags(words)["model_config_file"] for name, words in per_file.items()}
    [env] = manifest("Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    read["deployment"] = read["deployment"].replace(f"$({env['name']})", env["value"])
    assert set(read.values()) == {f"{config.base_path}/models.config"}
    same = set(FLAGS) - {"port", "rest_api_port", "grpc_channel_arguments", "model_config_file"}
    common = [
        {name: value for name, value in flags(words).items() if name in same} for words in per_file.values()
    ]
    assert common[0] == common[1] == common[2]


def test_models_are_mounted_at_the_base_path() -> None:
    base_path = loading.load().serving_base_path
    pushed = loading.load("kubeflow").serving_destination
    [claim] = [one for one in loading.load("kubeflow").kubeflow.volumes if pushed.startswith(one.mount_path)]
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    for volumes, mounts in (
        (pod["volumes"], pod["containers"][0]["volumeMounts"]),
        (kserve()["spec"]["predictor"]["volumes"], kserve()["spec"]["predictor"]["model"]["volumeMounts"]),
    ):
        [mount] = [one for one in mounts if one["name"] == "models"]
        [volume] = [one for one in volumes if one["name"] == "models"]
        assert mount["mountPath"] == base_path
        assert mount["readOnly"]
        assert f"{claim.mount_path}/{mount['subPath']}" == pushed
        assert volume["persistentVolumeClaim"]["claimName"] == claim.claim
        [config] = [one["mountPath"] for one in mounts if one["name"] == "config"]
        assert config == "/config"
    binds = {one["target"]: one for one in compose()["services"]["tensorflow-serving"]["volumes"]}
    assert set(binds) == {base_path, "/config/monitoring.config", "/config/batching.config"}
    assert all(bind["read_only"] for bind in binds.values())
    for name in ("monitoring.config", "batching.config"):
        assert (HERE / binds[f"/config/{name}"]["source"]).resolve() == HERE / name
    default = re.fullmatch(r"\$\{MODELS:-(.+)\}", binds[base_path]["source"])
    assert default
    assert str((HERE / default[1]).resolve()) == loading.load().serving_destination


def test_ports_and_paths_agree() -> None:
    name = loading.load().pipeline_name
    for words in (dict(arguments())["compose"], dict(arguments())["deployment"]):
        assert (flags(words)["port"], flags(words)["rest_api_port"]) == ("8500", "8501")
    assert compose()["services"]["tensorflow-serving"]["ports"] == [
        "127.0.0.1:8500:8500",
        "127.0.0.1:8501:8501",
    ]
    template = manifest("Deployment")["spec"]["template"]
    [container] = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    for service in ("catsdogs", "catsdogs-grpc"):
        for port in manifest("Service", service)["spec"]["ports"]:
            assert port["port"] == ports[port["targetPort"]]
    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "8501",
        "prometheus.io/path": parsed("monitoring.config").prometheus_config.path,
    }
    assert template["metadata"]["annotations"]["prometheus.io/path"] == metrics.PATH  # the local server's
    assert (ServerOptions().grpc_port, ServerOptions().rest_port) == (ports["grpc"], ports["rest"])
    model = kserve()["spec"]["predictor"]["model"]
    for probed in (container, model):
        assert probed["readinessProbe"]["httpGet"]["path"] == f"/v1/models/{name}/metadata"
        assert "httpGet" not in probed["livenessProbe"]
        assert "startupProbe" in probed


def test_labels_select_the_pods() -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    spec = manifest("Deployment")["spec"]
    selectors = [
        spec["selector"]["matchLabels"],
        manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    selectors += [one["spec"]["selector"] for one in manifests() if one["kind"] == "Service"]
    spread = spec["template"]["spec"]["topologySpreadConstraints"]
    selectors += [one["labelSelector"]["matchLabels"] for one in spread]
    assert len(selectors) == 6
    assert all(selector == labels for selector in selectors)
    target = manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "catsdogs"}


def test_a_terminating_pod_can_finish_its_requests() -> None:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    predictor = kserve()["spec"]["predictor"]
    for grace, container in (
        (pod["terminationGracePeriodSeconds"], pod["containers"][0]),
        (predictor["terminationGracePeriodSeconds"], predictor["model"]),
    ):
        pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        request = int(flags(container["args"])["rest_api_timeout_in_ms"]) / 1000
        assert request + 5 < pause < grace
    assert predictor["timeout"] > request


def test_one_image_is_pinned_everywhere() -> None:
    pages = [*HERE.rglob("*.yaml"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    pins = {
        (path.relative_to(ROOT).as_posix(), pin)
        for path in pages
        for pin in re.findall(r"tensorflow/serving:([\w.-]+)", path.read_text())
    }
    assert {"serving/tf_serving/compose.yaml", "serving/tf_serving/kserve.yaml"} < {path for path, _ in pins}
    assert {pin.removesuffix("-gpu") for _, pin in pins} == {"2.20.0"}
