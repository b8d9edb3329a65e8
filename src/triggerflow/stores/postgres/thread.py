"""The thread of an open store, with an event loop of its own, on which it talks to the database.

So the lease is renewed while the user's event loop is busy, and a test in virtual time waits for the database in real
time.
"""

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from threading import Lock, Thread
from typing import Any, ParamSpec, TypeVar

from ..._core.errors import StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")


class LoopThread(Executor):
    """Runs submitted calls on the event loop of one thread. A call may return a coroutine, whose result is awaited.

    A submitted call cannot be cancelled: it runs even if its caller does not wait for it any more.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # psycopg cannot wait on the default loop of Windows.
        self.loop = asyncio.SelectorEventLoop()
        self._lock = Lock()
        self._ending = False
        self._tasks: set[asyncio.Task[None]] = set()
        # A daemon thread, so that a program which forgot to close its store can end. Nothing committed is lost.
        Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a call; return the future of its result. Raises `StoreUnavailable` after `shutdown`."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._ending:
                raise StoreUnavailable(f"the thread of {self._name} has ended; close this store and open it again")
            self.loop.call_soon_threadsafe(self._start, future, partial(fn, *args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Make the thread end when the submitted calls are done. Returns at once."""
        with self._lock:
            if not self._ending:
                self._ending = True
                self.loop.call_soon_threadsafe(self._end)

    def _start(self, future: "Future[Any]", call: Callable[[], Any]) -> None:
        task = self.loop.create_task(self._do(future, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, future: "Future[Any]", call: Callable[[], Any]) -> None:
        try:
            result = call()
            del call  # frees what it holds before its caller goes on
            if inspect.isawaitable(result):
                result = await result
        except BaseException as error:
            # An error that would end this thread, such as SystemExit, must not end the caller's.
            future.set_exception(
                error if isinstance(error, Exception) else StoreUnavailable(f"{self._name}: {error!r}")
            )
        else:
            future.set_result(result)

    async def others(self) -> None:
        """Wait for all submitted calls but the present one. To be called on the thread."""
        while tasks := [task for task in self._tasks if task is not asyncio.current_task()]:
            await asyncio.wait(tasks)

    def _end(self) -> None:
        async def finish() -> None:
            await self.others()
            self.loop.stop()

        self._last = self.loop.create_task(finish())

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            # What still tries to connect to a database that does not answer.
            if left := asyncio.all_tasks(self.loop):
                for task in left:
                    task.cancel()
                self.loop.run_until_complete(asyncio.wait(left, timeout=5))
        finally:
            self.loop.close()
