"""A Flink cluster on this machine: a JobManager, TaskManagers with a worker pool each, and Beam's job server.

`python -m tests.flink.cluster DIR` starts one in the foreground; its workers see no other folder than DIR.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import requests
import yaml

from tests.flink.packages import FlinkPackages, load_packages

_PROJECT = Path(__file__).resolve().parents[2]
_CODE = ("components", "pipelines", "serving", "trainer")
_START_SECONDS = 90.0
_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_JAVA = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # small and started soon, for short jobs

# Of the JobManager and the TaskManagers. A job survives the loss of a TaskManager that is replaced within
# half a minute, and fails within 50 seconds without that: each attempt waits for the delay and for a slot.
_CONFIGURATION = {
    "heartbeat.interval": "1000",  # ms
    "heartbeat.timeout": "8000",  # ms
    "slot.request.timeout": "6000",  # ms
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "5",
    "restart-strategy.fixed-delay.delay": "3 s",
    "blob.service.cleanup.interval": "20",  # seconds; each job leaves a copy of the job server's archive
}
# Without Flink's shell scripts, which compute these, each must be given.
_TASK_MANAGER_MEMORY = {
    "task.heap.size": "288m",
    "task.off-heap.size": "64m",
    "framework.heap.size": "96m",
    "framework.off-heap.size": "64m",
    "managed.size": "64m",
    "jvm-metaspace.size": "256m",
    "jvm-overhead.min": "64m",
    "jvm-overhead.max": "64m",
}


@dataclass(frozen=True)
class Pod:
    """Processes that see only the code, the packages and the shared folder, and that die together.

    Attributes:
        address: Its IP address.
        process: The first process; killing it kills all.
        log: The output of all.
    """

    name: str
    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """Kills all processes (-9)."""
        self.process.kill()
        self.process.wait()

    def sees(self, path: Path) -> bool:
        """Returns True if the processes see a path of this machine; needs the rights of a tracer."""
        [sandboxed] = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return Path(f"/proc/{sandboxed}/root{path}").exists()


class _HostNetwork:
    """The network of this machine, where pods share the address and need free ports."""

    def add(self) -> tuple[str, list[str]]:
        """Returns an address, and the start of a command that runs in its network."""
        return "127.0.0.1", []

    def port(self, _usual: int) -> int:
        """Returns a free port."""
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port: int = found.getsockname()[1]
            return port

    def remove(self) -> None:
        """Does nothing."""


class _Bridge:
    """A network with a namespace for each pod, which this machine reaches through a bridge."""

    def __init__(self) -> None:
        for number in range(1, 255):
            self._name, self._subnet = f"flink{number}", f"10.213.{number}"
            command = ["ip", "link", "add", self._name, "type", "bridge"]
            if subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0:
                break
        _ip("address", "add", f"{self._subnet}.1/24", "dev", self._name)
        _ip("link", "set", self._name, "up")
        self._namespaces: list[str] = []

    def add(self) -> tuple[str, list[str]]:
        """Makes a namespace; returns its address, and the start of a command that runs in it."""
        number = len(self._namespaces) + 2
        namespace, address = f"{self._name}-{number}", f"{self._subnet}.{number}"
        _ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        link = f"{self._name}v{number}"
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", link, "master", self._name, "up")
        _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", device, "up")
        return address, ["ip", "netns", "exec", namespace]

    def port(self, usual: int) -> int:
        """Returns the usual port."""
        return usual

    def remove(self) -> None:
        """Removes the bridge and its namespaces."""
        for namespace in self._namespaces:
            # Connections that were not closed keep the namespace, and so the link, for minutes.
            _ip("-n", namespace, "link", "delete", "eth0")
            _ip("netns", "delete", namespace)
        _ip("link", "delete", self._name)


def can_make_namespaces() -> bool:
    """Returns True if this process may make network namespaces, which more than one TaskManager need."""
    return os.geteuid() == 0 and shutil.which("ip") is not None


class FlinkCluster:
    """A running cluster. A context manager, which stops it and removes all that it has written.

    Args:
        packages: Flink and the job server.
        shared: The folder that the workers see and may write.
        task_managers: Number of TaskManagers.
        slots: Of each TaskManager.
        network_memory: Of each TaskManager. StatisticsGen, with its 342 vertices, needs 512 MB.
        host_network: True for a cluster with one TaskManager, to which the submitting process is "localhost".
            False needs root.
        worker_pools: False for pools that something else starts, at the address `worker_pool`.

    Attributes:
        master: The JobManager's REST address.
        job_endpoint: The job server's address.
        worker_pool: The address of a worker pool, as its TaskManager sees it.
        task_managers: The live ones, by the name that Flink's REST API has for them.
    """

    def __init__(
        self,
        packages: FlinkPackages,
        shared: Path,
        *,
        task_managers: int = 2,
        slots: int = 1,
        network_memory: str = "256m",
        host_network: bool = False,
        worker_pools: bool = True,
    ) -> None:
        self._packages, self._shared, self._slots = packages, shared.resolve(), slots
        self._starts_pools = worker_pools
        self._memory = _TASK_MANAGER_MEMORY | {f"network.{end}": network_memory for end in ("min", "max")}
        self._numbers = itertools.count(1)
        self._pods: list[Pod] = []
        self.task_managers: dict[str, Pod] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="flink-"))
        self._network = _HostNetwork() if host_network else _Bridge()
        try:
            self._start(task_managers)
        except BaseException:
            self.stop()
            raise

    def _start(self, task_managers: int) -> None:
        rest, rpc, job, pool = (self._network.port(usual) for usual in (8081, 6123, 8099, 50000))
        self.worker_pool = f"localhost:{pool}"
        address, inside = self._network.add()
        self.master = f"{address}:{rest}"
        self._job_manager = {"jobmanager.rpc.address": address, "jobmanager.rpc.port": rpc}
        configuration = {
            "jobmanager.bind-host": "0.0.0.0",  # else it looks for its own blob server at "localhost"
            "rest.address": address,
            "rest.bind-address": "0.0.0.0",
            "rest.port": rest,
        }
        manager = self._start_pod("jobmanager", address, inside, self._flink(_JOB_MANAGER, configuration))
        for _ in range(task_managers):
            self.add_task_manager()
        address, inside = self._network.add()
        self.job_endpoint = f"{address}:{job}"
        options = {
            "flink-master": self.master,
            "job-host": address,
            "job-port": job,
            "artifact-port": self._network.port(8098),
            "expansion-port": self._network.port(8097),
            "artifacts-dir": "/tmp/artifacts",
        }
        command = [*_JAVA, "-Xmx256m", "-jar", str(self._packages.job_server)]
        command += [f"--{name}={value}" for name, value in options.items()]
        server = self._start_pod("jobserver", address, inside, command)
        _wait(lambda: self._can_connect(self.master), manager)
        # It answers with 503 until it has become the leader.
        _wait(lambda: requests.get(f"http://{self.master}/taskmanagers", timeout=10).ok, manager)
        _wait(lambda: self._can_connect(self.job_endpoint), server)
        self.wait_for_task_managers()

    def __enter__(self) -> FlinkCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Kills all processes, and removes their network and their files."""
        for pod in self._pods:
            pod.kill()
        self._network.remove()
        shutil.rmtree(self._folder)

    def add_task_manager(self) -> None:
        """Starts a TaskManager with its worker pool, and does not wait for it."""
        name = f"tm{next(self._numbers)}"
        address, inside = self._network.add()
        configuration = {
            "taskmanager.resource-id": name,
            "taskmanager.host": address,
            "taskmanager.bind-host": "0.0.0.0",
            "taskmanager.numberOfTaskSlots": self._slots,
            "taskmanager.cpu.cores": 1,
            **{f"taskmanager.memory.{part}": size for part, size in self._memory.items()},
        }
        command = self._flink(_TASK_MANAGER, configuration)
        if self._starts_pools:
            pool = "python -m apache_beam.runners.worker.worker_pool_main --service_port="
            pool += self.worker_pool.partition(":")[2]
            command = ["sh", "-c", f'{pool} & exec "$@"', "sh", *command]
        self.task_managers[name] = self._start_pod(name, address, inside, command)

    def wait_for_task_managers(self) -> None:
        """Waits until the live TaskManagers, and no others, are known to the JobManager, with their pools."""
        for pod in self.task_managers.values():
            pool = f"{pod.address}:{self.worker_pool.partition(':')[2]}"
            if self._starts_pools:
                _wait(lambda pool=pool: self._can_connect(pool), pod)  # type: ignore[misc]
        names = self.task_managers.keys()
        _wait(lambda: {found["id"] for found in self.get("taskmanagers")["taskmanagers"]} == names, pod)

    def kill_task_manager(self, name: str) -> None:
        """Kills a TaskManager with its worker pool and workers (-9)."""
        self.task_managers.pop(name).kill()

    def get(self, path: str) -> Any:
        """Returns a document of Flink's REST API."""
        response = requests.get(f"http://{self.master}/{path}", timeout=10)
        response.raise_for_status()
        return response.json()

    def logs(self) -> dict[str, str]:
        """Returns the logs of all pods, also of the killed ones."""
        return {pod.name: pod.log.read_text(errors="replace") for pod in self._pods}

    def _flink(self, main_class: str, configuration: dict[str, object]) -> list[str]:
        home = self._packages.home
        with (home / "conf/config.yaml").open() as file:
            exports = yaml.safe_load(file)["env"]["java"]["opts"]["all"].split()
        # Network buffers are direct memory.
        command = [*_JAVA, "-Xmx384m", "-XX:MaxDirectMemorySize=1g", *exports]
        command += [f"-Dlog4j.configurationFile={home}/conf/log4j-session.properties"]
        command += ["-cp", f"{home}/lib/*", main_class, "--configDir", f"{home}/conf"]
        for name, value in (self._job_manager | _CONFIGURATION | configuration).items():
            command += ["-D", f"{name}={value}"]
        return command

    def _start_pod(self, name: str, address: str, inside: list[str], command: list[str]) -> Pod:
        temporary = self._folder / name
        temporary.mkdir()
        visible = [Path("/usr"), Path("/etc"), Path(sys.base_prefix), Path(sys.prefix)]
        visible += [*self._packages.folders, *(_PROJECT / package for package in _CODE)]
        sandbox = ["bwrap", "--die-with-parent", "--unshare-pid", "--clearenv"]
        sandbox += ["--proc", "/proc", "--dev", "/dev"]
        for path in ("/bin", "/lib", "/lib64"):  # links into /usr
            sandbox += ["--symlink", str(Path(path).readlink()), path]
        sandbox += ["--bind", str(temporary), "/tmp"]
        for folder in visible:
            sandbox += ["--ro-bind", str(folder), str(folder)]
        sandbox += ["--bind", str(self._shared), str(self._shared), "--chdir", "/tmp"]
        # The worker pool starts "python". The kernels that OpenBLAS chooses decide the last digit of a mean.
        path = f"{sysconfig.get_path('scripts')}:/usr/bin:/bin"
        environment = {key: value for key, value in os.environ.items() if key.startswith("OPENBLAS_")}
        environment |= {"PATH": path, "HOME": "/tmp", "PYTHONUNBUFFERED": "1"}
        for variable, value in environment.items():
            sandbox += ["--setenv", variable, value]
        log = self._folder / f"{name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*inside, *sandbox, *command], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )
        pod = Pod(name, address, process, log)
        self._pods.append(pod)
        return pod

    @staticmethod
    def _can_connect(address: str) -> bool:
        host, _, port = address.partition(":")
        with socket.socket() as connection:
            connection.settimeout(1)
            return connection.connect_ex((host, int(port))) == 0


def _wait(is_done: Callable[[], bool], pod: Pod) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not is_done():
        if pod.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{pod.name} has not started: {pod.log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.2)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def main() -> None:
    """Runs a cluster until ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, metavar="DIR", help="holds the output root and the images")
    parser.add_argument("--task-managers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=1, help="of each TaskManager")
    parser.add_argument("--network-memory", default="512m", help="of each TaskManager")
    parser.add_argument("--host-network", action="store_true", help="for workers in the submitting process")
    options = vars(parser.parse_args())
    options["shared"].mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with FlinkCluster(load_packages(), options.pop("shared"), **options) as cluster:
        for name in ("master", "job_endpoint", "worker_pool"):
            print(f"beam.flink.{name}={getattr(cluster, name)}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
