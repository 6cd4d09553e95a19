"""A Kubeflow Pipelines API server (v2beta1) on this machine, which checks and responses as the real one does.

Its checks, the words of its refusals and the form of its responses are those of backend/src/apiserver in
kubeflow/pipelines: server/*, resource/resource_manager.go, template/v2_template.go.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import ssl
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

JSON = dict[str, Any]
NOW = "2026-11-22T08:00:00Z"

_CODES = {3: 400, 5: 404, 6: 409, 7: 403, 13: 500, 16: 401}  # gRPC → HTTP, as grpc-gateway maps them
_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_DOUBLE": (int, float),
    "NUMBER_INTEGER": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


class Refused(Exception):
    """A gRPC status other than OK."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Request:
    """What has arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any = None


@dataclass
class Response:
    """What to response instead: a status, a body, and its type."""

    status: int
    body: bytes | JSON
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class KfpServer:
    """The server and what it holds.

    Attributes:
        requests: All that have arrived.
        faults: (pattern of "METHOD path", response, how many times) in place of the usual response.
        progress: What a run returns for each request (`run_status`); the last one is repeated.
        tokens: Bearer tokens that are let in; None lets everybody in.
        cookies: `Cookie` headers that are let in; everybody else is led to a login page.
        multi_user: Whether namespaces must be named.
        workflow: The Argo Workflow of every run (`read_workflow`); None is a server without v1beta1.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[tuple[str, Response, int]] = []
        self.progress: list[JSON] = [{"state": "SUCCEEDED"}]
        self.tokens: set[str] | None = None
        self.cookies: set[str] | None = None
        self.multi_user = False
        self.experiments: list[JSON] = []
        self.pipelines: list[JSON] = []
        self.versions: list[JSON] = []
        self.runs: list[JSON] = []
        self.recurring: list[JSON] = []
        self.files: dict[str, bytes] = {}  # version id → what was uploaded
        self.logs: dict[str, str] = {}  # pod → log
        self.workflow: JSON | None = None
        self.hold: Callable[[], object] = bool  # called before each response
        self.add_experiment("Default")
        server = self

        class Handler(_Handler):
            kfp = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._scheme = "http"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def start(self, certificate: Path | None = None, prefix: str = "") -> str:
        """Starts to serve, with TLS where there is a certificate and key, and returns the endpoint."""
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
            self._scheme = "https"
        self._prefix = prefix
        self._thread.start()
        return self.endpoint

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._http.server_port}{self._prefix}"

    def add_experiment(self, name: str, namespace: str = "", state: str = "AVAILABLE") -> JSON:
        experiment = {
            "experiment_id": _id(),
            "display_name": name,
            "namespace": namespace,
            "storage_state": state,
            "created_at": NOW,
        }
        self.experiments.append(experiment)
        return experiment

    def made(self, path: str) -> list[Request]:
        """Returns the POST requests to a path."""
        return [request for request in self.requests if request.method == "POST" and request.path == path]

    def response(self, request: Request) -> Response:
        """Returns the response of the server to a request."""
        for index, (pattern, response, times) in enumerate(self.faults):
            if times and re.fullmatch(pattern, f"{request.method} {request.path}"):
                self.faults[index] = (pattern, response, times - 1)
                return response
        if self.cookies is not None and request.headers.get("Cookie") not in self.cookies:
            return Response(302, b"", headers={"Location": f"{self.endpoint}/dex/auth/local/login"})
        try:
            if self.tokens is not None and request.headers.get("authorization", "") not in {
                f"Bearer {token}" for token in self.tokens
            }:
                raise Refused(
                    16, "Failed to check authorization. User identity is empty in the request header"
                )
            if request.path.startswith("/apis/v1alpha1/runs/"):
                return self._log(request.path)
            if request.path.startswith("/apis/v1beta1/runs/") and self.workflow:
                manifest = json.dumps(self.workflow)
                return Response(200, {"run": {}, "pipeline_runtime": {"workflow_manifest": manifest}})
            return Response(200, self._route(request))
        except Refused as refusal:
            if request.path.startswith("/apis/v2beta1/pipelines/upload"):  # no gRPC: its own form
                return Response(
                    _CODES[refusal.code], {"error_message": str(refusal), "error_details": str(refusal)}
                )
            return Response(
                _CODES[refusal.code],
                {
                    "code": refusal.code,
                    "message": str(refusal),
                    "details": [{"@type": "type.googleapis.com/google.rpc.Status", "message": str(refusal)}],
                },
            )

    def _log(self, path: str) -> Response:
        """Does what RunLogServer does, which sends 200 before it looks up the pod."""
        _, _, run_id, _, pod, _ = path.removeprefix("/apis/").split("/")
        if pod in self.logs and any(run["run_id"] == run_id for run in self.runs):
            return Response(200, self.logs[pod].encode(errors="surrogateescape"), "text/plain")
        return Response(200, {"error_message": f"Failed to read logs for run {run_id}"}, "text/plain")

    def _route(self, request: Request) -> JSON:
        parts = request.path.removeprefix("/apis/v2beta1/").split("/")
        match request.method, parts:
            case "GET", ["healthz"]:
                return {"multi_user": self.multi_user}
            case "GET", ["experiments"]:
                self._need_namespace(
                    request, "An experiment cannot have an empty namespace in multi-user mode"
                )
                namespace = request.query.get("namespace", "")
                ours = [one for one in self.experiments if one["namespace"] == namespace]
                return _listed("experiments", ours, request)
            case "POST", ["experiments"]:
                return self._create_experiment(request.body)
            case "GET", ["pipelines"]:
                namespace = request.query.get("namespace", "")
                ours = [one for one in self.pipelines if one.get("namespace", "") == namespace]
                return _listed("pipelines", ours, request)
            case "POST", ["pipelines"]:
                return self._create_pipeline(request.body)
            case "POST", ["pipelines", "upload_version"]:
                return self._upload_version(request)
            case "GET", ["pipelines", pipeline_id, "versions"]:
                ours = [one for one in self.versions if one["pipeline_id"] == pipeline_id]
                return _listed("pipeline_versions", ours, request)
            case "POST", ["runs"]:
                return self._create_run(request.body)
            case "GET", ["runs", run_id]:
                return self._get_run(run_id)
            case "GET", ["recurringruns"]:
                self._need_namespace(
                    request, "a recurring run cannot have an empty namespace in multi-user mode"
                )
                namespace = request.query.get("namespace", "") if self.multi_user else ""
                experiments = {
                    one["experiment_id"] for one in self.experiments if one["namespace"] == namespace
                }
                ours = [one for one in self.recurring if one["experiment_id"] in experiments]
                return _listed("recurringRuns", ours, request)
            case "POST", ["recurringruns"]:
                return self._create_recurring(request.body)
            case "POST", ["recurringruns", action]:
                recurring_id, _, verb = action.partition(":")
                _one(self.recurring, "recurring_run_id", recurring_id, "RecurringRun")["status"] = {
                    "enable": "ENABLED",
                    "disable": "DISABLED",
                }[verb]
                return {}
        raise Refused(5, "Not Found")

    def _need_namespace(self, request: Request, message: str) -> None:
        if self.multi_user and not request.query.get("namespace"):
            raise Refused(3, message)

    def _create_experiment(self, body: JSON) -> JSON:
        name, namespace = body.get("display_name", ""), body.get("namespace", "")
        if self.multi_user and not namespace:
            raise Refused(3, "An experiment cannot have an empty namespace in multi-user mode")
        if any(one["display_name"] == name and one["namespace"] == namespace for one in self.experiments):
            raise Refused(6, f"The name {name} already exists. Please specify a new name.")
        return self.add_experiment(name, namespace)

    def _create_pipeline(self, body: JSON) -> JSON:
        if not body.get("display_name"):
            raise Refused(3, "pipeline's name cannot be empty")
        whose = (body["display_name"], body.get("namespace", ""))
        if any((one["display_name"], one.get("namespace", "")) == whose for one in self.pipelines):
            raise Refused(6, f"The name {body['display_name']} already exist. Please specify a new name")
        pipeline = {"pipeline_id": _id(), "created_at": NOW, **body}
        self.pipelines.append(pipeline)
        return pipeline

    def _upload_version(self, request: Request) -> JSON:
        file = request.body["uploadfile"]
        if not re.search(r"\.(yaml|yml|zip|tar\.gz)$", file["name"]):
            raise Refused(3, "Failed to create a pipeline version")
        pipeline_id, name = request.query["pipelineid"], request.query["name"]
        _one(self.pipelines, "pipeline_id", pipeline_id, "Pipeline")
        spec, platform = check_template(list(yaml.safe_load_all(file["content"])))
        if any(one["pipeline_id"] == pipeline_id and one["display_name"] == name for one in self.versions):
            raise Refused(6, "Failed to create a pipeline version")
        version: JSON = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": _id(),
            "display_name": name,
            "created_at": NOW,
            "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform},
        }
        self.versions.append(version)
        self.files[version["pipeline_version_id"]] = file["content"]
        return version

    def _create_run(self, body: JSON) -> JSON:
        if not body.get("display_name"):
            raise Refused(3, "The run name is empty. Please specify a valid name")
        _one(self.experiments, "experiment_id", body.get("experiment_id"), "Experiment")
        check_job(self._spec_of(body), body.get("runtime_config", {}))
        run = {
            "run_id": _id(),
            "created_at": NOW,
            "state": "PENDING",
            **{key: value for key, value in body.items() if key != "pipeline_spec"},
        }
        self.runs.append(run)
        return run

    def _get_run(self, run_id: str) -> JSON:
        run = _one(self.runs, "run_id", run_id, "Run")
        status = self.progress.pop(0) if len(self.progress) > 1 else self.progress[0]
        return run | status

    def _create_recurring(self, body: JSON) -> JSON:
        if not 1 <= body.get("max_concurrency", 0) <= 10:
            raise Refused(3, "Max concurrency of a recurring run must be at least 1 and at most 10.")
        cron = body["trigger"]["cron_schedule"]["cron"]
        if not cron.startswith("@") and not 5 <= len(cron.split()) <= 6:
            raise Refused(
                3,
                "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). Error: "
                f"Expected 5 to 6 fields, found {len(cron.split())}: {cron}",
            )
        _one(self.experiments, "experiment_id", body.get("experiment_id"), "Experiment")
        check_job(self._spec_of(body), body.get("runtime_config", {}))
        recurring = {
            "recurring_run_id": _id(),
            "created_at": NOW,
            "status": {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[body["mode"]],
            **body,
        }
        self.recurring.append(recurring)
        return recurring

    def _spec_of(self, body: JSON) -> JSON:
        reference, inline = body.get("pipeline_version_reference"), body.get("pipeline_spec")
        if bool(reference) == bool(inline):
            raise Refused(3, "Failed to parse the pipeline source")
        if not reference:
            assert inline
            spec, _ = check_template([inline["pipeline_spec"], inline["platform_spec"]])
            return spec
        version = _one(
            self.versions, "pipeline_version_id", reference["pipeline_version_id"], "PipelineVersion"
        )
        spec = version["pipeline_spec"]["pipeline_spec"]
        assert isinstance(spec, dict)
        return spec


def check_template(documents: Sequence[JSON]) -> tuple[JSON, JSON]:
    """Does what template.NewV2SpecTemplate does, and returns the pipeline's and the platform's document."""
    specs = [one for one in documents if one and "pipelineInfo" in one]
    platforms = [one for one in documents if one and "platforms" in one]
    if not specs:
        raise Refused(3, "no pipeline spec is provided")
    if len(specs) > 1:
        raise Refused(3, "multiple pipeline specs provided")
    if len(platforms) > 1:
        raise Refused(3, "multiple platform specs provided")
    try:
        json_format.ParseDict(specs[0], pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(platforms[0] if platforms else {}, pipeline_spec_pb2.PlatformSpec())
    except json_format.ParseError as error:
        raise Refused(3, f"invalid v2 pipeline spec: {error}") from None
    if specs[0].get("schemaVersion") != "2.1.0":
        raise Refused(
            3,
            "KFP only supports schema version 2.1.0, but the pipeline spec has version "
            f"{specs[0].get('schemaVersion')}",
        )
    return specs[0], platforms[0] if platforms else {}


def check_job(spec: JSON, config: JSON) -> None:
    """Does what V2Spec.validatePipelineJobInputs does."""
    definitions = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values = config.get("parameters", {})
    for name, definition in definitions.items():
        if name not in values:
            if not definition.get("isOptional") and "defaultValue" not in definition:
                raise Refused(
                    3,
                    f"parameter {name} is not optional, yet has neither default value nor user provided "
                    "value",
                )
        elif not isinstance(values[name], _JSON_TYPES[definition["parameterType"]]):
            raise Refused(3, f"input parameter {name} requires type {definition['parameterType'].lower()}")
    extra = [name for name in values if name not in definitions]
    if extra:
        raise Refused(3, f"parameter(s) provided are not required by pipeline: {', '.join(extra)}")


def node(name: str, state: str, start: str = NOW, end: str = "0001-01-01T00:00:00Z", **more: Any) -> JSON:
    """Returns a node of a workflow as the server returns it."""
    return {
        "task_id": _id(),
        "display_name": name,
        "state": state,
        "create_time": NOW,
        "start_time": start,
        "end_time": end,
        **more,
    }


def run_status(state: str, *nodes: JSON, **more: Any) -> JSON:
    """Returns the status of a run as the server returns it."""
    return {"state": state, "run_details": {"task_details": list(nodes)}, **more}


def read_workflow(name: str) -> JSON:
    """Returns a workflow of `workflows/`, trimmed, with names, links and messages as Argo gives them."""
    text = (Path(__file__).parent / "workflows" / f"{name}.json").read_text(encoding="utf-8")
    workflow: JSON = json.loads(text)
    return workflow


def listed(workflow: JSON) -> list[JSON]:
    """Does what toModelTask and toApiPipelineTaskDetail do with nodes: messages and pods are lost."""
    states = {"Error": "FAILED", "Omitted": "RUNTIME_STATE_UNSPECIFIED"}
    return [
        node(
            one["displayName"],
            states.get(one["phase"], one["phase"].upper()),
            one["startedAt"],
            one["finishedAt"] or "0001-01-01T00:00:00Z",
        )
        for one in workflow["status"]["nodes"].values()
    ]


def compress(workflow: JSON) -> JSON:
    """Does what Argo's packer does with a workflow that is too large."""
    nodes = json.dumps(workflow["status"]["nodes"]).encode()
    status = {"compressedNodes": base64.b64encode(gzip.compress(nodes)).decode()}
    return workflow | {"status": {"phase": workflow["status"]["phase"], **status}}


def _listed(key: str, found: Sequence[JSON], request: Request) -> JSON:
    for predicate in json.loads(request.query.get("filter") or "{}").get("predicates", ()):
        assert predicate["operation"] in {1, "EQUALS"}
        found = [one for one in found if one.get(predicate["key"]) == predicate["stringValue"]]
    start, size = int(request.query.get("page_token") or 0), int(request.query.get("page_size") or 20)
    page: JSON = {key: list(found[start : start + size]), "total_size": len(found)} if found else {}
    return page | ({"next_page_token": str(start + size)} if start + size < len(found) else {})


def _one(found: Sequence[JSON], key: str, value: object, kind: str) -> JSON:
    for one in found:
        if one[key] == value:
            return one
    raise Refused(5, f"{kind} {value} not found")


def _id() -> str:
    return str(uuid.uuid4())


class _Handler(BaseHTTPRequestHandler):
    kfp: KfpServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(
            self.command,
            path.removeprefix(self.kfp._prefix),
            dict(urllib.parse.parse_qsl(query)),
            dict(self.headers.items()) | {"authorization": self.headers.get("authorization", "")},
            self._parsed(content),
        )
        self.kfp.requests.append(request)
        self.kfp.hold()
        if path.endswith("/login"):
            response = Response(200, b"<html><form>Log in to Your Account</form></html>", "text/html")
        else:
            response = self.kfp.response(request)
        body = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
        with contextlib.suppress(ConnectionError):  # who asked may have been interrupted
            self.send_response(response.status)
            self.send_header("Content-Type", response.content_type)
            self.send_header("Content-Length", str(len(body)))
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    def _parsed(self, content: bytes) -> Any:
        kind = self.headers.get("Content-Type") or ""
        if not content:
            return None
        if not kind.startswith("multipart/form-data"):
            return json.loads(content)
        message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
        return {
            part.get_param("name", header="content-disposition"): {
                "name": part.get_filename(),
                "content": part.get_payload(decode=True),
            }
            for part in message.iter_parts()
        }

    def log_message(self, *_: object) -> None:
        pass
