"""A single thread: the writer and the reader have one each."""

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
    """Runs submitted calls on one thread, in order. Between them it calls `tick` when that is due, even if calls wait.

    `tick` returns after how many seconds to call it again. A submitted call cannot be cancelled: it runs even if its
    caller does not wait for it any more. If the thread ends, all open and later calls raise `StoreUnavailable`.
    """

    def __init__(self, name: str, tick: Callable[[], float] | None = None) -> None:
        self._name = name
        self._tick = tick
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = Lock()
        self._ended = False
        # A daemon thread, so that a program which forgot to close its store can end. Nothing committed is lost.
        Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call on the thread; return the future of its result. Raises `StoreUnavailable` if the thread has
        ended."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._ended:
                raise self._thread_ended()
            self._queue.put(_Job(future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Make the thread end after the submitted calls. Returns at once."""
        self._queue.put(None)

    def _thread_ended(self) -> StoreUnavailable:
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
                del job  # frees the arguments of the call now, not with the next job
        finally:
            with self._lock:
                self._ended = True
            while not self._queue.empty():
                if left := self._queue.get():
                    left.future.set_exception(self._thread_ended())

    def _do(self, job: _Job) -> None:
        try:
            result = job.call()
        except BaseException as error:
            if isinstance(error, Exception):
                job.future.set_exception(error)
            else:  # for example SystemExit: it ends this thread, but must not end the caller's
                job.future.set_exception(self._thread_ended())
                raise
        else:
            job.future.set_result(result)
