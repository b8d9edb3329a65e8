"""Group commit: one append writes the new records of all executions of a store.

One commit runs at a time. Records that are made during a commit are written by the next one. So two hundred busy
executions share one disk write, where each would need a write of its own for each step.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from ..._core.errors import ExecutionSuspended, StoreConflict, StoreError, UsageError
from ...drivers.tasks import start_task
from ...run.program import Program
from ...stores.lifecycle import OpenedInScripts
from ...stores.protocol import Append, Store
from ..format.metadata import write_definition
from ..hub import Hub
from .commit_buffer import CommitBuffer
from .inbox import Inbox
from .shared import SharedView
from .suspects import Suspects

logger = logging.getLogger("triggerflow")


class StoreSession:
    """What the durable executions of one open store share in this process: the commit task, and a table of them by id.

    Executions, a worker and a running commit hold references to it; it holds a reference to the store.
    """

    def __init__(self, store: Store, stored_definitions: set[str], hub: Hub) -> None:
        self.store = store
        #: reports changes of the store, by this process or another one
        self.hub = hub
        #: the owner of the executions in `live`, once the store is open. A store that is opened again is another owner.
        self.owner: str | None = None
        #: the executions of this process (`stored.Stored`) by id; one object for each id
        self.live: WeakValueDictionary[str, Any] = WeakValueDictionary()
        #: called with an execution (`stored.Stored`) when its records were committed, or it was suspended or released
        self.on_change: Callable[[Any], None] | None = None
        self.inbox = Inbox(self)
        #: why it has ended, once it has
        self.closed: ExecutionSuspended | None = None
        self._waiting: list[CommitBuffer] = []
        self._task: asyncio.Task[None] | None = None
        #: definitions that the next commit has to store, by fingerprint; and the fingerprints of stored ones
        self._new_definitions: dict[str, bytes] = {}
        self._stored_definitions = stored_definitions
        #: whether executions of this session have steps that run other flows; whether some listen to shared data
        self.has_steps = False
        self.has_listeners = False
        #: runs that may be what has ended earlier processes
        self.suspects = Suspects()
        #: the views of shared data that executions use, by the name of the flow and the id of its types, which the view
        #: refers to; and the last one of each flow, so that an execution need not read everything again
        self._views: WeakValueDictionary[tuple[str, int], SharedView] = WeakValueDictionary()
        self._last_views: dict[str, SharedView] = {}
        self._background_tasks: set[asyncio.Task[None]] = set()
        #: callers that wait until the commit that runs now has ended
        self._round_waiters: list[asyncio.Future[None]] = []
        #: executions that were stopped here and are not released yet (`giving_back.Departure`)
        self.departures: set[Any] = set()

    def enqueue(self, buffer: CommitBuffer) -> None:
        """Add a buffer to the next commit, and start the commit task if it does not run."""
        self._waiting.append(buffer)
        if self._task is None:
            self._task = start_task(asyncio.get_running_loop(), self._commit())
            self._task.add_done_callback(self._commit_ended)

    def _commit_ended(self, task: asyncio.Task[None]) -> None:
        """If the commit task was cancelled before its first step, suspend the executions that wait for it."""
        if self._task is task:
            self._task = None
            waiting, self._waiting = self._waiting, []
            for buffer in waiting:
                buffer.owner.suspend(ExecutionSuspended(f"the commit to {self.store!r} was cancelled"))

    def close(self, why: ExecutionSuspended) -> None:
        """End the session, because its store was closed: suspend every execution that is still open in it."""
        self.closed = why
        self.inbox.close()
        for stored in list(self.live.values()):
            stored.suspend(why)

    def run_in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in a task of its own."""
        task = start_task(asyncio.get_running_loop(), work, quiet=True)
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)
        return task

    async def round_ended(self, timeout: float) -> bool:
        """Wait until the commit that runs now has ended; False if it has not after `timeout` seconds."""
        if self._task is None:
            return True
        waiter = asyncio.get_running_loop().create_future()
        self._round_waiters.append(waiter)
        await asyncio.wait((waiter,), timeout=timeout)
        return waiter.done()

    def _end_round(self) -> None:
        waiters, self._round_waiters = self._round_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def add_definition(self, program: Program) -> None:
        """Store the flow's definition with the next commit, before the records, which cannot be read without it.

        Raises `PayloadError` if it cannot be encoded.
        """
        definition = program.plan.definition
        known = definition.fingerprint in self._stored_definitions or definition.fingerprint in self._new_definitions
        if not known:
            self._new_definitions[definition.fingerprint] = write_definition(definition, program.types)

    async def write_definitions(self) -> None:
        """Store the definitions that were added. Raises `StoreError`."""
        for fingerprint, data in list(self._new_definitions.items()):
            await self.store.put_definition(fingerprint, data)
            self._stored_definitions.add(fingerprint)
            self._new_definitions.pop(fingerprint, None)

    async def _commit(self) -> None:
        buffers: list[CommitBuffer] = []
        try:
            while self._waiting:
                if self.has_listeners:
                    await self._refresh_for_new()
                if self.has_steps:
                    for buffer in self._waiting:  # it grows: an execution that ends here ends its own sub-flows
                        if buffer.has_steps and buffer.suspended is None:
                            buffer.owner.end_sub_flows()
                buffers, self._waiting = [buffer for buffer in self._waiting if buffer.suspended is None], []
                await self._write([(buffer, buffer.take()) for buffer in buffers])
                self._end_round()
        except BaseException as error:  # a cancelled commit may be in the store or not: suspend
            why: BaseException = error
            if not isinstance(error, UsageError):  # a UsageError is clear: the store is not open
                why = ExecutionSuspended(f"the commit to {self.store!r} was interrupted: {error!r}")
            for buffer in [*buffers, *self._waiting]:
                buffer.owner.suspend(why)
            self._waiting = []
            if not isinstance(error, Exception):
                raise
        finally:
            self._task = None
            self._end_round()

    async def _refresh_for_new(self) -> None:
        """Bring the views up to date for executions that begin to listen with this commit: they get all changes after
        what is known then."""
        views = {it.view for buffer in self._waiting if (it := buffer.owner.shared) is not None and it.registers}
        for view in views:
            await view.refresh()

    async def _take_shared(self, batch: list[tuple[CommitBuffer, Append]], newest: Mapping[str, int]) -> None:
        """Bring the views of shared data up to the newest changes that a commit has reported: the chunks that it starts
        have to see these. Raises `StoreError`."""
        for view in list(self._views.values()):
            number, flow = newest.get(view.flow, 0), view.flow
            if number <= view.number:
                continue
            ours = [it for it in batch if it[1].shared and (own := it[0].owner.shared) and own.view.flow == flow]
            changes = [(append.execution, change) for _, append in ours for change in append.shared]
            if not view.committed(changes, number):
                await view.refresh()
            if view.is_to_fold:
                self.run_in_background(view.fold())
        for buffer, append in batch:
            if append.shared and (shared := buffer.owner.shared) is not None:
                shared.written()

    def shared_view(self, program: Program) -> SharedView:
        """The view of this process on the shared data of a flow."""
        key = (program.name, id(program.types))
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = SharedView(self.store, program.name, program.types, self._follow)
        self._last_views[program.name] = view
        return view

    def _follow(self, view: SharedView) -> asyncio.Task[None]:
        """Start the task that takes the changes of other processes for the executions that listen to them."""
        return start_task(asyncio.get_running_loop(), view.follow(self.hub.watch(flows=[view.flow], own=False)))

    async def _write(self, batch: list[tuple[CommitBuffer, Append]], *, again: bool = False) -> None:
        """Commit a batch in one append. After a conflict, commit each execution with its sub-flows separately, and
        suspend those that conflict again: another owner has claimed them."""
        if not batch:
            return
        try:
            if self._new_definitions:
                await self.write_definitions()
            appends = [append for _, append in batch]
            if self.has_steps:
                for buffer, _ in batch:
                    if buffer.has_steps:
                        appends += await buffer.owner.leftovers()
            newest = await self.store.append(appends)
            if newest:
                await self._take_shared(batch, newest)
        except StoreConflict as conflict:
            if again:
                for buffer, _ in batch:
                    buffer.owner.suspend(conflict)
                return
            for tree in _trees(batch):
                await self._write(tree, again=True)
        except StoreError as error:
            for buffer, _ in batch:
                buffer.owner.suspend(error)
        else:
            for buffer, append in batch:
                try:
                    buffer.written(append)
                except Exception as bug:  # a bug in one execution must not stop the others
                    buffer.owner.suspend(
                        ExecutionSuspended(f"the engine failed after a commit; please report this: {bug!r}")
                    )


