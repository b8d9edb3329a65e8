"""What the bridge's tests share."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from agently import Agently


async def ident(data: Any) -> Any:
    return data.value


async def inc(data: Any) -> Any:
    return data.value + 1


async def double(data: Any) -> Any:
    return data.value * 2


async def boom(data: Any) -> Any:
    raise RuntimeError("boom")


def noting(seen: list[Any], get: Callable[[Any], Any] = lambda data: data.value) -> Any:
    """A chunk that notes what it was given and passes it on."""

    async def note(data: Any) -> Any:
        seen.append(get(data))
        return data.value

    return note


def after(seconds: float, value: Any = None) -> Any:
    """A chunk that takes its time."""

    async def wait(data: Any) -> Any:
        await asyncio.sleep(seconds)
        return data.value if value is None else value

    return wait


async def items_of(stream: Any) -> list[Any]:
    return [item async for item in stream]


@contextmanager
def hooked(*types: str) -> Iterator[list[Any]]:
    """The events that happen inside."""
    found: list[Any] = []
    Agently.event_center.register_hook(found.append, event_types=list(types) or None, hook_name="test")
    try:
        yield found
    finally:
        Agently.event_center.unregister_hook("test")
