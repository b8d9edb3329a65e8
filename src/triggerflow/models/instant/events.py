"""The events of an instant parser: one small object per change; all other properties are computed on demand.

An event is cheap because it only points at a `Node`, its place in the document. Paths, indexes and the text so far are
computed when a consumer reads them. The kinds of event differ in constants only, so that making one stores
as little as possible: there is a `DeltaEvent` for nearly every piece of text that a model sends.
"""

from typing import Any, ClassVar, Literal

from msgspec import Struct

Kind = Literal["string", "number", "boolean", "null", "object", "array"]
EventType = Literal["delta", "done", "reset"]


# gc=False: the garbage collector skips these objects. It stops the event loop while it walks, and a response keeps an
# event for nearly every delta and a node for every value. Skipping is safe because they cannot be part of a cycle: an
# event refers to its node, a node to its parent, its document and its value, a document to values, and values contain
# only JSON data. Nothing refers in the other direction; a new field must not change that.


class Document(Struct, eq=False, gc=False):
    """One candidate for the answer: its value, and what all of its events share."""

    slash: bool
    attempt: int
    value: Any = None
    """The value of the root object or array."""
    complete: bool = False
    finish_reason: str | None = None
    open_string: tuple[Any, str | int, list[str]] | None = None
    """The string that is being written: its container, its key there, and the text so far in pieces."""

    @property
    def data(self) -> Any:
        """The value as far as it has arrived, with the text so far of a string that is still open."""
        if self.open_string is not None:
            container, key, parts = self.open_string
            container[key] = joined(parts)
        return self.value


class Node(Struct, eq=False, gc=False):
    """A place in a document: where it is, what kind of value is there, and the value."""

    document: Document
    parent: "Node | None"
    key: str | int | None
    kind: Kind
    value: Any
    parts: list[str] | None = None
    """Strings only: the text so far in pieces; None once `value` holds it whole."""
    size: int = 0
    """Strings only: the number of characters so far."""
    muted: bool = False
    """Containers only: belongs to the value of a repeated key, which is parsed but never reported."""
    _paths: tuple[str, str] | None = None

    @property
    def paths(self) -> tuple[str, str]:
        """The path and the wildcard path."""
        paths = self._paths
        if paths is None:
            paths = self._paths = self._render()
        return paths

    @property
    def keys(self) -> tuple[str | int, ...]:
        """The keys and indexes from the root to this place."""
        if self.parent is None or self.key is None:
            return ()
        return (*self.parent.keys, self.key)

    def text(self) -> str:
        """The text so far of a string node."""
        return self.value if self.parts is None else joined(self.parts)

    def _render(self) -> tuple[str, str]:
        parent, key = self.parent, self.key
        slash = self.document.slash
        if parent is None:
            return ("/", "/") if slash else ("", "")
        path, wildcard = parent.paths
        if slash:
            if parent.parent is None:
                path = wildcard = ""
            if isinstance(key, int):
                return f"{path}/[{key}]", f"{wildcard}/[*]"
            return f"{path}/{key}", f"{wildcard}/{key}"
        if isinstance(key, int):
            return f"{path}[{key}]", f"{wildcard}[*]"
        dot = "" if parent.parent is None else "."
        return f"{path}{dot}{key}", f"{wildcard}{dot}{key}"


class Event(Struct, frozen=True, eq=False, gc=False):
    """A change at one place of the answer; the subclass is the kind of change.

    Values are the parser's own objects. Those of completed values never change afterwards, because they are closed.
    Treat them as read-only: other consumers hold the same ones.
    """

    node: Node
    """The place in the answer that has changed."""

    event_type: ClassVar[EventType]
    """ "delta", "done" or "reset"."""
    is_complete: ClassVar[bool] = False
    """True only when the closing boundary of the value was seen."""
    truncated: ClassVar[bool] = False
    """True when the text ended, or became unreadable, before the value was closed."""

    @property
    def path(self) -> str:
        """The place: `items[0].title`, `[0].x` in a root list, "" for the root; `/items/[0]/title` in slash style."""
        return self.node.paths[0]

    @property
    def wildcard_path(self) -> str:
        """The path with every index replaced: `items[*].title`."""
        return self.node.paths[1]

    @property
    def keys(self) -> tuple[str | int, ...]:
        """The path as a tuple, unambiguous for keys that contain dots, too: `("items", 0, "title")`."""
        return self.node.keys

    @property
    def indexes(self) -> tuple[int, ...]:
        """The list indexes in the path, outermost first."""
        return tuple([key for key in self.node.keys if isinstance(key, int)])

    @property
    def kind(self) -> Kind:
        """The JSON type of the value."""
        return self.node.kind

    @property
    def delta(self) -> str | None:
        """The characters that a string gained; None except in delta events."""
        return None

    @property
    def value(self) -> Any:
        """The value; in a delta event the text up to and including this delta, joined on first use."""
        return self.node.value

    @property
    def full_data(self) -> Any:
        """The whole answer as far as it is known *now*: the live object, which keeps growing, not a copy."""
        return self.node.document.data

    @property
    def attempt(self) -> int:
        """The number of the answer that this event belongs to, from 1; see `ResetEvent`."""
        return self.node.document.attempt

    @property
    def finish_reason(self) -> str | None:
        """In a truncated event: why the text ended, as given to `finish()`."""
        return None

    def __repr__(self) -> str:
        shown = self.value if self.delta is None else self.delta
        return f"<{type(self).__name__} {self.path!r} {self.kind} {shown!r}>"


class DeltaEvent(Event, frozen=True, eq=False, gc=False):
    """A string gained characters: at most one event per feed, and all deltas joined are the final value."""

    _delta: str
    _end: int

    event_type: ClassVar[EventType] = "delta"

    @property
    def delta(self) -> str:
        """The characters that the string gained, unescaped."""
        return self._delta

    @property
    def value(self) -> str:
        """The text up to and including this delta."""
        return self.node.text()[: self._end]


class DoneEvent(Event, frozen=True, eq=False, gc=False):
    """A value was closed: exactly one event per path, children before parents, in the order of closing."""

    event_type: ClassVar[EventType] = "done"
    is_complete: ClassVar[bool] = True


class TruncatedEvent(Event, frozen=True, eq=False, gc=False):
    """A value was never closed: comes instead of its done event, with the part of the value that has arrived.

    `event_type` is "done", because nothing more comes for this path, but `is_complete` is False.
    """

    event_type: ClassVar[EventType] = "done"
    truncated: ClassVar[bool] = True

    @property
    def finish_reason(self) -> str | None:
        """Why the text ended, as given to `finish()`."""
        return self.node.document.finish_reason


class ResetEvent(Event, frozen=True, eq=False, gc=False):
    """All earlier events are void: their answer is abandoned. `attempt` is the number of the next answer."""

    reason: str = ""
    """Why the answer is abandoned."""

    event_type: ClassVar[EventType] = "reset"

    @classmethod
    def announcing(cls, attempt: int, reason: str = "") -> "ResetEvent":
        """The event that comes before those of answer number `attempt`."""
        return cls(Node(Document(slash=False, attempt=attempt), None, None, "null", None), reason)


def joined(parts: list[str]) -> str:
    """Join the pieces, and replace them in the list by the joined text, so that the next call has less to join."""
    text = "".join(parts)
    parts[:] = [text]
    return text
