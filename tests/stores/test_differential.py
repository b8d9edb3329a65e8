"""The stores agree: the same random calls of three owners give the same answers and the same refusals."""

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.postgres import Cluster, needs_postgres
from tests.soak import is_soak
from triggerflow._core.errors import StoreError
from triggerflow.stores import (
    Append,
    ExecutionRow,
    MemoryData,
    MemoryStore,
    NewRecord,
    PostgresStore,
    Reply,
    Request,
    SQLiteStore,
    Store,
    payload_digest,
)
from triggerflow.testing import ManualClock

LEASE = 30.0
NAMES = [f"x{number}" for number in range(8)]
STATUSES = ["created", "running", "running", "waiting", "waiting", "completed", "failed"]
IDS = [f"r{number}" for number in range(6)]
ASKED = ["q1", "q2", "q3"]
LABELS = [{}, {"tenant": "Alpha"}, {"tenant": "beta", "note": "Alpha 2"}]
ERRORS = ["ValueError: order_17 is alpha", "TimeoutError: 17 s", None]
PAYLOADS = {payload_digest(data): data for data in (b"one", b"two", b"three")}


class Script:
    """Draws calls. It follows what was acknowledged, so that most calls are legal, and some are not."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = ManualClock()

    def append(self, row: ExecutionRow | None, name: str, parents: list[str]) -> Append:
        rng = self.rng
        first, items = (row.records, row.items) if row else (0, 0)
        if rng.random() < 0.05:
            first += rng.choice([-1, 1])
        records: list[NewRecord] = []
        for _ in range(rng.randrange(4)):
            item = 0
            if rng.random() < 0.4:
                items += 1
                item = items
            records.append(NewRecord(rng.randbytes(3), item))
        status = rng.choice(STATUSES)
        create = None
        if row is None or rng.random() < 0.03:
            parent = rng.choice([None, None, None, *parents])
            create = ExecutionRow(
                id=name,
                flow=rng.choice("fg"),
                definition="d",
                created=rng.randrange(3),
                updated=0,
                parent=parent,
                labels=rng.choice(LABELS),
            )
        final = status in ("completed", "failed")
        reply = Reply(request=rng.choice(IDS), ok=rng.random() < 0.5, data=b"reply", at=self.clock())
        return Append(
            execution=name,
            first=first,
            records=records,
            payloads={digest: PAYLOADS[digest] for digest in rng.sample(list(PAYLOADS), rng.choice([0, 0, 1]))},
            status=status,  # type: ignore[arg-type]
            due=self.clock() + rng.choice([-1, 20]) if status == "waiting" else None,
            at=self.clock(),
            create=create,
            reopens=row is not None and row.status == "failed" and rng.random() < 0.5,
            releases=rng.random() < 0.1,
            replies=[reply] if rng.random() < 0.3 else [],
            taken=[rng.choice(IDS)] if rng.random() < 0.2 else [],
            questions={} if rng.random() < 0.7 else {rng.choice(ASKED): rng.choice([None, b"one", b"two"])},
            error=rng.choice(ERRORS) if final else None,
        )

    async def draw(self, model: Store) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        rng = self.rng
        name, some = rng.choice(NAMES), rng.sample(NAMES, 2)
        number = rng.randrange(12)
        kind = rng.choice(["append"] * 8 + list(CALLS))
        if kind == "append":
            appends: list[Append] = []
            for each in rng.sample(NAMES, rng.choice([1, 1, 3])):
                parents = [it for it in NAMES[: NAMES.index(each)] if await model.find(it)]
                appends.append(self.append(await model.find(each), each, parents))
            return kind, (appends,), {}
        return kind, *{
            "put_snapshot": ((name, number, "d2", b"state"), {}),
            "executions": (
                (),
                {
                    "flow": rng.choice([None, "f"]),
                    "status": rng.choice([None, None, ["waiting"], ["failed", "created", "running"], []]),
                    "since": rng.choice([None, 1]),
                    "until": rng.choice([None, 2]),
                    "parent": rng.choice([None, None, name]),
                    "labels": rng.choice([None, *LABELS]),
                    "text": rng.choice([None, None, "", "x", name, "ALPHA", "alpha 2", "order 17", "valueerr is", "1"]),
                    "after": rng.choice([None, name]),
                    "limit": number,
                },
            ),
            "counts": ((), {"since": rng.choice([None, 1]), "until": rng.choice([None, 2])}),
            "questions": (
                (),
                {
                    "flow": rng.choice([None, "f"]),
                    "execution": rng.choice([None, name]),
                    "after": rng.choice([None, *await model.questions()]),
                    "limit": number,
                },
            ),
            "post": ((Request(id=rng.choice(IDS), execution=name, kind="k", data=rng.randbytes(2), at=1.0),), {}),
            "requests": ((), {"limit": rng.randrange(1, 4), "without": set(rng.sample(IDS, 2))}),
            "withdraw": ((rng.choice(IDS),), {}),
            "claim": ((name,), {}),
            "claim_work": ((rng.choice(["f", "fg"]),), {"limit": 2, "without": some[: rng.randrange(3)]}),
            "next_due": (("fg",), {"without": some[: rng.randrange(3)]}),
            "release": ((some,), {}),
            "trim": ((name, number), {"payloads": rng.choice([None, [], list(PAYLOADS)[:1]])}),
            "delete": ((some,), {}),
        }[kind]


CALLS = ["executions", "counts", "questions", "post", "post", "post", "requests", "requests", "withdraw"]
CALLS += ["put_snapshot", "claim", "claim", "claim_work", "next_due", "release", "trim", "delete"]


async def answer(store: Store, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    try:
        return await getattr(store, kind)(*arguments, **options)
    except StoreError as error:
        return type(error).__name__


async def everything(store: Store) -> list[Any]:
    found: list[Any] = []
    for name in NAMES:
        found += [
            await store.find(name),
            await store.records(name),
            await store.items(name),
            await store.snapshot(name),
        ]
    found += [await store.requests(IDS), await store.questions(), await store.counts()]
    for digest in PAYLOADS:
        found.append(await answer(store, "payloads", ([digest],), {}))
    return found


def without_owner(value: Any, owners: dict[str, int]) -> Any:
    """Owners by their number, since they have other names in other stores."""
    if isinstance(value, list):
        return [without_owner(each, owners) for each in value]  # type: ignore[reportUnknownVariableType]
    if isinstance(value, ExecutionRow):
        fields = msgspec.structs.asdict(value)
        return {**fields, "owner": None if value.owner is None else owners[value.owner]}
    return value


@pytest.mark.seeds(4, 60)
async def test_both_stores_answer_alike(tmp_path: Path, seed: int) -> None:
    await compare(
        seed,
        200,
        lambda clock: SQLiteStore(tmp_path / "x.db", synchronous="NORMAL", lease=LEASE, clock=clock),
    )


@needs_postgres
@pytest.mark.real_time
@pytest.mark.seeds(1, 20)
async def test_postgres_answers_alike(cluster: Cluster, seed: int) -> None:
    schema = cluster.schema()
    await compare(
        seed,
        200 if is_soak() else 20,
        lambda clock: PostgresStore(cluster.conninfo, schema=schema, lease=LEASE, clock=clock),
    )


async def compare(seed: int, steps: int, make: Callable[[ManualClock], Store]) -> None:
    """Three owners in memory, and three of another store."""
    script, data = Script(seed), MemoryData()
    async with contextlib.AsyncExitStack() as stack:
        memory = [MemoryStore(data, lease=LEASE, clock=script.clock) for _ in range(3)]
        others = [make(script.clock) for _ in range(3)]
        for store in (*memory, *others):
            await stack.enter_async_context(store)
        names = {store.owner: number for stores in (memory, others) for number, store in enumerate(stores)}
        for step in range(steps):
            if script.rng.random() < 0.05:  # one is not heard of for its lease, the others are
                silent = script.rng.randrange(3)
                data.owners[memory[silent].owner] = script.clock()
                script.clock.turn(LEASE + 1)
                for number in {0, 1, 2} - {silent}:
                    await memory[number].put_definition("d", b"")
                    await others[number].put_definition("d", b"")
            who = script.rng.randrange(3)
            call = await script.draw(memory[who])
            expected = without_owner(await answer(memory[who], *call), names)
            assert without_owner(await answer(others[who], *call), names) == expected, (seed, step, call)
            if isinstance(expected, str) or call[0] == "requests":  # whether it was a sign of life is left open
                await memory[who].put_definition("d", b"")
                await others[who].put_definition("d", b"")
            expected = without_owner(await everything(memory[who]), names)
            assert without_owner(await everything(others[who]), names) == expected, (seed, step, call)
