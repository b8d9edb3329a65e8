"""Instant dispatch: fields of a model's answer become signals, or items of a for_each, while the model is writing.

A field goes out when it is complete and has its own type, so its value does not change any more. But the answer as a
whole may still fail: it may be cut off, not fit its description, or be replaced by a retry. Therefore what goes out is
provisional until the answer is valid. Then it is confirmed. Otherwise it is retracted: all that it started is
cancelled.

Two ways lead out of a chunk: `emit_fields` emits signals, and `give_items` gives items to the for_each blocks that
follow the chunk, if it returns `FieldItems`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .._core import events
from .._core.early_items import FOR_EACH, undecided
from .._core.errors import ExecutionClosed
from .._core.signals import FieldPlace
from .._core.state import RunChunk
from . import ingress

if TYPE_CHECKING:
    from .attempts import Attempt
    from .runtime import ExecutionRuntime


class Field(NamedTuple):
    """A completed field of a model's answer: its value has the type that the answer's description says."""

    place: FieldPlace
    value: Any
    path: str
    """The path by which it was followed."""


class Withdrawn(NamedTuple):
    """All fields before this are void, and those of the next attempt follow."""

    attempt: int
    """The number of the attempt that follows, from 1."""
    reason: str
    """What was wrong."""


class FieldItems:
    """Base class of what a chunk returns to give fields to the for_each blocks that follow it; see `models.Fields`."""

    __slots__ = ()

    def follow(self, now: Callable[[Field], bool] | None = None) -> AsyncGenerator[Field | Withdrawn, None]:
        """Yield the fields of the answer in the order in which they are completed. Raises the errors of the answer.
        `now`: see `FieldSource.follow_fields`."""
        raise NotImplementedError

    def item(self, field: Field) -> Any:
        """What the for_each gets for a field."""
        raise NotImplementedError


class FieldSource(Protocol):
    """The methods of a model's response that `emit_fields` uses; see `models.Response`."""

    def follow_fields(
        self, paths: Iterable[str], now: Callable[[Field], bool] | None = None
    ) -> AsyncGenerator[Field | Withdrawn, None]:
        """The completed fields at these paths. Raises `ResponseUsageError` for a path that the described answer can
        never have. While the reader waits, `now` is called with a field; it returns whether it has taken the field."""
        ...

    def answer_of_fields(self, paths: Iterable[str]) -> Awaitable[Any]:
        """The answer of which these are the paths, once it has ended and is valid."""
        ...


class Emitter(Protocol):
    """The methods of `FieldSignals` that `emit_fields` uses."""

    def emit(self, name: str, value: Any, field: FieldPlace) -> Awaitable[int]:
        """Emit a provisional signal; return its number."""
        ...

    def emit_now(self, name: str, value: Any, field: FieldPlace) -> int | None:
        """Emit a provisional signal without waiting; return its number, or None if that needs `emit`."""
        ...

    async def confirm(self, number: int) -> None:
        """Make a provisional signal final."""
        ...

    async def retract(self, number: int, reason: str) -> None:
        """Retract a provisional signal, and cancel all that it started."""
        ...

    async def stopped(self, numbers: Sequence[int]) -> None:
        """Wait until what these retracted signals had started has stopped."""
        ...


class FieldSignals:
    """The signals that a run emits for fields."""

    def __init__(self, runtime: ExecutionRuntime, run: RunChunk, repeated: Attempt | None) -> None:
        self._of = runtime, run, repeated

    def emit(self, name: str, value: Any, field: FieldPlace) -> Awaitable[int]:
        """Emit a provisional signal; return its number."""
        runtime, run, repeated = self._of
        return ingress.emit(runtime, name, value, run, repeated, provisional=True, field=field)

    def emit_now(self, name: str, value: Any, field: FieldPlace) -> int | None:
        """Emit a provisional signal without waiting; return its number, or None if that needs `emit`."""
        runtime, run, repeated = self._of
        if repeated is not None or not ingress.is_here(runtime):
            return None
        number = ingress.emit_field(runtime, name, value, run, field)
        _hurry(runtime)
        return number

    async def confirm(self, number: int) -> None:
        """Make a provisional signal final."""
        await ingress.here_or_carried(self._of[0], lambda: ingress.confirm(*self._of, number))

    async def retract(self, number: int, reason: str) -> None:
        """Retract a provisional signal, and cancel all that it started."""
        await ingress.here_or_carried(self._of[0], lambda: ingress.retract(*self._of, number, reason))

    async def stopped(self, numbers: Sequence[int]) -> None:
        """Wait until what these retracted signals had started has stopped."""
        runtime, run, _ = self._of
        if ingress.is_here(runtime):
            await ingress.stopped(runtime, run, numbers)
        else:
            await ingress.carry(runtime, lambda: ingress.stopped(runtime, run, numbers))


