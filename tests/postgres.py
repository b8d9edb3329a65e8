"""A PostgreSQL server of the tests: a cluster in a temporary folder, on loopback and a socket, that ends with them."""

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

#: The newest server that is installed. Its programs are not on the PATH.
PROGRAMS = max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[-2]), default=None)
USER = "tests"


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def unprivileged() -> list[str]:
    """What a command begins with: PostgreSQL and PgBouncer refuse to run as root."""
    if os.getuid():
        return []
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


class Cluster:
    """A server of its own. `settings` are options of the server, such as "fsync=off"."""

    def __init__(self, *settings: str, host: str = "127.0.0.1") -> None:
        assert PROGRAMS is not None
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.port = free_port()
        self.host = host
        self._schemas = count(1)
        self._settings = (
            f"listen_addresses={host}",
            f"port={self.port}",
            f"unix_socket_directories={self.folder}",
            "autovacuum_naptime=5s",
            *settings,
        )
        if not os.getuid():
            shutil.chown(self.folder, "nobody", "nogroup")
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
        with contextlib.ExitStack() as stack:
            stack.callback(self.stop)
            self.start()
            stack.pop_all()

    @property
    def _data(self) -> str:
        return f"{self.folder}/data"

    @property
    def conninfo(self) -> str:
        """Leads to the server, over TCP."""
        return f"host={self.host} port={self.port} user={USER} dbname=postgres"

    def conninfo_at(self, port: int, host: str = "127.0.0.1") -> str:
        """Leads to the server through something that listens there."""
        return f"host={host} port={port} user={USER} dbname=postgres"

    def schema(self) -> str:
        """The name of a schema that is not used yet."""
        return f"s{next(self._schemas)}_{os.getpid()}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = " ".join(f"-c {setting}" for setting in self._settings)
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", f"{self.folder}/log", "-o", options)

    def restart(self, mode: str = "immediate") -> None:
        """Stop the server and start it again. "immediate" is like a crash: it recovers from its log."""
        self.halt(mode)
        self.start()

    def halt(self, mode: str = "immediate") -> None:
        """Stop the server."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def stop(self) -> None:
        """Stop the server for good, and delete its data."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What the server has logged."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*unprivileged(), f"{PROGRAMS}/{program}", *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env={**os.environ, "LC_ALL": "C"},
            timeout=60,
        )


class Bouncer:
    """PgBouncer before a cluster, in the mode "session" or "transaction"."""

    def __init__(self, cluster: Cluster, mode: str) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "auth_type": "any",
            "pool_mode": mode,
            "unix_socket_dir": "",
            "default_pool_size": 8,
            "logfile": f"{self.folder}/log",
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        place = f"* = host={cluster.host} port={cluster.port} user={USER}"
        file = self.folder / "pgbouncer.ini"
        file.write_text("\n".join(["[databases]", place, "[pgbouncer]", *lines, ""]))
        if not os.getuid():
            for path in (self.folder, file):
                shutil.chown(path, "nobody", "nogroup")
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        self._process = subprocess.Popen(
            [*unprivileged(), str(program), "-q", str(file)], cwd="/", stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                break
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


_shared: list[Cluster] = []


def shared_cluster() -> Cluster:
    """The cluster of this test process. It does not wait for the disk: nobody cuts the power of the machine."""
    if not _shared:
        _shared.append(Cluster("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB"))
    return _shared[0]


def postgres_store(schema: str | None = None, **options: Any) -> Any:
    """A `PostgresStore` on the shared cluster, by default in a new schema."""
    from triggerflow.stores import PostgresStore

    cluster = shared_cluster()
    return PostgresStore(cluster.conninfo, schema=schema or cluster.schema(), **options)


def pytest_unconfigure(config: pytest.Config) -> None:
    for cluster in _shared:
        cluster.stop()
    _shared.clear()


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The shared cluster."""
    return shared_cluster()


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A cluster that a test may stop."""
    made = Cluster("fsync=off")
    try:
        yield made
    finally:
        made.stop()


needs_postgres = pytest.mark.needs("postgres")


def stores_of(*kinds: str) -> Sequence[Any]:
    """Parameters for tests that run on several stores: "postgres" is skipped where it is not installed."""
    return [pytest.param(kind, marks=needs_postgres) if kind == "postgres" else kind for kind in kinds]
