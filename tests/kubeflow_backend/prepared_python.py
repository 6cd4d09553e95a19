"""A Python that has imported what steps need, and forks for each command: the program behind `Prepared`.

`python -P prepared_python.py SOCKET MODULE…`, where SOCKET is the number of a Unix socket that it inherits.
Over it comes a socket for each command, on which the command is one line of JSON, and the answers are the
process id and the exit status, a line each. It ends when nobody holds the other end any more.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import random
import runpy
import signal
import socket
import sys
import tempfile
import traceback
from typing import Any, NoReturn


def main() -> None:
    """Imports the modules, then serves until the other end is gone."""
    set_by_imports = _import(sys.argv[2:])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    control = socket.socket(fileno=int(sys.argv[1]))
    while True:
        _, sockets, _, _ = socket.recv_fds(control, 1, 1)
        if not sockets:
            return
        with socket.socket(fileno=sockets[0]) as connection:
            if os.fork() == 0:
                control.close()
                _run_and_wait(connection, set_by_imports)


def _import(modules: list[str]) -> dict[str, str]:
    """Imports modules, leaves logging as it was, and returns what they have set in the environment."""
    around = dict(os.environ)
    for name in modules:
        importlib.import_module(name)
    # Of TFX's imports one logs, which sets logging up, and a command's own `basicConfig` would do nothing.
    logging.getLogger().handlers.clear()
    return {name: value for name, value in os.environ.items() if around.get(name) != value}


def _run_and_wait(connection: socket.socket, set_by_imports: dict[str, str]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection.makefile("rw", encoding="utf-8") as lines:
        command = json.loads(lines.readline())
        process = os.fork()
        if process == 0:
            os.close(connection.fileno())
            _become(command, set_by_imports)
        print(process, file=lines, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), file=lines, flush=True)
    os._exit(0)


def _become(command: dict[str, Any], set_by_imports: dict[str, str]) -> NoReturn:
    """Runs a module as `python -m` does, in what would be its own process."""
    log = os.open(command["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(set_by_imports | command["environment"])
    module, *arguments = command["module"]
    sys.argv[1:] = arguments
    sys.path[:0] = [command["cwd"], *command["environment"]["PYTHONPATH"].split(os.pathsep)]
    tempfile.tempdir = None
    random.seed()
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
