"""The hub of an open store: one task that waits for its changes, for all watches in this process.

The change feed names executions, requests and so on that *may* have changed. A task that waits for one of them reads
the store after each change, and waits again if there is nothing new:

    with session_of(store).hub.watch(executions=[id]) as watch:
        while (row := await store.find(id)).status not in FINAL_STATUSES:
            await watch.changed()

Nothing is missed: a change after the read makes `changed` return. The task runs only while there is a watch.
"""

import asyncio
import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from .._core.errors import StoreError, UsageError
from ..drivers.tasks import start_task
from ..stores.protocol import CHANGE_KINDS, Changes, Store

logger = logging.getLogger("triggerflow")

#: If the store fails, the hub asks it again after so many seconds.
RETRY_SECONDS = 1.0

_Key = tuple[str, str]


class Watch:
    """Waits for changes of some executions, requests, schedules or flows; or of all, see `Hub.watch_others`.

    Use it in a `with` block, on the event loop of the store, in one task. It begins with its making.
    """

    def __init__(self, hub: "Hub", *, everything: bool, own: bool) -> None:
        self._hub = hub
        #: whether it also waits for records that this process appends
        self.own = own
        self._keys: set[_Key] = set()
        self._everything = everything
        #: the names that were told, by kind; kept by a watch of everything only
        self._names: dict[str, set[str]] = {}
        self._resync = False
        self._told = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, kind: str, names: Iterable[str]) -> None:
        """Also wait for changes of these from now on. `kind` is a field of `Changes`, such as "executions"."""
        for name in names:
            self._keys.add((kind, name))
            self._hub.watches.setdefault((kind, name), set()).add(self)

    def close(self) -> None:
        """End the watch."""
        self._hub.drop(self, self._keys)
        self._keys = set()

    async def changed(self) -> Changes:
        """Wait until something may have changed since the last call has returned, or since this watch was made.

        Only a watch of everything gets the names of what has changed; with `resync`, anything may have. For other
        watches the names are empty. Raises `StoreError` or `UsageError` if the store was closed, or is used on another
        event loop.
        """
        while not self._told:
            if self._error is not None:
                raise self._error.with_traceback(None)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        names, self._names = self._names, {}
        resync, self._resync, self._told = self._resync, False, False
        found: dict[str, Any] = {kind: tuple(told) for kind, told in names.items()}
        return Changes(cursor="", resync=resync, **found)

    def tell(self, changes: Changes | None) -> None:
        """Called by the hub: something has changed; without `changes`, anything may have."""
        self._told = True
        if changes is None or changes.resync:
            self._resync = True
        elif self._everything:
            for kind in CHANGE_KINDS:
                if told := getattr(changes, kind):
                    self._names.setdefault(kind, set()).update(told)
        self._wake()

    def end(self, error: BaseException) -> None:
        """Called by the hub: there will be no more changes."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Hub:
    """Distributes the changes of one open store to the watches of this process.

    There is one for each store object, as long as a session of it or a watch exists.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        #: the objects that readers of an execution share (`following`), by its id and the types of its flow
        self.followed: WeakValueDictionary[Any, Any] = WeakValueDictionary()
        #: the watches of each execution, request and so on, by kind and id
        self.watches: dict[_Key, set[Watch]] = {}
        self._all: set[Watch] = set()
        self._everything: set[Watch] = set()
        self._task: asyncio.Task[None] | None = None
        self._cursor: str | None = None
        #: how many watches also wait for own records, and whether the task reads these now
        self._own_watches = 0
        self._asks_for_own = False

    def watch(
        self,
        *,
        executions: Iterable[str] = (),
        requests: Iterable[str] = (),
        flows: Iterable[str] = (),
        own: bool = True,
    ) -> Watch:
        """Watch these executions, these requests, and the shared data of these flows, from now on.

        With `own` false, records that this store appends to its own executions need not wake it."""
        watch = Watch(self, everything=False, own=own)
        for kind, names in (("executions", executions), ("requests", requests), ("flows", flows)):
            watch.add(kind, names)
        self._begin(watch)
        return watch

    def watch_others(self) -> Watch:
        """Watch everything from now on, except the records that this store appends to its own executions (which may
        wake it, too). The first `changed` returns at once, with `resync`."""
        watch = Watch(self, everything=True, own=False)
        self._everything.add(watch)
        self._begin(watch)
        watch.tell(None)
        return watch

    def _begin(self, watch: Watch) -> None:
        self._all.add(watch)
        self._own_watches += watch.own
        if self._task is not None and watch.own and not self._asks_for_own:
            self._task.cancel()  # start again from the same cursor, with own records as well
            self._task = None
        if self._task is None:
            self._asks_for_own = self._own_watches > 0
            self._task = start_task(asyncio.get_running_loop(), self._run(), quiet=True)

    def drop(self, watch: Watch, keys: Iterable[_Key]) -> None:
        """Remove a closed watch."""
        for key in keys:
            others = self.watches.get(key)
            if others is not None:
                others.discard(watch)
                if not others:
                    del self.watches[key]
        self._everything.discard(watch)
        if watch in self._all:
            self._all.discard(watch)
            self._own_watches -= watch.own
        if not self._all and self._task is not None:
            self._task.cancel()
            self._task = self._cursor = None

    async def _run(self) -> None:
        has_failed = False
        while True:
            self._asks_for_own = self._own_watches > 0
            try:
                changes = await self._store.wait_changes(self._cursor, own=self._asks_for_own)
            except Exception as error:
                if not self._is_open(error):
                    self._end(error)
                    return
                if not has_failed:
                    logger.warning("%r: its changes cannot be read: %s", self._store, error)
                has_failed = True
                self._tell_all()  # the tasks that wait read the store: they get the same error, or continue
                await asyncio.sleep(RETRY_SECONDS)
                continue
            has_failed = False
            if self._cursor is None or changes.resync:
                self._tell_all()  # before there was a cursor, something may have changed after it was read
            else:
                self._tell(changes)
            self._cursor = changes.cursor

    def _is_open(self, error: Exception) -> bool:
        """Whether a later call can succeed: the store is open, and on this event loop."""
        if not isinstance(error, StoreError):
            return False
        try:
            return bool(self._store.owner)
        except (StoreError, UsageError, RuntimeError, LookupError):
            return False

    def _tell(self, changes: Changes) -> None:
        told = set(self._everything)
        if self.watches:
            for kind in CHANGE_KINDS:
                for name in getattr(changes, kind):
                    told |= self.watches.get((kind, name), set())
        for watch in told:
            watch.tell(changes)

    def _tell_all(self) -> None:
        for watch in list(self._all):
            watch.tell(None)

    def _end(self, error: BaseException) -> None:
        self._task = self._cursor = None
        self._own_watches = 0
        for watch in list(self._all):
            watch.end(error)
        self.watches.clear()
        self._everything.clear()
        self._all.clear()
