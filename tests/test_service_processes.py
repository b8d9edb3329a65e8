"""`examples/service` with several processes on one file: any server serves any client, any worker runs anything, and
each of them is killed with `kill -9`. Runs where FastAPI and uvicorn are installed."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

import pytest

from tests.test_service import APP, events_of, request

#: Seconds after which a client gives up.
PATIENCE = 240.0


class Process:
    """One process of the service."""

    def __init__(self, *words: object) -> None:
        self._words = [str(word) for word in words]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, str(APP), *self._words])

    def stop(self, how: signal.Signals) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, how)
        self._process.wait(timeout=60)


class Cluster:
    """Two servers and two workers on one file. Clients ask the servers by turns."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ports = [free_port(), free_port()]

    def __enter__(self) -> Self:
        self._servers = [Process(self._file, port, "serve") for port in self._ports]
        self._workers = [Process(self._file, "work") for _ in range(2)]
        return self

    def __exit__(self, *exit: object) -> None:
        for process in (*self._servers, *self._workers):
            process.stop(signal.SIGKILL)

    @property
    def processes(self) -> list[Process]:
        return [process for pair in zip(self._servers, self._workers, strict=True) for process in pair]

    def ports(self, first: int) -> "itertools.cycle[int]":
        return itertools.cycle(self._ports[first % 2 :] + self._ports[: first % 2])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Client:
    """Starts a brief, reads its events, approves it, and comes back whenever its server has gone."""

    def __init__(self, number: int, cluster: Cluster, words: int) -> None:
        self.id = f"brief-{number}"
        self.topic = " ".join(f"word{i}" for i in range(words))
        self.seen: list[tuple[int, Any]] = []
        self._ports = cluster.ports(number)
        self._until = time.monotonic() + PATIENCE

    def run(self) -> None:
        assert self.call("POST", "/briefs", {"topic": self.topic, "id": self.id})[0] == 202
        self._read(lambda item: item.get("type") == "interrupt" and item["action"] == "pause")
        given = {"approved": True, "request_id": f"approval of {self.id}"}
        assert self.call("POST", f"/briefs/{self.id}/answer", given)[0] == 200
        assert self.call("POST", f"/briefs/{self.id}/answer", given)[0] == 200
        assert self.call("POST", f"/briefs/{self.id}/answer", {"approved": False})[0] == 409
        self._read(lambda item: "outcome" in item)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask one server after the other until one answers. What is asked for twice happens once."""
        while True:
            try:
                status, answer = request(next(self._ports), method, path, body)
            except (OSError, HTTPException) as gone:
                self._wait(gone)
                continue
            if status < 500:
                return status, answer
            self._wait(AssertionError(f"{method} {path}: {status} {answer}"))

    def _read(self, is_last: Callable[[Any], bool]) -> None:
        """Read events, from any server, up to one."""
        while True:
            try:
                after = self.seen[-1][0] if self.seen else 0
                with closing(events_of(next(self._ports), self.id, after)) as events:
                    for number, item in events:
                        self.seen.append((number, item))
                        if is_last(item):
                            return
            except (OSError, HTTPException) as gone:
                self._wait(gone)
            else:
                self._wait(AssertionError(f"{self.id}: the events have ended after {self.seen[-1:]}"))

    def _wait(self, why: BaseException) -> None:
        if time.monotonic() > self._until:
            raise why
        time.sleep(0.1)


@pytest.mark.real_time
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("clients", "words"), [pytest.param(6, 60, id="short"), pytest.param(50, 100, id="long", marks=pytest.mark.soak)]
)
def test_clients_of_four_processes_notice_no_kill(tmp_path: Path, clients: int, words: int) -> None:
    """guide/service: every client sees each number once, and every approval counts once, whichever process dies."""
    with Cluster(tmp_path / "runs.db") as cluster, ThreadPoolExecutor(clients) as threads:
        everybody = [Client(number, cluster, words) for number in range(clients)]
        done = threading.Event()
        running = [threads.submit(client.run) for client in everybody]
        killed: list[Process] = []
        killing = threading.Thread(target=_kill_each, args=(cluster, everybody, done, killed))
        killing.start()
        try:
            for client in running:
                client.result()
        finally:
            done.set()
            killing.join()
        assert killed == cluster.processes
        for client in everybody:
            numbers = [number for number, _ in client.seen]
            assert numbers == list(range(1, len(numbers) + 1)), f"{client.id}: {numbers}"
            told = [item["delta"] for _, item in client.seen if "delta" in item]
            assert told == f"A brief about {client.topic} .".split()
            assert [item for _, item in client.seen if "outcome" in item] == [{"outcome": "published"}]
            status, brief = client.call("GET", f"/briefs/{client.id}")
            assert (status, brief["status"]) == (200, "completed")
        status, published = everybody[0].call("GET", "/published")
        assert sorted(published) == sorted(client.id for client in everybody)


def _kill_each(cluster: Cluster, clients: list[Client], done: threading.Event, killed: list[Process]) -> None:
    """Kill each process in turn while the clients are at work: one more each time that a fifth of all is read."""
    total = sum(len(client.topic.split()) + 7 for client in clients)
    for number, process in enumerate(cluster.processes, 1):
        while sum(len(client.seen) for client in clients) < total * number / 5 and not done.wait(0.02):
            pass
        if done.is_set():
            return
        process.stop(signal.SIGKILL)
        killed.append(process)
        done.wait(0.5)
        process.start()
