"""What the SQLite store costs: records per second, CPU per commit, opening and memory with many waiting executions.

    python -m bench.store            # about 30 s
    python -m bench.store --quick    # about 10 s

Each append is awaited, as a driver does. "rounds": one append a round for all executions, which is what the durable
driver's group commit does; "each": every execution appends by itself, all at once. "raw" is a loop of `sqlite3` calls
without threads, checks or owners that commits as many records at a time into the simplest table. They take turns. The
disk decides the FULL rows: trust the ratios, and CPU time more than wall time.
"""

import argparse
import asyncio
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from triggerflow.stores import Append, ExecutionRow, NewRecord, SQLiteStore
from triggerflow.stores.sqlite.connection import Synchronous

DATA = os.urandom(240)
COUNTS = (1, 10, 100, 200, 1_000)
LEVELS: tuple[Synchronous, ...] = ("FULL", "NORMAL")
Figures = tuple[float, float]  # wall and CPU seconds


def created(name: str) -> Append:
    row = ExecutionRow(id=name, flow="flow", definition="d", created=1.0, updated=1.0)
    return Append(execution=name, first=0, records=[], status="running", at=1.0, create=row)


def added(name: str, number: int) -> Append:
    return Append(execution=name, first=number, records=[NewRecord(DATA)], status="running", at=1.0)


def timed(start: Figures) -> Figures:
    return time.perf_counter() - start[0], time.process_time() - start[1]


async def ours(path: Path, level: Synchronous, executions: int, rounds: int, in_rounds: bool) -> Figures:
    names = [f"execution-{number}" for number in range(executions)]
    async with SQLiteStore(path, synchronous=level) as store:
        await store.append([created(name) for name in names])

        async def alone(name: str) -> None:
            for number in range(rounds):
                await store.append([added(name, number)])

        start = time.perf_counter(), time.process_time()
        if in_rounds:
            for number in range(rounds):
                await store.append([added(name, number) for name in names])
        else:
            await asyncio.gather(*map(alone, names))
        return timed(start)


def raw(path: Path, level: Synchronous, executions: int, rounds: int, in_rounds: bool) -> Figures:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {level}")
    connection.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, execution INTEGER, number INTEGER, data BLOB)")
    start = time.perf_counter(), time.process_time()
    for number in range(rounds):
        rows = [(execution, number, DATA) for execution in range(executions)]
        for batch in [rows] if in_rounds else [[row] for row in rows]:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO records (execution, number, data) VALUES (?, ?, ?)", batch)
            connection.execute("COMMIT")
    figures = timed(start)
    connection.close()
    return figures


def in_new_file(run: Callable[[Path], Figures]) -> Figures:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        return run(Path(directory) / "bench.db")


def row(level: Synchronous, executions: int, in_rounds: bool, rounds: int, repeats: int) -> None:
    def run_ours(path: Path) -> Figures:
        return asyncio.run(ours(path, level, executions, rounds, in_rounds))

    def run_raw(path: Path) -> Figures:
        return raw(path, level, executions, rounds, in_rounds)

    figures = [(in_new_file(run_ours), in_new_file(run_raw)) for _ in range(repeats)]
    wall, cpu = [[statistics.median(pair[who][what] for pair in figures) for who in (0, 1)] for what in (0, 1)]
    records = executions * rounds
    commits = rounds if in_rounds else records
    print(
        f"{level:6} {'rounds' if in_rounds else 'each':6} {executions:10,} {records / wall[0]:12,.0f}"
        f" {records / wall[1]:12,.0f} {wall[0] / wall[1]:8.2f} {cpu[0] / commits * 1e3:14.3f} {cpu[0] / cpu[1]:8.2f}"
    )


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def fill(path: Path, executions: int) -> None:
    async with SQLiteStore(path, synchronous="NORMAL") as store:
        for start in range(0, executions, 1_000):
            appends = [created(f"execution-{number}") for number in range(start, start + 1_000)]
            for number, append in enumerate(appends, start):
                append.status, append.due, append.records = "waiting", 1e9 + number, [NewRecord(DATA)] * 5
            await store.append(appends)


async def waiting(path: Path) -> None:
    before = memory()
    start = time.perf_counter()
    async with SQLiteStore(path) as store:
        opened = time.perf_counter() - start
        empty = await timed_call(store.claim_work(["other"]))
        due = await timed_call(store.next_due(["flow"]))
        page = await timed_call(store.executions(status=["waiting"]))
        none = await timed_call(store.executions(status=["failed"]))
        print(f"open {opened * 1e3:.1f} ms, resident memory +{(memory() - before) / 1e6:.1f} MB", end=", ")
        work = await timed_call(store.claim_work(["flow"], limit=100))
        print(f"claim_work of 100 due {work:.1f} ms, of none {empty:.1f} ms, next_due {due:.1f} ms,", end=" ")
        print(f"executions(): a page {page:.1f} ms, a status that none has {none:.1f} ms")


async def timed_call(call: Coroutine[object, object, object]) -> float:
    start = time.perf_counter()
    await call
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        asyncio.run(waiting(options.open))
        return
    print(f"SQLite {sqlite3.sqlite_version}, records of {len(DATA)} bytes; wall in records/s, CPU in ms a commit")
    print("level  append executions  ours, rec/s   raw, rec/s   x wall CPU ms a commit    x CPU")
    repeats = 1 if options.quick else 3
    for in_rounds in (True, False):
        for level in LEVELS:
            for executions in COUNTS:
                rounds = 100 if in_rounds else max(1, 500 // executions)
                row(level, executions, in_rounds, rounds, repeats)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        path = Path(directory) / "bench.db"
        asyncio.run(fill(path, 100_000))
        print(f"100,000 waiting executions, 500,000 records, {path.stat().st_size / 1e6:.0f} MB: ", end="", flush=True)
        subprocess.run([sys.executable, "-m", "bench.store", "--open", str(path)], check=True)


if __name__ == "__main__":
    main()
