"""A thread of one's own: the writer's and the reader's."""

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, NamedTuple, ParamSpec, TypeVar

from ..._core.errors import StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")


class _Job(NamedTuple):
    future: Future[Any]
    call: Callable[[], Any]


class SingleThread(Executor):
    """Runs what is submitted on one thread, in order, and `tick` whenever it is due, however long the queue is.

    `tick` returns after how many seconds it wants to be called again. What was submitted cannot be cancelled: the
    waiter may go, the work is done. If the thread dies, everybody who waits or comes later gets `StoreUnavailable`.
    """

    def __init__(self, name: str, tick: Callable[[], float] | None = None) -> None:
        self._name = name
        self._tick = tick
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = Lock()
        self._ended = False
        # A daemon: a program that forgot to close its store shall end nevertheless; what is on disk stands.
        Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Raises `StoreUnavailable` if the thread has ended."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._ended:
                raise self._gone()
            self._queue.put(_Job(future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread after what was submitted. It is not waited for."""
        self._queue.put(None)

    def _gone(self) -> StoreUnavailable:
        return StoreUnavailable(f"the thread of {self._name} has ended; close this store and open it again")

    def _run(self) -> None:
        tick, due = self._tick, time.monotonic()
        try:
            while True:
                if tick and time.monotonic() >= due:
                    due = time.monotonic() + tick()
                try:
                    job = self._queue.get(timeout=max(0, due - time.monotonic()) if tick else None)
                except Empty:
                    continue
                if job is None:
                    return
                self._do(job)
                del job  # nothing shall live until the next job comes
        finally:
            with self._lock:
                self._ended = True
            while not self._queue.empty():
                if left := self._queue.get():
                    left.future.set_exception(self._gone())

    def _do(self, job: _Job) -> None:
        try:
            result = job.call()
        except BaseException as error:
            if isinstance(error, Exception):
                job.future.set_exception(error)
            else:  # somebody ends the thread: the waiter gets an error that does not end its own
                job.future.set_exception(self._gone())
                raise
        else:
            job.future.set_result(result)
