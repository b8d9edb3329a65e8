"""The views of the log of a response: which items a reader of each type gets.

The log is flat: a delta, then the events that follow from it, and at the end of a valid answer the answer itself. Its
items are few and small, because the garbage collector stops the event loop while it walks the items of all responses.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from ..instant import Event, ResetEvent
from ..shapes import Delta
from .answer import Answer

StreamType = Literal["delta", "instant", "specific", "original", "all"]


class Restart:
    """An item of the log: the items before it are void, and the next attempt follows.

    The parser makes its own `ResetEvent`s when a later JSON of the same attempt replaces an earlier one."""

    __slots__ = ("event",)

    def __init__(self, event: ResetEvent) -> None:
        self.event = event


Item = Delta | Event | Restart | Answer
View = Callable[[Item], Iterable[Any]]


class TextReset(str):
    """An empty string in a stream of text: the text before it is void, and the text of another attempt follows.

    `reason` says why, in short.
    """

    __slots__ = ("attempt", "reason")

    attempt: int
    reason: str

    def __new__(cls, attempt: int, reason: str = "") -> "TextReset":
        """Make the empty string; `attempt` is the number of the attempt that follows."""
        mark = super().__new__(cls)
        mark.attempt = attempt
        mark.reason = reason
        return mark


def view(type: StreamType, specific: str | Sequence[str]) -> View:
    """Return a function that turns an item of the log into the items of this view.

    Raises `ValueError` for an unknown type or name."""
    if type == "specific":
        names = {specific} if isinstance(specific, str) else {*specific}
        unknown = names - _PAIRS
        if unknown:
            raise ValueError(f"specific={sorted(unknown)}: there is no such part; write any of {sorted(_PAIRS)}")
        wanted = {*names, "reset"}
        return lambda item: (pair for pair in _pairs(item) if pair[0] in wanted)
    views: dict[str, View] = {"delta": _texts, "instant": _events, "original": _originals, "all": _pairs}
    if type not in views:
        raise ValueError(f"type={type!r}: there is no such view; write one of {[*views, 'specific']}")
    return views[type]


_PAIRS = {
    *("original_delta", "delta", "reasoning_delta", "refusal_delta", "tool_calls"),
    *("reasoning_done", "done", "meta", "reset"),
}


def _events(item: Item) -> Iterable[Event]:
    if isinstance(item, Restart):
        return (item.event,)
    return (item,) if isinstance(item, Event) else ()


def _texts(item: Item) -> Iterable[str]:
    if isinstance(item, Restart):
        return (TextReset(item.event.attempt, item.event.reason),)
    return (item.text,) if isinstance(item, Delta) and item.text else ()


def _originals(item: Item) -> Iterable[Any]:
    if isinstance(item, Restart):
        return (item.event,)
    return (item.raw,) if isinstance(item, Delta) and item.raw is not None else ()


def _pairs(item: Item) -> Iterator[tuple[str, Any]]:
    if isinstance(item, Restart):
        yield "reset", item.event.attempt
    elif isinstance(item, Delta):
        if item.raw is not None:
            yield "original_delta", item.raw
        if item.reasoning:
            yield "reasoning_delta", item.reasoning
        if item.text:
            yield "delta", item.text
        if item.refusal:
            yield "refusal_delta", item.refusal
        if item.tool_calls:
            yield "tool_calls", item.tool_calls
    elif isinstance(item, Answer):
        if item.reasoning:
            yield "reasoning_done", item.reasoning
        yield "done", item.text
        yield "meta", item.meta
