"""Group commit: what all executions have written since the last commit goes to disk together.

One commit is on its way at a time; while the disk is busy, the next one fills. A lone execution pays one disk write per
step, two hundred share it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from .._core.errors import ExecutionSuspended, StoreConflict, StoreError, UsageError
from ..drivers.tasks import start_task
from ..run.program import Program
from ..stores.protocol import Append, Store
from .commit_buffer import CommitBuffer
from .definitions import write_definition


class StoreSession:
    """What the durable executions of one opened store share: its commits, and which execution is here already.

    Whoever works with the store holds it: executions, a worker, a commit that is on its way. It holds the store.
    """

    def __init__(self, store: Store, kept: set[str]) -> None:
        self.store = store
        #: the handles of this process by id: an id twice is the same execution
        self.live: WeakValueDictionary[str, Any] = WeakValueDictionary()
        #: called when records of an execution were written, or it has left this process (`stored.Stored`)
        self.on_change: Callable[[Any], None] | None = None
        self._waiting: list[CommitBuffer] = []
        self._task: asyncio.Task[None] | None = None
        #: definitions by fingerprint: those to be written with the next commit, and those that are on disk
        self._definitions: dict[str, bytes] = {}
        self._kept = kept
        self._beside: set[asyncio.Task[None]] = set()

    def enqueue(self, log: CommitBuffer) -> None:
        """A log has something to write."""
        self._waiting.append(log)
        if self._task is None:
            self._task = start_task(asyncio.get_running_loop(), self._commit())

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside."""
        task = start_task(asyncio.get_running_loop(), work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def keep_definition(self, program: Program) -> None:
        """The definition is written before the next commit, so that this version's records can always be read.

        Raises `PayloadError` if it cannot be recorded.
        """
        definition = program.plan.definition
        known = definition.fingerprint in self._kept or definition.fingerprint in self._definitions
        if not known:
            self._definitions[definition.fingerprint] = write_definition(definition, program.types)

    async def write_definitions(self) -> None:
        """Write the definitions that are to be kept. Raises `StoreError`."""
        for fingerprint, data in list(self._definitions.items()):
            await self.store.put_definition(fingerprint, data)
            self._kept.add(fingerprint)
            self._definitions.pop(fingerprint, None)

    async def _commit(self) -> None:
        logs: list[CommitBuffer] = []
        try:
            while self._waiting:
                logs, self._waiting = [log for log in self._waiting if log.suspended is None], []
                await self._write([(log, log.take()) for log in logs])
        except BaseException as error:  # a cancelled commit may or may not be on disk: nobody may build on it here
            why: BaseException = error
            if not isinstance(error, UsageError):  # else the store is not open here, and says so
                why = ExecutionSuspended(f"the commit to {self.store!r} was broken off: {error!r}")
            for log in [*logs, *self._waiting]:
                give_up(log, why)
            self._waiting = []
            if not isinstance(error, Exception):
                raise
        finally:
            self._task = None

    async def _write(self, batch: list[tuple[CommitBuffer, Append]], *, again: bool = False) -> None:
        """Write a batch. After a conflict each tree is written once more, by itself and whole: only a tree that meets a
        conflict again is not this owner's any more, and the others go on."""
        if not batch:
            return
        try:
            if self._definitions:
                await self.write_definitions()
            await self.store.append([append for _, append in batch])
        except StoreConflict as conflict:
            if again:
                for log, _ in batch:
                    give_up(log, conflict)
                return
            for tree in _trees(batch):
                await self._write(tree, again=True)
        except StoreError as error:
            for log, _ in batch:
                give_up(log, error)
        else:
            for log, append in batch:
                try:
                    log.written(append)
                except Exception as bug:  # it shall not take the others along
                    give_up(log, ExecutionSuspended(f"the engine failed after a commit; please report this: {bug!r}"))


def _trees(batch: list[tuple[CommitBuffer, Append]]) -> list[list[tuple[CommitBuffer, Append]]]:
    """The batch, cut where it may be: what an execution and its sub-flows tell each other is on disk in one commit."""
    trees: dict[str, list[tuple[CommitBuffer, Append]]] = {}
    for log, append in batch:
        trees.setdefault(log.owner.root_id, []).append((log, append))
    return list(trees.values())


def give_up(log: CommitBuffer, why: BaseException) -> None:
    """The execution cannot go on in this process."""
    log.owner.suspend(why)


class _Known:
    """What is known of a store as long as it lives: the session, if there is one, and which definitions it has.

    It must not refer to the store, which would then live for ever.
    """

    __slots__ = ("definitions", "session")

    def __init__(self) -> None:
        self.session: Callable[[], StoreSession | None] = lambda: None
        self.definitions: set[str] = set()


_known: "WeakKeyDictionary[Store, _Known]" = WeakKeyDictionary()


def session_of(store: Store) -> StoreSession:
    """The session of an opened store. Raises `UsageError` for what is no store."""
    if not hasattr(store, "claim_work"):
        raise UsageError(f"a store is needed, such as an opened SQLiteStore({store!r}); got {store!r}")
    known = _known.get(store)
    if known is None:
        known = _known[store] = _Known()
    session = known.session()
    if session is None:
        session = StoreSession(store, known.definitions)
        known.session = ref(session)
    return session
