"""Instant dispatch: fields of a model's answer become signals while the model is still writing.

A signal goes out when the closing boundary of its field was seen, so its value does not change any more. Yet the
answer as a whole may turn out to be none: cut off, of another schema, or replaced by a retry. Therefore signals are
provisional until the answer is known to be valid; then they are confirmed, or taken back with all that they started.
"""

from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Protocol


class Emitter(Protocol):
    """What emitting fields needs of a chunk's `data`."""

    def async_emit(self, name: str, value: Any = None, *, provisional: bool = False) -> Awaitable[int]:
        """Emit a signal; return its number."""
        ...

    async def async_confirm(self, number: int) -> None:
        """Let a provisional signal stand."""
        ...

    async def async_retract(self, number: int, reason: str) -> None:
        """Take a provisional signal back, with what it started."""
        ...


class FieldSource(Protocol):
    """What emitting fields needs of a model's response; see `models.Response`."""

    def check_paths(self, paths: Iterable[str]) -> None:
        """Raise `ResponseUsageError` for a path that the described answer can never have."""
        ...

    def get_async_generator(self, type: Any = "delta") -> AsyncGenerator[Any, None]:
        """The events of the answer."""
        ...

    def async_get_data(self) -> Awaitable[Any]:
        """The data of the answer, once it has ended and is valid."""
        ...


async def emit_fields(data: Emitter, response: FieldSource, fields: Mapping[str, str]) -> Any:
    """Emit a signal for each completed field of a response; return its data once it has ended and is valid.

    `fields` maps paths to signal names: `{"queries[*]": "query_ready", "title": "title_ready"}`. A path is that of one
    place (`queries[0]`) or of all that differ in their indexes (`queries[*]`), in the response's path style. Each place
    gives one signal, whose value is the field's value, in the order in which the fields are completed; where both kinds
    of path meet, that of the one place counts.

    Raises `ResponseUsageError`, before anything is sent, for a path that the described answer can never have; and what
    the response ends with, after it has retracted every signal of it, see `triggerflow.models`.
    """
    response.check_paths(fields)
    sent: list[int] = []
    try:
        async with aclosing(response.get_async_generator("instant")) as events:
            async for event in events:
                if event.event_type == "reset":
                    await _retract(data, sent, f"the model's answer was abandoned; attempt {event.attempt} follows")
                elif event.is_complete:
                    name = fields.get(event.path) or fields.get(event.wildcard_path)
                    if name is not None:
                        sent.append(await data.async_emit(name, event.value, provisional=True))
        answer = await response.async_get_data()
    except BaseException as error:  # a cancelled chunk takes its signals back as well
        await _retract(data, sent, f"the model's answer failed: {error or type(error).__name__}")
        raise
    for number in sent:
        await data.async_confirm(number)
    return answer


async def _retract(data: Emitter, sent: list[int], reason: str) -> None:
    while sent:
        await data.async_retract(sent.pop(), reason)
