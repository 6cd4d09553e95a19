"""A Google Cloud Storage emulator, extended with conditional writes (`ifGenerationMatch`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound


@contextlib.contextmanager
def emulated(bucket: str) -> Iterator[str]:
    """Runs an emulator with one bucket in this process, and directs this process's clients to it.

    Yields:
        The address, for STORAGE_EMULATOR_HOST in other processes.
    """
    running = server.create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)
    [uploads] = [methods for _, methods in server.HANDLERS if methods.get("POST") is server.objects.insert]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(uploads, "POST", _insert_if_generation_matches)
        running.start()
        try:
            address = f"http://127.0.0.1:{_port(running)}"
            patch.setenv("STORAGE_EMULATOR_HOST", address)
            yield address
        finally:
            running.stop()


def _insert_if_generation_matches(request: Any, response: Any, storage: Any) -> None:
    wanted = request.query.get("ifGenerationMatch")
    if wanted:
        name = request.query.get("name", [None])[0] or request.data["meta"]["name"]
        try:
            generation = storage.get_file_obj(request.params["bucket_name"], name)["generation"]
        except NotFound:
            generation = "0"
        if generation != wanted[0]:
            response.status = HTTPStatus.PRECONDITION_FAILED
            response.json({"error": {"code": 412, "message": "conditionNotMet"}})
            return
    server.objects.insert(request, response, storage)


def _port(running: Any) -> int:
    while running._api._httpd is None:
        running._api.is_running.wait(0.01)
    return int(running._api._httpd.server_address[1])
