"""The sync bridge: one event loop in a background thread, on which the sync twins run their async originals.

It starts with the first sync call of the process and is stopped at exit. One loop for all calls, because an execution
lives on the loop that started it: `execution.start()` and a later `execution.get_result()` have to meet there.
"""

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from .._core.errors import BlockingCallError, UsageError

T = TypeVar("T")
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def run_sync(call: Callable[[], Coroutine[Any, Any, T]], name: str, loop: asyncio.AbstractEventLoop | None = None) -> T:
    """Run a coroutine to its end from a thread without a running loop.

    `loop` is where it has to run, by default the background loop. Raises `BlockingCallError` inside a running loop,
    where blocking would stop everything else; `name` is the async twin to name then.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        coroutine = call()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop or _background())
        except RuntimeError:
            coroutine.close()
            raise UsageError(f"the event loop on which `{name}` would have to run is closed") from None
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
    raise BlockingCallError(
        f"this blocking call would stop the running event loop until it is done; write `await {name}(...)`"
    )


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def on_a_loop() -> bool:
    """Whether an event loop runs in this thread."""
    return running_loop() is not None


def iterate_sync(make: Callable[[], Any], name: str, loop: asyncio.AbstractEventLoop | None = None) -> Iterator[Any]:
    """The items of an async iterator, from a thread without a running loop. What produces them goes on in between."""

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
        with suppress(UsageError):  # at the end of the program, or of its loop, there is nothing left to leave
            run_sync(items.aclose, name, loop)


def _background() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_serve, args=(_loop,), name="triggerflow-sync", daemon=True)
            thread.start()
            atexit.register(_stop, _loop, thread)
        return _loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    async def cancel_all() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(cancel_all(), loop).result(timeout=10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=10)
    loop.close()
