"""A PostgreSQL server of the tests: a cluster in a temporary folder, on loopback and a socket, that ends with them."""

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from triggerflow.run.environment import machine_time
from triggerflow.stores import MemoryData, MemoryStore, SQLiteStore

#: The newest server that is installed. Its programs are not on the PATH.
PROGRAMS = max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[-2]), default=None)
USER = "tests"

#: Deletes all rows but those that belong to the tables.
EMPTY = """DO $$
    DECLARE name text;
    BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'
            AND tablename NOT IN ('migrations', 'feed') LOOP
            EXECUTE 'DELETE FROM {schema}.' || name;
        END LOOP;
    END $$"""


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def unprivileged() -> list[str]:
    """What a command begins with: PostgreSQL and PgBouncer refuse to run as root."""
    return [] if os.getuid() else ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


#: Runs a command, and ends it when this process ends, however that ends: its end of the pipe is closed then.
GUARD = """
import os, signal, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
def watch():
    os.read(0, 1)
    child.send_signal(signal.SIGQUIT)
threading.Thread(target=watch, daemon=True).start()
os._exit(child.wait())
"""


def guarded(*command: str, **options: Any) -> "subprocess.Popen[bytes]":
    """Start a command that ends with this process."""
    words = [sys.executable, "-c", GUARD, *unprivileged(), *command]
    return subprocess.Popen(words, stdin=subprocess.PIPE, cwd="/", start_new_session=True, **options)


class Cluster:
    """A server of its own. `settings` are options of the server, such as "fsync=off"."""

    def __init__(self, *settings: str, host: str = "127.0.0.1") -> None:
        assert PROGRAMS is not None
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.port = free_port()
        self.host = host
        self._schemas = count(1)
        #: schemas with the tables of a store: those of the test that runs, and empty ones
        self._in_use: list[str] = []
        self._free: list[str] = []
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
        if host != "127.0.0.1":
            with open(f"{self._data}/pg_hba.conf", "a", encoding="utf-8") as file:
                file.write("host all all 10.0.0.0/8 trust\n")
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

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
        """The name of a schema that nobody else uses, and in which nothing is stored."""
        if not self._free:
            self._free.append(f"s{next(self._schemas)}_{os.getpid()}")
        self._in_use.append(self._free.pop())
        return self._in_use[-1]

    def take_back(self) -> None:
        """Empty the schemas that were given out: the next test uses them again."""
        if self._in_use:
            with psycopg.connect(self.conninfo, autocommit=True) as connection:
                for schema in self._in_use:
                    connection.execute(EMPTY.format(schema=schema).encode())
            self._free += self._in_use
            self._in_use.clear()

    def start(self) -> None:
        """Start the server, and wait until it answers. It ends with this process, however that ends."""
        options = [word for setting in self._settings for word in ("-c", setting)]
        with open(f"{self.folder}/log", "ab") as log:
            self._process = guarded(f"{PROGRAMS}/postgres", "-D", self._data, *options, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.conninfo, connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server did not start: {self.log()[-2000:]}") from None
                time.sleep(0.05)

    def restart(self, how: int = signal.SIGQUIT) -> None:
        """Stop the server and start it again. SIGQUIT is like a crash: it recovers from its log."""
        self.halt(how)
        self.start()

    def halt(self, how: int = signal.SIGQUIT) -> None:
        """Stop the server."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(Path(f"{self._data}/postmaster.pid").read_text().split()[0]), how)
        self._process.wait(60)
        assert self._process.stdin is not None
        self._process.stdin.close()

    def stop(self) -> None:
        """Stop the server for good, and delete its data."""
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
        self._process = guarded(str(program), "-q", str(file))
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                break
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running_cluster(*settings: str, host: str = "127.0.0.1") -> Iterator[Cluster]:
    """A cluster of its own, until the end of this."""
    cluster = Cluster(*settings, host=host)
    try:
        yield cluster
    finally:
        cluster.stop()


_shared: list[Cluster] = []


def shared_cluster() -> Cluster:
    """The cluster of this test process. It does not wait for the disk: nobody cuts the power of the machine."""
    if not _shared:
        _shared.append(Cluster("fsync=off", "full_page_writes=off", "max_connections=600", "shared_buffers=64MB"))
    return _shared[0]


def postgres_store(schema: str | None = None, **options: Any) -> Any:
    """A `PostgresStore` on the shared cluster, by default in a new schema."""
    from triggerflow.stores import PostgresStore

    cluster = shared_cluster()
    return PostgresStore(cluster.conninfo, schema=schema or cluster.schema(), **options)


def stores_over(kind: str, folder: Path) -> Any:
    """A function that opens a store over the same data with each call, as another process would. `kind` is "memory",
    "sqlite" or "postgres". The clock of all of them is the virtual time of the tests."""
    if kind == "memory":
        data = MemoryData()
        return lambda: MemoryStore(data)
    if kind == "postgres":
        schema = shared_cluster().schema()
        return lambda: postgres_store(schema, clock=machine_time)
    return lambda: SQLiteStore(folder / "runs.db", synchronous="NORMAL")


def pytest_unconfigure(config: pytest.Config) -> None:
    for cluster in _shared:
        cluster.stop()
    _shared.clear()


#: Of the tests that run on several stores, `make test` runs one in so many on PostgreSQL, and those with the mark
#: `every_store`. `make soak` runs all.
SHARE = 20


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_store: `make test` runs it on PostgreSQL too, and not only `make soak`")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        parameters = getattr(item, "callspec", None)
        if parameters and any(value == "postgres" for value in parameters.params.values() if isinstance(value, str)):
            item.add_marker(needs_postgres)
            always = "on_postgres" in item.name or item.get_closest_marker("every_store")
            if zlib.crc32(item.nodeid.encode()) % SHARE and not always:
                item.add_marker(pytest.mark.soak)


@pytest.fixture(autouse=True)
def schemas_come_back() -> Iterator[None]:
    """After each test its schemas are free for the next one."""
    yield
    for cluster in _shared:
        cluster.take_back()


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The shared cluster."""
    return shared_cluster()


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A cluster that a test may stop."""
    with running_cluster("fsync=off") as made:
        yield made


needs_postgres = pytest.mark.needs("postgres")
