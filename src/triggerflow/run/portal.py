"""The sync bridge: one event loop in a background thread, on which the sync twins run their async originals.

The loop starts with the first sync call of the process and is stopped at exit. All calls share one loop, because an
execution lives on the loop that started it: `execution.start()` and a later `execution.get_result()` must run on the
same loop.

After a fork the child process has none of the parent's threads. It gets a loop of its own with its first sync call.
Using an execution that lives on a loop of the parent raises `WrongLoopError` there (`is_foreign`).
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakSet, ref

from .._core.errors import BlockingCallError, UsageError, WrongLoopError
from .threads import current_call, finish, waiting_inside_engine

T = TypeVar("T")
P = ParamSpec("P")

#: How many seconds the tasks of the background loop have for their clean-up when the process ends.
STOP_SECONDS = 10.0

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None
#: Event loops of this process on which executions live, and those of the process that this one was forked from.
_known: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
_foreign: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
#: References to the parent's loop after a fork. The child must not close it, because it shares the parent's files.
_inherited: list[asyncio.AbstractEventLoop] = []
_latest: ref[asyncio.AbstractEventLoop] | None = None
_forked = False


def run_sync(call: Callable[[], Coroutine[Any, Any, T]], name: str, loop: asyncio.AbstractEventLoop | None = None) -> T:
    """Run a coroutine to its end from a thread without a running loop.

    `loop` is the loop to run it on, by default the background loop. `name` is the async twin, for error messages.
    Raises `BlockingCallError` inside a running loop, which the call would block. Raises `UsageError` in the thread of a
    sync chunk that has timed out or was cancelled, and for a closed loop. Raises `WrongLoopError` for a loop of the
    process that this one was forked from.
    """
    if on_a_loop():
        raise BlockingCallError(
            f"this blocking call would stop the running event loop until the call returns; write `await {name}(...)`"
        )
    chunk = current_call()
    here = chunk is not None and loop is chunk.loop
    if loop is not None and is_foreign(loop):
        raise WrongLoopError(
            f"`{name}` would have to run on an event loop of the parent process, from which this process was forked; "
            "call it in the parent, or create the execution in this process"
        )
    if chunk is not None and here:
        chunk.require_wanted()
        coroutine = chunk.inside(call)
    else:
        coroutine = call()
    try:
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, loop or _background())
    except RuntimeError:
        coroutine.close()
        raise UsageError(
            f"`{name}` would have to run on an event loop that is closed; create or load the execution on another loop"
        ) from None
    try:
        with waiting_inside_engine():
            return future.result() if chunk is None else chunk.wait(future, here=here)
    except BaseException:
        future.cancel()
        raise


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread; None if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def on_a_loop() -> bool:
    """Whether an event loop runs in this thread."""
    return running_loop() is not None


def require_wanted() -> None:
    """Raise `UsageError` in the thread of a sync chunk that has timed out or was cancelled."""
    chunk = current_call()
    if chunk is not None:
        chunk.require_wanted()


def note_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Note that an execution lives on this event loop from now on."""
    global _latest
    if _latest is None or loop is not _latest():
        _latest = ref(loop)
        _known.add(loop)


def is_foreign(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this event loop belongs to the process that this one was forked from: it does not run in this process."""
    return _forked and loop in _foreign


def iterate_sync(make: Callable[[], Any], name: str, loop: asyncio.AbstractEventLoop | None = None) -> Iterator[Any]:
    """The items of an async iterator, for a thread without a running loop. Its producer continues between two items."""

    async def start() -> Any:
        return make()

    async def step() -> tuple[bool, Any]:
        try:
            return True, await anext(items)
        except StopAsyncIteration:
            return False, None

    items = run_sync(start, name, loop)
    try:
        while True:
            more, item = run_sync(step, name, loop)
            if not more:
                return
            yield item
    finally:
        with suppress(UsageError):  # a closed loop, or the end of the process, has closed the iterator already
            run_sync(items.aclose, name, loop)


def sync_method(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], of: str
) -> Callable[Concatenate[Any, P], T]:
    """The sync twin of a coroutine method, for a class that keeps the async object in its attribute `of`."""
    name = method.__name__

    @wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run_sync(lambda: getattr(getattr(self, of), name)(*args, **kwargs), f"{of}.{name}")

    return call


def sync_iterator(
    method: Callable[Concatenate[Any, P], AsyncIterator[T]], of: str
) -> Callable[Concatenate[Any, P], Iterator[T]]:
    """As `sync_method`, for a method that returns an async iterator."""
    name = method.__name__

    @wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return iterate_sync(lambda: getattr(getattr(self, of), name)(*args, **kwargs), f"{of}.{name}")

    return call


def _background() -> asyncio.AbstractEventLoop:
    global _loop, _thread
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_serve, args=(_loop,), name="triggerflow-sync", daemon=True)
            _thread.start()
            note_loop(_loop)
        return _loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _stop() -> None:
    """At the end of the process: wait for sync chunks, which may need the loop; then cancel the tasks of the loop."""
    finish()
    loop, thread = _loop, _thread
    if loop is None or thread is None:
        return

    async def cancel_all() -> None:
        for _ in range(10):  # a sync chunk may have returned just now: let its execution end and wake its callers
            await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for _ in range(2):  # the second cancellation abandons the chunks whose thread does not end
            for task in tasks:
                task.cancel()
            if tasks:
                _, tasks = await asyncio.wait(tasks, timeout=STOP_SECONDS / 2)

    with suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(cancel_all(), loop).result(timeout=2 * STOP_SECONDS)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=STOP_SECONDS)
    if not thread.is_alive():
        loop.close()


def _after_fork() -> None:
    """In the child process of a fork: forget the background loop and all other loops, which run only in the parent."""
    global _lock, _loop, _thread, _latest, _forked
    if _loop is not None:
        _inherited.append(_loop)
    _lock, _loop, _thread, _latest, _forked = threading.Lock(), None, None, None, True
    _foreign.update(_known)
    _known.clear()


atexit.register(_stop)
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
