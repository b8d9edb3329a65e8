"""One task for each open store in this process waits for the changes of the store, and wakes all who wait for one.

So whoever waits for an execution or a reply of another process costs no queries while nothing changes.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from .._core.errors import StoreError, UsageError
from ..drivers.tasks import start_task
from ..stores.protocol import Changes, Store

#: After a failure of the store, the feed tries again after this many seconds.
RETRY_SECONDS = 1.0

Wake = Callable[[], None]


class Feed:
    """Who listens to the changes of one store, and the task that waits for them while somebody does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: by the id of an execution or of a request
        self._listeners: dict[str, set[Wake]] = {}
        self._to_all: set[Callable[[Changes], None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()

    def listen(self, id: str, wake: Wake) -> Wake:
        """Call `wake` after each change of an execution or a request. Returns a function that ends this.

        Read the store after `await begun()`: a change that the reading misses is announced.
        """
        self._listeners.setdefault(id, set()).add(wake)
        self._start()

        def leave() -> None:
            known = self._listeners.get(id, set())
            known.discard(wake)
            if not known:
                self._listeners.pop(id, None)
            self._stop_if_alone()

        return leave

    def listen_to_all(self, wake: Callable[[Changes], None]) -> Wake:
        """Call `wake` with all changes. Returns a function that ends this."""
        self._to_all.add(wake)
        self._start()

        def leave() -> None:
            self._to_all.discard(wake)
            self._stop_if_alone()

        return leave

    async def begun(self) -> None:
        """Wait until every later change is announced. Returns at once if the store cannot be read."""
        await self._begun.wait()

    def close(self) -> None:
        """The store was closed: wake all, and end."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self._begun.set()
        self._to_all.clear()
        self._wake(Changes(cursor="", resync=True))

    def _start(self) -> None:
        if self._task is None:
            self._begun.clear()
            self._task = start_task(asyncio.get_running_loop(), self._run(), quiet=True)

    def _stop_if_alone(self) -> None:
        if self._task is not None and not self._listeners and not self._to_all:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        cursor: str | None = None
        while True:
            try:
                changes = await self._store.wait_changes(cursor)
            except (UsageError, AttributeError):  # the second: until every store has a change feed
                return self.close()
            except StoreError:
                if not self._is_open():
                    return self.close()
                self._begun.set()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if cursor is None and self._begun.is_set():  # changes may have been missed since the failure
                changes = Changes(cursor=changes.cursor, resync=True)
            cursor = changes.cursor
            self._begun.set()
            self._wake(changes)

    def _is_open(self) -> bool:
        with suppress(RuntimeError, LookupError, StoreError):
            return bool(self._store.owner)
        return False

    def _wake(self, changes: Changes) -> None:
        ids = list(self._listeners) if changes.resync else [*changes.executions, *changes.requests]
        for id in ids:
            for wake in list(self._listeners.get(id, ())):
                wake()
        for wake_with in list(self._to_all):
            wake_with(changes)
