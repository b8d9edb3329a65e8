"""Instant dispatch: fields of a model's answer become signals while the model is still writing.

A signal is emitted when its field is complete, so its value does not change any more. But the answer as a whole may
still fail: it may be cut off, not fit the schema, or be replaced by a retry. Therefore the signals are provisional
until the answer is valid. Then they are confirmed. Otherwise they are retracted: all that they started is cancelled.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Protocol


class Emitter(Protocol):
    """The methods of a chunk's `data` that `emit_fields` uses."""

    def async_emit(self, name: str, value: Any = None, *, provisional: bool = False) -> Awaitable[int]:
        """Emit a signal; return its number."""
        ...

    async def async_confirm(self, number: int) -> None:
        """Make a provisional signal final."""
        ...

    async def async_retract(self, number: int, reason: str) -> None:
        """Retract a provisional signal, and cancel all that it started."""
        ...


class FieldSource(Protocol):
    """The methods of a model's response that `emit_fields` uses; see `models.Response`."""

    def check_paths(self, paths: Iterable[str]) -> None:
        """Raise `ResponseUsageError` for a path that the described answer can never have."""
        ...

    def get_async_generator(self, type: Any = "delta") -> AsyncGenerator[Any, None]:
        """The parser events of the answer."""
        ...

    def async_get_data(self) -> Awaitable[Any]:
        """The data of the answer, once it has ended and is valid."""
        ...


async def emit_fields(data: Emitter, response: FieldSource, fields: Mapping[str, str]) -> Any:
    """Emit a signal for each completed field of a response; return its data once it has ended and is valid.

    `fields` maps paths to signal names: `{"queries[*]": "query_ready", "title": "title_ready"}`. A path names one field
    (`queries[0]`), or all fields that differ only in their indexes (`queries[*]`), in the response's path style. Each
    field gives one signal with the field's value, in the order in which the fields are completed. If both kinds of path
    match a field, the path of the one field is used.

    Raises `ResponseUsageError`, before any signal is emitted, for a path that the described answer can never have. An
    error of the response is raised after all its signals were retracted; see `triggerflow.models`.
    """
    response.check_paths(fields)
    sent: list[int] = []
    try:
        async with aclosing(response.get_async_generator("instant")) as events:
            async for event in events:
                if event.event_type == "reset":
                    why = f" ({event.reason})" if event.reason else ""
                    await _retract(data, sent, f"the model's answer was dropped{why}; attempt {event.attempt} follows")
                elif event.is_complete:
                    name = fields.get(event.path) or fields.get(event.wildcard_path)
                    if name is not None:
                        sent.append(await data.async_emit(name, event.value, provisional=True))
        answer = await response.async_get_data()
    except BaseException as error:  # a cancelled chunk retracts its signals, too
        await _retract(data, sent, _failure(error))
        raise
    for number in sent:
        await data.async_confirm(number)
    return answer


def _failure(error: BaseException) -> str:
    """Why the signals are retracted, for readers of the runtime stream."""
    if isinstance(error, asyncio.CancelledError):
        return "the chunk that reads the model's answer was cancelled" + (f": {error}" if error.args else "")
    return f"the model's answer failed: {str(error) or type(error).__name__}"


async def _retract(data: Emitter, sent: list[int], reason: str) -> None:
    while sent:
        await data.async_retract(sent.pop(), reason)
