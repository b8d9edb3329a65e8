"""`examples/service`: a real process and a real HTTP client, with a `kill -9` in between. Runs where FastAPI and
uvicorn are installed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, suppress
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from typing import Any, Self

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

APP = Path(__file__).parent.parent / "examples" / "service" / "app.py"


class Service:
    """The example in a process of its own."""

    def __init__(self, file: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.file = file

    def __enter__(self) -> Self:
        self.process = subprocess.Popen([sys.executable, APP, self.file, str(self.port)])
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return self
            except OSError:
                assert self.process.poll() is None, "the service has ended before it answered"
                time.sleep(0.05)

    def __exit__(self, *exit: object) -> None:
        self.stop(signal.SIGTERM)

    def stop(self, how: signal.Signals) -> int:
        if self.process.poll() is None:
            os.kill(self.process.pid, how)
        return self.process.wait(timeout=30)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return request(self.port, method, path, body)

    def events(self, id: str, after: int = 0) -> Generator[tuple[int, Any], None, None]:
        """The events of an execution, with their numbers, until the stream ends or the process dies."""
        with suppress(OSError):
            yield from events_of(self.port, id, after)


def request(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Ask a server; the status and the body of its response."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def events_of(port: int, id: str, after: int = 0) -> Generator[tuple[int, Any], None, None]:
    """The events of an execution after a number, with their numbers."""
    number = 0
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", f"/briefs/{id}/events", headers={"Last-Event-ID": str(after)})
        with connection.getresponse() as answer:
            for raw in answer:
                key, _, value = raw.decode().rstrip("\n").partition(": ")
                if key == "id":
                    number = int(value)
                elif key == "data" and value != "{}":
                    yield number, json.loads(value)


WORDS = [{"delta": word} for word in ["A", "brief", "about", "solar", "sails", "."]]


@pytest.mark.timeout(120)
def test_each_event_comes_once_over_a_kill_and_the_answer_counts_once(tmp_path: Path) -> None:
    seen: list[tuple[int, Any]] = []
    with Service(tmp_path / "runs.db") as first:
        status, started = first.call("POST", "/briefs", {"topic": "solar sails"})
        assert status == 202
        id = started["id"]
        with closing(first.events(id)) as events:
            seen += islice(events, 3)
        first.stop(signal.SIGKILL)

    with Service(tmp_path / "runs.db") as second:
        with closing(second.events(id, after=seen[-1][0])) as events:
            for event in events:
                seen.append(event)
                if event[1].get("type") == "interrupt":
                    break
        assert [item for _, item in seen[:-1]] == WORDS
        status, brief = second.call("GET", f"/briefs/{id}")
        assert (status, brief["status"], list(brief["questions"])) == (200, "waiting", ["approve"])
        second.stop(signal.SIGKILL)

    with Service(tmp_path / "runs.db") as third:
        assert third.call("POST", f"/briefs/{id}/answer", {"approved": "certainly not"})[0] == 422
        given = {"approved": True, "request_id": "r-1"}
        assert third.call("POST", f"/briefs/{id}/answer", given)[0] == 200
        assert third.call("POST", f"/briefs/{id}/answer", given)[0] == 200
        assert third.call("POST", f"/briefs/{id}/answer", {"approved": False})[0] == 409
        seen += third.events(id, after=seen[-1][0])
        status, brief = third.call("GET", f"/briefs/{id}")
        assert brief["result"] == {"outcome": "published", "text": "A brief about solar sails ."}
        assert third.call("GET", "/briefs/unknown")[0] == 404

    numbers = [number for number, _ in seen]
    assert numbers == list(range(1, len(numbers) + 1))
    assert seen[-1][1] == {"outcome": "published"}
