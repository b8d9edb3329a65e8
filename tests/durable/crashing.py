"""A process that dies: a store that takes so many records and no more, and a client who comes back to another process.

What had been on disk is what the next process finds; everything in memory is dropped. The client keeps what it was
told: the number of the last item of the stream, and nothing else.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from tests.support import turns
from triggerflow import TriggerFlow, TriggerFlowError
from triggerflow._core.snapshot import encode
from triggerflow.durable.executions.commit import session_of
from triggerflow.durable.format.reader import ExecutionReader
from triggerflow.errors import StoreUnavailable
from triggerflow.extension import runtime_of
from triggerflow.stores.memory import MemoryStore
from triggerflow.stores.protocol import FINAL_STATUSES, Append, Store
from triggerflow.testing.scenarios import Outside, Scenario

ID = "run"


class Died(TriggerFlowError):
    """The process is gone."""


class DyingStore:
    """A store whose process dies as soon as `records` records are on disk, before anybody is told.

    A commit of one execution is cut there: it could as well have been two. One of several executions (a sub-flow and
    its parent), or with replies, is on disk as a whole, which is what they rely on, or not at all; `unheard`: always as
    a whole. `pace` is how long a commit takes, in seconds: what happens meanwhile fills the next one. `survives`: the
    store is not available for this one commit, and the process goes on.
    """

    def __init__(
        self, store: Any, records: int | None = None, *, unheard: bool = False, pace: float = 0, survives: bool = False
    ) -> None:
        self.store = store
        self.left = records
        self.unheard = unheard
        self.pace = pace
        self.survives = survives
        self.dead = asyncio.Event()
        #: the tasks that wait for an answer
        self.unanswered = set[asyncio.Task[Any]]()

    @property
    def owner(self) -> str:
        return self.store.owner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **options: Any) -> Any:
            if self.dead.is_set():
                await self._never()
            return await getattr(self.store, name)(*args, **options)

        return call

    async def append(self, appends: Sequence[Append]) -> dict[str, int]:
        if self.pace:
            await asyncio.sleep(self.pace)
        if self.dead.is_set():
            await self._never()  # a dead process is told nothing
        count = sum(len(append.records) for append in appends)
        if self.left is None or count < self.left:
            self.left = None if self.left is None else self.left - count
            return await self.store.append(appends)
        if self.unheard or count == self.left:
            await self.store.append(appends)
        elif len(appends) == 1 and self.left and not appends[0].replies:
            await self.store.append([_cut(appends[0], self.left)])
        if self.survives:
            self.left = None
            raise StoreUnavailable("not now")
        self.dead.set()
        return await self._never()

    async def _never(self) -> Any:
        task = asyncio.current_task()
        assert task is not None
        self.unanswered.add(task)
        await asyncio.Event().wait()


def _cut(append: Append, count: int) -> Append:
    while count and _of_one(append.records[count - 1].data, append.records[count].data):
        count -= 1
    records = append.records[:count]
    changes = sum(b'"record":"flow_data"' in it.data and b'"run":null' not in it.data for it in records)
    return msgspec.structs.replace(
        append, records=records, status="running", due=None, heard=None, shared=append.shared[:changes]
    )


def _of_one(record: bytes, following: bytes) -> bool:
    """Whether these are two sides of one thing, which is always in one commit: a question, an answer or a retraction,
    and the stream item that tells of it."""
    told = b'"type":"interrupt"', b'"type":"retraction"'
    return any(tag in record or tag in following for tag in told)


class Client:
    """Somebody who starts a scenario's execution, reads its stream and waits for its result, through all crashes."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.items: list[Any] = []
        self.result: Any = None
        self.error: BaseException | None = None
        self.state: dict[str, Any] = {}

    async def live(self, store: DyingStore) -> bool:
        """One life of the process; whether it came to the end of the execution."""
        flow = self.scenario.make()
        if store.survives:
            with suppress(StoreUnavailable):
                await self._work(flow, store)
                return True
        working = asyncio.create_task(self._work(flow, store))
        dying = asyncio.create_task(store.dead.wait())
        await asyncio.wait((working, dying), return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if working.done():
            await working
            return True
        live = [stored for stored in session_of(store).live.values() if stored.runtime.log is not None]
        for stored in live:
            stored.release_here(Died("the process died"))
        working.cancel()
        with suppress(asyncio.CancelledError, TriggerFlowError):
            await working
        for task in store.unanswered:
            task.cancel()
        await asyncio.gather(*store.unanswered, return_exceptions=True)
        await turns(5)
        if isinstance(store.store, MemoryStore):
            store.store.crash()  # one over a file is not heard of for as long as its lease lasts
        return False

    async def _work(self, flow: TriggerFlow, store: Any) -> None:
        execution = flow.create_execution(store=store, id=ID, **self.scenario.options)
        execution = await execution.async_open()
        outside = asyncio.create_task(self.scenario.outside(Outside(execution)))
        reading = asyncio.create_task(self._read(execution))
        try:
            self.result = await execution.async_start(self.scenario.value, timeout=100_000)
        except (Died, TimeoutError, StoreUnavailable):
            raise
        except Exception as error:
            if store.dead.is_set():
                raise
            self.error = error
        finally:
            outside.cancel()
            with suppress(asyncio.CancelledError, StoreUnavailable):
                await outside
            if store.dead.is_set():
                reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        self.state = execution.state.to_dict()
        await self._same_on_disk(execution, flow, store)

    async def _read(self, execution: Any) -> None:
        with suppress(Exception):  # the failure of the execution, or of its process
            reader = execution.get_async_runtime_stream(self.scenario.value, after=len(self.items))
            async for item in reader:
                assert reader.position == len(self.items) + 1
                self.items.append(item)

    async def _same_on_disk(self, execution: Any, flow: TriggerFlow, store: Store) -> None:
        """Law 2: the records on disk give the state that was lived through; and nothing of it is left running."""
        row = await store.find(ID)
        assert row is not None
        assert row.status in FINAL_STATUSES
        assert row.owner is None
        program = runtime_of(execution).program
        restored = await ExecutionReader(program, store).restore(row, row.records)
        pack = program.types.pack
        assert encode(program.plan, restored.machine.state, pack) == encode(
            program.plan, runtime_of(execution).machine.state, pack
        )
        for child in await store.executions(parent=ID):
            assert child.status in FINAL_STATUSES, f"sub-flow {child.id} is {child.status}"

    def check(self) -> None:
        """Compare with what the scenario expects."""
        self.scenario.check(result=self.result, error=self.error, stream=self.items, state=self.state)
