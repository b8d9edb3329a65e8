"""The threads in which sync code of users runs: handlers, and the items of sync iterables.

A thread is made only when all others are busy, and ends when it has been idle for a while. A thread that waits inside
the engine (it emits with `settle`, starts another flow, reads a stream ...) does not count as busy, because the work
that it waits for may need a thread, too: however many threads wait, that work gets one.

The threads are daemons. At its end the process waits for the calls that still run in them, but not for calls that were
*left*: no caller waits for their result (the chunk has timed out, or did not stop in time when it was cancelled).
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import CancelledError, Executor, Future, wait
from contextlib import contextmanager
from contextvars import Context
from typing import Any, ParamSpec, TypeVar

from .._core.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")

#: How many threads may be busy at once. Threads that wait inside the engine do not count.
MAX_BUSY = 1024
#: How many idle threads may stay, and for how many seconds.
MAX_IDLE = 32
IDLE_SECONDS = 30.0


class ThreadPool(Executor):
    """Runs calls in daemon threads, at most `limit` busy ones at a time; further calls wait in a queue."""

    def __init__(self, limit: int = MAX_BUSY, *, max_idle: int = MAX_IDLE, idle_seconds: float = IDLE_SECONDS) -> None:
        self._limit = limit
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._queue: deque[_Job] = deque()
        #: a stack: the last used thread is used first, so that the others can end
        self._idle: list[_Worker] = []
        self._busy = 0
        self._made = 0
        #: threads that were made and have not taken a job yet
        self._starting = 0
        #: the calls for which the end of the process waits
        self._awaited: set[Future[Any]] = set()
        self._ending = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a thread. Raises `RuntimeError` if the process is ending, or no thread can be made."""
        future: Future[T] = Future()
        caller = _here.worker
        self._take(_Job(future, lambda: fn(*args, **kwargs)), awaited=True)
        future.add_done_callback(self._awaited.discard)
        if caller is not None and caller.pool is self:
            # The caller is a pool thread that runs an event loop of its own and waits for this call. So it does not
            # count as busy.
            caller.enter_wait()
            future.add_done_callback(lambda _: caller.leave_wait())
        return future

    def start(self, function: Callable[[], None]) -> None:
        """Run a function in a thread; the end of the process does not wait for it. Raises the errors of `submit`."""
        self._take(_Job(Future(), function), awaited=False)

    def leave(self, call: ThreadCall) -> None:
        """Stop waiting for a call that may never end: no caller and not the end of the process waits for it, and its
        thread does not count as busy."""
        call.left = True
        worker, work = call.worker, call.work
        if worker is None or work is None:
            return
        self._awaited.discard(work)
        stranded = None
        with self._lock:
            if worker.work is work and not worker.is_left:
                worker.is_left = True
                stranded = self._count(worker, 1)
        if stranded is not None:
            stranded()

    def finish(self) -> None:
        """Start no more calls, and wait until all running calls have ended, except those that were left."""
        with self._lock:
            self._ending = True
        while awaited := list(self._awaited):
            wait(awaited)
            self._awaited.difference_update(awaited)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Does nothing: the pool belongs to the process, and `finish` ends it."""

    def _take(self, job: _Job, *, awaited: bool) -> None:
        with self._lock:
            if self._ending:
                raise RuntimeError("the process is ending: no new sync chunk or iterable can start in a thread")
            if awaited:
                self._awaited.add(job.future)
            self._give(job)

    # -- for the threads ---------------------------------------------------------------------------------------------

    def _give(self, job: _Job) -> None:
        """Queue a job, and wake or make a thread for it. The caller holds the lock."""
        self._queue.append(job)
        try:
            self._staff()
        except RuntimeError:
            self._queue.pop()
            self._awaited.discard(job.future)
            raise

    def _staff(self) -> None:
        """Wake an idle thread for the oldest queued job, or make a thread. The caller holds the lock.

        Raises `RuntimeError` if the system
        gives no more threads and no busy thread could take the job later.
        """
        if self._idle and self._queue:
            self._busy += 1
            self._idle.pop().wake(self._queue.popleft())
        elif len(self._queue) > self._starting and self._busy < self._limit:
            # The job stays in the queue while the new thread starts, so that a thread which becomes free first can take
            # it. So a loop of short chunks on a busy machine needs a few threads, and not one for each chunk.
            try:
                self._hire()
            except RuntimeError:
                if not self._busy:
                    raise

    def _hire(self) -> None:
        worker = _Worker(self)
        name = f"triggerflow-chunk-{self._made + 1}"
        threading.Thread(target=worker.run, name=name, daemon=True).start()
        self._made += 1
        self._busy += 1
        self._starting += 1

    def first(self, worker: _Worker) -> _Job | None:
        """The first job of a new thread."""
        with self._lock:
            self._starting -= 1
        return self.next(worker)

    def next(self, worker: _Worker) -> _Job | None:
        """The next job for a thread that has done one; waits for it at most `idle_seconds`. None: the thread ends."""
        with self._lock:
            worker.work = None
            if worker.is_left:
                worker.is_left = False
                self._count(worker, -1)
            if self._queue and self._busy <= self._limit:
                return self._queue.popleft()
            self._busy -= 1
            if len(self._idle) >= self._max_idle:
                return None
            self._idle.append(worker)
        if not worker.sleep(self._idle_seconds):
            with self._lock:
                if worker in self._idle:
                    self._idle.remove(worker)
                    return None
            worker.sleep(None)  # another thread gave this worker a job before the lock was taken: take it
        return worker.take()

    def waits(self, worker: _Worker, by: int) -> None:
        """Note that a thread begins (`by` is 1) or ends (-1) a wait inside the engine."""
        with self._lock:
            stranded = self._count(worker, by)
        if stranded is not None:
            stranded()

    def _count(self, worker: _Worker, by: int) -> Callable[[], None] | None:
        """Count a thread as waiting (`by` is 1) or not (-1). For a thread that begins to wait, let another one take a
        job.

        The caller holds the lock. It must call the returned function, if any, after it has released the lock.
        """
        before, worker.waiting = worker.waiting, worker.waiting + by
        if before and worker.waiting == 0:
            self._busy += 1
        elif before == 0:
            self._busy -= 1
            try:
                self._staff()
            except RuntimeError as error:
                return functools.partial(self._queue.popleft().refuse, error)
        return None

    def renew(self) -> None:
        """Reset the pool after a fork: in the child process only the thread that forked exists."""
        self._lock = threading.Lock()
        self._queue, self._idle, self._busy, self._starting, self._awaited = deque(), [], 0, 0, set()


class _Job:
    __slots__ = ("call", "future")

    def __init__(self, future: Future[Any], call: Callable[[], Any]) -> None:
        self.future = future
        self.call = call

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.call()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def refuse(self, error: BaseException) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class _Worker:
    """One thread of a pool."""

    __slots__ = ("_awake", "_job", "is_left", "pool", "waiting", "work")

    def __init__(self, pool: ThreadPool) -> None:
        self.pool = pool
        #: how many nested waits inside the engine the thread is in; it counts as busy at 0
        self.waiting = 0
        #: the call that the thread runs now, and whether that call was left
        self.work: Future[Any] | None = None
        self.is_left = False
        self._job: _Job | None = None
        self._awake = threading.Lock()
        self._awake.acquire()

    def run(self) -> None:
        _here.worker = self
        job = self.pool.first(self)
        while job is not None:
            self.work = job.future
            job.run()
            job = None  # drop the result of the call now, and not when the next job comes
            job = self.pool.next(self)

    def wake(self, job: _Job) -> None:
        self._job = job
        self._awake.release()

    def sleep(self, seconds: float | None) -> bool:
        return self._awake.acquire(timeout=-1 if seconds is None else seconds)

    def take(self) -> _Job | None:
        job, self._job = self._job, None
        return job

    def enter_wait(self) -> None:
        self.pool.waits(self, 1)

    def leave_wait(self) -> None:
        self.pool.waits(self, -1)


class ThreadCall:
    """A sync chunk, or a sync iterable, in its thread: the state that its event loop and its thread share.

    A thread cannot be stopped. When the chunk has timed out, or did not end in time after it was cancelled, the call is
    *left*: the thread continues, its result is dropped, and its next call into the engine raises `UsageError`.
    """

    __slots__ = ("_elsewhere", "_inner", "left", "loop", "run_of_chunk", "started", "what", "work", "worker")

    def __init__(self, what: str, loop: asyncio.AbstractEventLoop, run_of_chunk: object = None) -> None:
        self.what = what
        #: the run of the chunk; None for an iterable
        self.run_of_chunk = run_of_chunk
        self.loop = loop
        self.started = False
        self.left = False
        #: the thread of this call, and its worker in the pool
        self.worker: _Worker | None = None
        self.work: Future[Any] | None = None
        #: the call into the engine that the thread waits for now: a task of this loop, or a future of another loop
        self._inner: asyncio.Task[Any] | None = None
        self._elsewhere: Future[Any] | None = None

    def run(self, context: Context, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call the function, in the thread."""
        self.worker = _here.worker
        self.work = None if self.worker is None else self.worker.work
        self.started = True
        _here.call = self
        try:
            return context.run(function, argument)
        finally:
            _here.call = None

    def require_wanted(self) -> None:
        """Raise `UsageError` if the call was left."""
        if self.left:
            raise UsageError(
                f"no caller waits for {self.what} any more: it timed out, or was cancelled and did not stop in time; "
                "return from it: every call into the engine from its thread raises this error"
            )

    async def inside(self, make: Callable[[], Awaitable[T]]) -> T:
        """Await something on behalf of the thread, on the event loop of the chunk."""
        self.require_wanted()
        self._inner = asyncio.current_task()
        try:
            return await make()
        finally:
            self._inner = None

    def wait(self, future: Future[T], *, here: bool) -> T:
        """Wait in the thread for a call into the engine. `here`: the call runs on the loop of the chunk."""
        if not here:
            self._elsewhere = future
        try:
            return future.result()
        except CancelledError:
            self.require_wanted()
            raise UsageError(
                f"{self.what}: the call into the engine that its thread waited for was cancelled"
            ) from None
        finally:
            self._elsewhere = None

    async def leave(self) -> None:
        """Leave the call. A call into the engine that its thread waits for is cancelled, and this waits until that has
        ended, so that the run has its permits back when it ends."""
        self.left = True
        inner = self.interrupt()
        if inner is not None:
            await asyncio.wait((inner,))

    def interrupt(self) -> asyncio.Task[Any] | None:
        """Cancel the call into the engine that the thread waits for. Returns its task, if it runs on this loop."""
        inner, elsewhere = self._inner, self._elsewhere
        if elsewhere is not None:
            elsewhere.cancel()
        if inner is not None:
            inner.cancel()
        return inner


class _Here(threading.local):
    """Thread-local: the worker and the sync call of the current thread."""

    worker: _Worker | None = None
    call: ThreadCall | None = None


_here = _Here()


@contextmanager
def waiting_inside_engine() -> Generator[None]:
    """Do not count this thread as busy inside the `with` block, in which it waits for the engine."""
    worker = _here.worker
    if worker is None:
        yield
        return
    worker.enter_wait()
    try:
        yield
    finally:
        worker.leave_wait()


def current_call() -> ThreadCall | None:
    """The sync chunk or iterable that this thread runs, else None."""
    return _here.call


_pool = ThreadPool()


def pool() -> ThreadPool:
    """The threads of this process."""
    return _pool


def finish() -> None:
    """At the end of the process: wait for the calls that were not left."""
    _pool.finish()


def _after_fork() -> None:
    """In the child process: reset the pool, because the parent's threads, which may hold its locks, do not exist."""
    _pool.renew()
    _here.__dict__.clear()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