def _trees(batch: list[tuple[CommitBuffer, Append]]) -> list[list[tuple[CommitBuffer, Append]]]:
    """Group a batch by outermost execution: the records of an execution and its sub-flows need the same commit."""
    trees: dict[str, list[tuple[CommitBuffer, Append]]] = {}
    for buffer, append in batch:
        trees.setdefault(buffer.owner.root_id, []).append((buffer, append))
    return list(trees.values())


class _PerStore:
    """The data for each store object: its session and its hub, if they are in use, its last owner, and the fingerprints
    of the definitions that it has stored as that owner.

    It must not refer to the store, which would never be freed otherwise.
    """

    __slots__ = ("definitions", "hub", "owner", "session")

    def __init__(self) -> None:
        self.hub: Callable[[], Hub | None] = lambda: None
        self.session: Callable[[], StoreSession | None] = lambda: None
        self.owner: str | None = None
        self.definitions: set[str] = set()


_per_store: "WeakKeyDictionary[Store, _PerStore]" = WeakKeyDictionary()


def _owner_of(store: Store) -> str | None:
    try:
        return store.owner
    # It is not open, or was asked outside of its loop: the next store call raises the UsageError.
    except (RuntimeError, LookupError, StoreError):
        return None


def is_open(store: Store) -> bool:
    """Whether a store is open, on this event loop."""
    return _owner_of(store) is not None


