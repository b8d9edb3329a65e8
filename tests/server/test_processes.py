"""Several servers and workers on one store, each killed in turn while clients start, watch and answer."""

import itertools
import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import shared_cluster
from tests.server.processes import Comer, Process, free_port

WORDS = 40


class Client(Comer):
    """Starts a report, reads its items and frames, and answers its question twice."""

    def __init__(self, number: int, ports: Iterator[int]) -> None:
        super().__init__(ports)
        self.key = f"client-{number}"
        self.topic = " ".join(f"{number}-{word}" for word in range(WORDS))
        self.items: list[tuple[int, Any]] = []
        self.frames: list[tuple[int, Any]] = []

    @property
    def seen(self) -> int:
        return len(self.items) + len(self.frames)

    def run(self) -> None:
        for _ in range(2):  # a second start with the same key is the same one
            status, info = self.call(
                "POST", "/api/flows/report/executions", {"value": self.topic}, idempotency_key=self.key
            )
            assert status == 201, info
        self.id = info["id"]
        path = f"/api/executions/{self.id}"
        self.read(f"{path}/stream", self.items, lambda it: it["item"].get("action") == "pause")
        for key, status in [("a", 200), ("a", 200), ("b", 409)]:
            key = f"{self.key}-{key}"
            got, answer = self.call("POST", f"{path}/interrupts/approve", {"value": True}, idempotency_key=key)
            assert got == status, answer
        self.read(f"{path}/frames", self.frames, lambda it: it["status"] == "completed")
        self.read(f"{path}/stream", self.items, lambda it: it["item"].get("action") == "resume")


def kill_each(everybody: list[Client], processes: list[Process], done: threading.Event, killed: list[Process]) -> None:
    """Kill each process in turn while the clients are at work."""
    total = len(everybody) * (2 * WORDS + 20)
    for number, process in enumerate(processes, 1):
        while sum(client.seen for client in everybody) < total * number / (len(processes) + 1):
            if done.wait(0.02):
                return
        process.stop(signal.SIGKILL)
        killed.append(process)
        done.wait(0.3)
        process.start()


@pytest.mark.real_time
@pytest.mark.timeout(500)
@pytest.mark.parametrize("clients", [pytest.param(5, id="short"), pytest.param(50, id="long", marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_clients_of_three_servers_and_two_workers_notice_no_kill(tmp_path: Path, kind: str, clients: int) -> None:
    """Every client sees each number once, and every answer counts once, whichever process dies."""
    place = str(tmp_path / "runs.db")
    if kind == "postgres":
        cluster = shared_cluster()
        place = json.dumps([cluster.conninfo, cluster.schema()])
    with ExitStack() as stack, ThreadPoolExecutor(clients) as threads:
        servers = [stack.enter_context(Process(place, free_port())) for _ in range(3)]
        workers = [stack.enter_context(Process(place)) for _ in range(2)]
        ports = [server.port or 0 for server in servers]
        everybody = [
            Client(number, itertools.cycle(ports[number % 3 :] + ports[: number % 3])) for number in range(clients)
        ]
        done = threading.Event()
        killed: list[Process] = []
        running = [threads.submit(client.run) for client in everybody]
        order = [*itertools.chain(*zip(servers, workers, strict=False)), servers[2]]
        killing = threading.Thread(target=kill_each, args=(everybody, order, done, killed))
        killing.start()
        try:
            for client in running:
                client.result()
        finally:
            done.set()
            killing.join()
        assert killed == order
        for client in everybody:
            for seen in (client.items, client.frames):
                numbers = [number for number, _ in seen]
                assert numbers == list(range(1, len(numbers) + 1)), f"{client.key}: {numbers}"
            told = [it["item"]["delta"] for _, it in client.items if "delta" in it["item"]]
            assert told == client.topic.split()
            assert client.frames[-1][1]["result"] == f"{client.topic}: True"
            assert sum(frame["kind"] == "resumed" for _, frame in client.frames) == 1
        assert everybody[0].call("GET", "/api/counts")[1] == {"report": {"completed": clients}}