async def emit_fields(emitter: Emitter, response: FieldSource, fields: Mapping[str, str]) -> Any:
    """Emit a signal for each completed field of a response; return its data once it has ended and is valid.

    `fields` maps paths to signal names: `{"queries[*]": "query_ready", "title": "title_ready"}`. A path names one field
    (`queries[0]`), or all fields that differ only in their indexes (`queries[*]`), in the response's path style. Each
    field gives one signal with the field's value, in the order in which the fields are completed. If both kinds of path
    match a field, the path of the one field is used. Where the response has a description, the value is converted to
    the type that the description has at this path; a value of another type is never emitted, and the model is asked
    again at once.

    Raises `ResponseUsageError`, before any signal is emitted, for a path that the described answer can never have. An
    error of the response is raised after all its signals were retracted; see `triggerflow.models`.
    """
    sent: list[int] = []

    def at_once(field: Field) -> bool:
        number = emitter.emit_now(fields[field.path], field.value, field.place)
        if number is not None:
            sent.append(number)
        return number is not None

    try:
        async with aclosing(response.follow_fields(fields, at_once)) as found:
            async for it in found:
                if isinstance(it, Withdrawn):
                    await _retract(emitter, sent, dropped(it))
                else:
                    sent.append(await emitter.emit(fields[it.path], it.value, it.place))
        answer = await response.answer_of_fields(fields)
    except Exception as error:
        await _retract(emitter, sent, failed(error))
        raise
    except BaseException as error:  # a cancelled chunk retracts its signals, too, and waits for nothing
        await _retract(emitter, sent, failed(error), waits=False)
        raise
    for number in sent:
        await emitter.confirm(number)
    return answer


async def _retract(emitter: Emitter, sent: list[int], reason: str, *, waits: bool = True) -> None:
    """Retract signals. What comes next, another answer or an error route, begins after the clean-up of their work."""
    numbers = sent[::-1]
    sent.clear()
    for number in numbers:
        await emitter.retract(number, reason)
    if waits and numbers:
        await emitter.stopped(numbers)


async def give_items(runtime: ExecutionRuntime, run: RunChunk, fields: FieldItems) -> list[Any]:
    """Give the fields that a chunk has returned to the for_each blocks that follow it, each as soon as it is complete.

    Returns the list of them, which is the value of the chunk. If the response fails, or the chunk is cancelled, the
    blocks and all that their items have started are taken back, and the error is raised. If the answer is replaced by
    a retry, the blocks begin anew with the fields of the next answer.
    """
    feeds = any(node.kind is FOR_EACH for node in run.node.next)
    given: list[Any] = []

    def give(items: list[Any], places: list[FieldPlace | None]) -> None:
        if feeds:
            ingress.submit(runtime, events.ItemsGiven(runtime.environment.now(), run.id, items, places))
            _hurry(runtime)

    def take(field: Field) -> bool:
        item = fields.item(field)
        given.append(item)
        give([item], [field.place])
        return True

    try:
        async with aclosing(fields.follow(take)) as found:
            async for it in found:
                if isinstance(it, Withdrawn):
                    given.clear()
                    await ingress.stopped(runtime, run, take_back(runtime, run, dropped(it)))
                else:
                    take(it)
        if not given:
            give([], [])  # the blocks have no items, and end with an empty list
    except Exception as error:
        await ingress.stopped(runtime, run, take_back(runtime, run, failed(error)))
        raise
    except BaseException as error:  # a cancelled chunk waits for nothing
        take_back(runtime, run, failed(error))
        raise
    return given


def _hurry(runtime: ExecutionRuntime) -> None:
    """Start the work on a field at once: the task that reads the answer waits for the model next."""
    if runtime.driver is not None:
        runtime.driver.hurry()


def take_back(runtime: ExecutionRuntime, run: RunChunk, reason: str) -> list[int]:
    """Retract all that a run has dispatched for fields and not confirmed yet. Returns the numbers of the signals."""
    signals = undecided(runtime.machine.state, run)
    with suppress(ExecutionClosed):
        for signal in signals:
            ingress.retract(runtime, run, None, signal, reason)
    return signals


def dropped(withdrawn: Withdrawn) -> str:
    """The reason of a retraction: the answer was dropped, and another one follows."""
    why = f" ({withdrawn.reason})" if withdrawn.reason else ""
    return f"the model's answer was dropped{why}; attempt {withdrawn.attempt} follows"


def failed(error: BaseException) -> str:
    """The reason of a retraction: no answer follows."""
    if isinstance(error, asyncio.CancelledError):
        return "the chunk that reads the model's answer was cancelled" + (f": {error}" if error.args else "")
    said = str(error)
    if not said or isinstance(error, LookupError):  # the text of a KeyError is the key alone
        said = f"{type(error).__name__}: {said}".removesuffix(": ")
    return f"the model's answer failed: {said}"