async def give_up(store: Store, id: str) -> None:
    """Release an execution with its sub-flows because of an error, which the caller raises: so an error of the store is
    only logged. A cancellation of the caller does not stop the release: without an owner, a worker can run them."""
    task = start_task(asyncio.get_running_loop(), store.release([id]))
    try:
        await asyncio.shield(task)
    except (StoreError, UsageError) as error:
        logger.warning("%r: execution %r could not be released: %s", store, id, error)


def _stopping(session: Callable[[], StoreSession | None]) -> Callable[[], Coroutine[Any, Any, Collection[str]]]:
    """See `OpenedInScripts.before_closing`. The store must not keep its session alive."""

    async def stop() -> Collection[str]:
        live = session()
        if live is None:
            return ()
        from .giving_back import before_closing

        return await before_closing(live)

    return stop


def require_store(store: object) -> None:
    """Raise `UsageError` if this is no store."""
    if not hasattr(store, "claim_work"):
        such = f"SQLiteStore({store!r})" if isinstance(store, str | os.PathLike) else "SQLiteStore('runs.db')"
        raise UsageError(f"a store is needed, such as an opened {such}; got {store!r}")


def session_of(store: Store) -> StoreSession:
    """The session of an open store. Raises `UsageError` if `store` is no store."""
    require_store(store)
    known = _per_store.get(store)
    if known is None:
        known = _per_store[store] = _PerStore()
    session = known.session()
    owner = _owner_of(store)
    if owner is not None and owner != known.owner:
        known.owner = owner
        known.definitions.clear()  # while it was closed, its data may have been deleted or replaced by a copy
    if session is not None and owner is not None and session.owner not in (None, owner):
        session.close(
            ExecutionSuspended(
                f"{store!r} was closed and opened again; continue with the handle of flow.async_resume(id)"
            )
        )
        session = None
    if session is None:
        hub = known.hub()
        if hub is None:
            hub = Hub(store)
            known.hub = ref(hub)
        session = StoreSession(store, known.definitions, hub)
        known.session = ref(session)
        if isinstance(store, OpenedInScripts):
            store.before_closing(_stopping(ref(session)))
    session.owner = owner or session.owner
    return session
