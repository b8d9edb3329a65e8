"""Processes that serve and work, and clients of them that come back."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

from triggerflow.wire import Event, EventDecoder

ROOT = Path(__file__).resolve().parents[2]
#: Seconds after which a client gives up.
PATIENCE = 120.0
#: What a client sees of a server that is gone, or goes.
GONE = (OSError, http.client.HTTPException)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Process:
    """One process of the service. Leave `port` out for one that works and serves nothing."""

    program = "tests.server.program"

    def __init__(self, place: str, port: int | None = None, **options: Any) -> None:
        self.port = port
        self.said = ""
        self._words = [place, "-" if port is None else str(port), json.dumps(options)]
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", self.program, *self._words]
        self._ended = False
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(self, *exit: object) -> None:
        self.stop(signal.SIGKILL)

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 60
        while self.port is not None:
            try:
                if request(self.port, "GET", "/ready")[0] == 200:
                    break
            except GONE:
                assert self.process.poll() is None, self.stop(signal.SIGKILL)
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def stop(self, how: signal.Signals) -> int:
        """End it. What it has written to its standard error is in `said` then."""
        if self._ended:
            return self.process.returncode
        if self.process.poll() is None:
            os.kill(self.process.pid, how)
        self._ended = True
        self.said += self.process.communicate(timeout=60)[1].decode()
        return self.process.returncode


def request(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Ask a server; the status and the body of its answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        data = None if body is None else json.dumps(body)
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(method, path, data, {"Content-Type": "application/json", **given})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@contextmanager
def events(port: int, path: str, last: str = "") -> Iterator[Iterator[Event]]:
    """The events of a stream, until it ends or breaks."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise http.client.HTTPException(f"{path}: {answer.status} {answer.read()!r}")
        decoder = EventDecoder()
        yield (event for piece in iter(lambda: answer.read1(65536), b"") for event in decoder.feed(piece))


class Comer:
    """A client that asks one server after the other, and never gives up before its patience ends."""

    def __init__(self, ports: Iterator[int]) -> None:
        self._ports = ports
        self._until = time.monotonic() + PATIENCE
        #: how often a stream was cut
        self.cuts = 0

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        while True:
            try:
                status, answer = request(next(self._ports), method, path, body, **headers)
            except GONE as gone:
                self._wait(gone)
                continue
            if status < 500:
                return status, answer
            self._wait(AssertionError(f"{method} {path}: {status} {answer}"))

    def read(self, path: str, seen: list[tuple[int, Any]], is_last: Callable[[Any], bool]) -> None:
        """Read numbered events into `seen`, from any server, up to one."""
        while True:
            try:
                with events(next(self._ports), path, str(seen[-1][0]) if seen else "") as stream:
                    for event in stream:
                        if event.event in ("frame", "item"):
                            seen.append((int(event.id), json.loads(event.data)))
                            if is_last(seen[-1][1]):
                                return
            except GONE as gone:
                self._wait(gone)
            else:
                self._wait(AssertionError(f"{path} has ended after {seen[-1:]}"))
            self.cuts += 1

    def _wait(self, why: BaseException) -> None:
        if time.monotonic() > self._until:
            raise why
        time.sleep(0.1)
