"""What must hold of the file when all is over, whatever was killed when."""

import sqlite3
from collections import Counter
from contextlib import closing
from typing import Any

import msgspec

from triggerflow.durable.format.reader import ExecutionReader
from triggerflow.extension import flow_runtime_of
from triggerflow.run.program import Program
from triggerflow.stores.protocol import ExecutionRow, Store

from .harness import World
from .place import is_database, open_store
from .worker import digest
from .workload import Expected, child_flow, work_flow

Record = dict[str, Any]


async def verify(world: World) -> dict[str, int]:
    """Add what is wrong to `world.wrong`; counts of what was looked at."""
    if not is_database(world.place):
        with closing(sqlite3.connect(world.place)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
            if found != [("ok",)]:
                world.wrong.append(f"the file is damaged: {found}")
    async with open_store(world.place) as store:
        check = _Check(world, store)
        for id in world.values:
            await check.execution(id)
        return check.counts


class _Check:
    def __init__(self, world: World, store: Store) -> None:
        self.world, self.store = world, store
        self.counts = {"records": 0, "items": 0, "recoveries": 0, "sub-flows": 0}
        self.program: Program = flow_runtime_of(work_flow(world.rounds)).program()
        self.child: Program = flow_runtime_of(child_flow()).program()

    def _wrong(self, id: str, what: str) -> None:
        self.world.wrong.append(f"{id}: {what}")

    def _same(self, id: str, what: str, found: Any, expected: Any) -> None:
        if found != expected:
            self._wrong(id, f"{what}: found {found!r:.300}, expected {expected!r:.300}")

    async def execution(self, id: str) -> None:
        """One execution with its sub-flows."""
        row = await self.store.find(id)
        if row is None:
            self._wrong(id, "not in the store")
            return
        records = await self._records(row)
        failures = sum(record["record"] == "failed" for record in records)
        expected = Expected(self.world.values[id], self.world.rounds, failures)
        loaded = await ExecutionReader(self.program, self.store).restore(row, row.records)
        state = loaded.machine.state
        self._same(id, "status", row.status, "completed")
        self._same(id, "result", state.result, expected.result)
        self._same(id, "parts", sorted(state.data["parts"]), expected.parts)
        self._effects(id, records, expected)
        self._promises(id, records, expected)
        await self._states(row)
        await self._items(row)
        children = await self.store.executions(parent=id, limit=1000)
        self._same(id, "sub-flows", len(children), expected.children)
        for child in children:
            self.counts["sub-flows"] += 1
            self._same(child.id, "status", child.status, "completed")
            self._runs(child.id, await self._records(child))
            await ExecutionReader(self.child, self.store).restore(child, child.records)

    async def _records(self, row: ExecutionRow) -> list[Record]:
        found: list[Record] = []
        while rows := await self.store.records(row.id, first=len(found)):
            self._same(row.id, "record numbers", [number for number, _ in rows],
                       list(range(len(found), len(found) + len(rows))))  # fmt: skip
            found += [msgspec.json.decode(data) for _, data in rows]
        self._same(row.id, "how many records", row.records, len(found))
        self.counts["records"] += len(found)
        self.counts["recoveries"] += sum(record["record"] == "recovered" for record in found)
        return found

    def _effects(self, id: str, records: list[Record], expected: Expected) -> None:
        """Nothing that a chunk did was recorded twice or is missing."""
        inside = [record for record in records if record.get("run") is not None]
        emitted = Counter(record["name"] for record in inside if record["record"] == "emitted")
        self._same(id, "signals emitted", emitted, +expected.emitted)
        notes = [record["value"] for record in records if record["record"] == "emitted" and record.get("run") is None]
        changed = Counter(record["key"] for record in records if record["record"] == "state")
        self._same(id, "changes of state", changed, expected.changed + Counter(notes=len(notes)))
        items = [record["item"] for record in records if record["record"] == "stream"]
        self._same(id, "stream items", Counter(next(iter(item)) for item in items),
                   expected.items + Counter(note=len(notes)))  # fmt: skip
        sent = self.world.notes_sent
        for note, count in Counter(notes).items():
            if count > sent.get((id, note), 0):
                self._wrong(id, f"{note!r} was sent {sent.get((id, note), 0)} times and recorded {count} times")
        # The same request may come twice, and is one answer: it has one item in the stream.
        answers = {(record["interrupt"], record["request"]) for record in records if record["record"] == "resumed"}
        self._same(id, "answers", len(answers), expected.answers)
        self._runs(id, records)

    def _runs(self, id: str, records: list[Record]) -> None:
        ended = Counter(
            record["run"] for record in records
            if record["record"] == "completed" or (record["record"] == "paused" and not record.get("holds"))
        )  # fmt: skip
        self._same(id, "runs that ended twice", [run for run, count in ended.items() if count > 1], [])

    def _promises(self, id: str, records: list[Record], expected: Expected) -> None:
        """Whatever was acknowledged is there."""
        promised = self.world.acknowledged
        if id in promised.starts:
            started = [record["value"] for record in records if record["record"] == "started"]
            self._same(id, "starts", started, [self.world.values[id]])
        answers = {record["interrupt"]: record["value"] for record in records if record["record"] == "resumed"}
        for (other, interrupt), value in promised.answers.items():
            if other == id:
                self._same(id, f"the acknowledged answer to {interrupt}", answers.get(interrupt), value)
        notes = {record["value"] for record in records if record["record"] == "emitted" and record.get("run") is None}
        for other, note in promised.notes:
            if other == id and note not in notes:
                self._wrong(id, f"the acknowledged {note!r} is lost")
        if id in promised.results:
            self._same(id, "acknowledged result", promised.results[id], expected.result)

    async def _states(self, row: ExecutionRow) -> None:
        """What the living process held in memory is what its records tell."""
        for id, count, told in self.world.acknowledged.states:
            if id == row.id:
                replayed = await ExecutionReader(self.program, self.store).restore(row, count)
                self._same(id, f"state after {count} records", digest(replayed, self.program.types), told)

    async def _items(self, row: ExecutionRow) -> None:
        """Stream items are numbered 1, 2, 3 ..., and readers got each of them once, as it is."""
        found: list[tuple[int, bytes]] = []
        while rows := await self.store.items(row.id, after=len(found)):
            found += rows
        self._same(row.id, "item numbers", [number for number, _ in found], list(range(1, row.items + 1)))
        data = [data for _, data in found]
        watched = self.world.watched_items.get(row.id, [])
        self._same(row.id, "items seen in the store between kills", watched, data[: len(watched)])
        if row.id in self.world.acknowledged.items:
            got = self.world.acknowledged.items[row.id]
            self._same(row.id, "items that a reader got", got, [msgspec.json.decode(one)["item"] for one in data])
        self.counts["items"] += len(found)
