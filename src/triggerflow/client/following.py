"""Streams of numbered events that resume after a broken connection, without gaps or duplicates."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

import msgspec

from ..backend import BadRequest, Frame
from ..backend.frames import MOMENT
from ..errors import StoreError
from ..wire import Event, Problem, Route
from ..wire.events import END, ERROR, RESYNC
from ..wire.problems import error_of_problem
from .transport import Broken, Call, Retries, Transport

T = TypeVar("T")


class Resync(msgspec.Struct):
    """The data of an event `resync`."""

    after: Any


class Numbered(NamedTuple, Generic[T]):
    """A kind of numbered entries of an execution, and the request for them."""

    event: str
    shape: type[T]
    #: their name in the JSON page and in messages
    name: str
    route: Route
    parts: Mapping[str, str]
    query: Sequence[tuple[str, str]] = ()
    #: whether each number is one more than the one before
    in_row: bool = True

    def out_of_order(self, url: str, number: int, after: int) -> StoreError:
        """The error for a server that sends another number than the next one."""
        return StoreError(f"{url} gives number {number} of the {self.name} after number {after}")


async def follow(transport: Transport, numbered: Numbered[T], after: int) -> AsyncGenerator[T]:
    """Yield the entries after a number, and each new one, until the server sends `end`. Raises `BadRequest` if the
    execution has fewer entries."""
    retries = Retries(transport)
    number, loop = after, asyncio.get_running_loop()
    while True:
        url, opened = transport.url, loop.time()
        call = Call(numbered.route, numbered.parts, [*numbered.query, ("after", str(number))])
        try:
            async with aclosing(transport.events(url, call)) as batches:
                async for events in batches:
                    for event in events:
                        if event.event == numbered.event:
                            entry: Any = read(url, event, numbered.shape)
                            if entry.number <= number:  # the server repeats what the client has
                                continue
                            if numbered.in_row and entry.number != number + 1 and not _stands_for_all(entry):
                                raise numbered.out_of_order(url, entry.number, number)
                            number = entry.number
                            retries.succeeded()
                            yield entry
                        elif event.event == END:
                            return
                        elif event.event == RESYNC:
                            raise BadRequest(f"there are fewer than {number} {numbered.name} of this execution")
                        elif event.event == ERROR:
                            raise_problem(url, event)
        except Broken as broken:
            await retries.pause(url, broken, opened=opened)


def _stands_for_all(entry: Any) -> bool:
    """Whether this is a frame with the whole state, which replaces all frames before it."""
    return isinstance(entry, Frame) and entry.kind == MOMENT


def read(url: str, event: Event, shape: type[T]) -> T:
    """Decode the data of an event. Raises `StoreError`."""
    try:
        return msgspec.json.decode(event.data, type=shape)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise StoreError(f"{url} sends an event {event.event[:50]!r} whose data is not the JSON of that") from None


def raise_problem(url: str, event: Event) -> NoReturn:
    """Raise the exception of an event `error`; `Broken` if the client may connect again."""
    problem = read(url, event, Problem)
    error = error_of_problem(problem)
    raise Broken(str(error), error) if problem.again else error
