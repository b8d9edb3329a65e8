"""What the tests of the instant parser share: running it, and a consumer that checks the laws of its event stream."""

from collections.abc import Iterable
from typing import Any

from triggerflow.models.instant import Event, InstantParser

Keys = tuple[str | int, ...]


def pieces(text: str, size: int) -> list[str]:
    """The text in deltas of this many characters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def same(a: Any, b: Any) -> bool:
    """Equal in type as well: 1, 1.0 and True are different answers."""
    return repr(a) == repr(b)


class Follower:
    """A consumer that checks the laws of the event stream while it reads."""

    def __init__(self) -> None:
        self.attempt = 1
        self.feeds = 0
        self.start()

    def start(self) -> None:
        self.texts: dict[Keys, str] = {}
        self.done: dict[Keys, Event] = {}
        self.seen: dict[Keys, str] = {}
        self.feed_of: dict[Keys, int] = {}

    def take(self, events: list[Event]) -> None:
        for event in events:
            if event.event_type == "reset":
                assert event.attempt == self.attempt + 1
                self.attempt += 1
                self.start()
                continue
            keys = event.keys
            assert event.attempt == self.attempt
            assert keys not in self.done, f"{keys} was done already"
            assert keys[:-1] not in self.done, f"{keys} after its container was done"
            if event.event_type == "delta":
                assert event.delta
                self.texts[keys] = self.texts.get(keys, "") + event.delta
                assert event.value == self.texts[keys]
                continue
            assert event.is_complete is not event.truncated
            self.done[keys] = event
            self.seen[keys] = repr(event.value)
            self.feed_of[keys] = self.feeds
            if event.kind == "string":
                assert self.texts.get(keys, "") == event.value
            else:
                assert keys not in self.texts
        self.feeds += 1

    def end(self, whole: Any) -> None:
        """After the last event: nothing that was reported has changed since, and it is what the whole consists of."""
        for keys, event in self.done.items():
            assert self.seen[keys] == repr(event.value)
            part = whole
            for key in keys:
                part = part[key]
            assert same(part, event.value)
        assert not self.texts.keys() - self.done.keys(), "a string that gained text was never ended"


def follow(deltas: Iterable[str], **options: Any) -> tuple[InstantParser, Follower]:
    parser, follower = InstantParser(**options), Follower()
    for delta in deltas:
        follower.take(parser.feed(delta))
    follower.take(parser.finish("stop"))
    follower.end(parser.value)
    return parser, follower


def every_cut(text: str, **options: Any) -> tuple[InstantParser, Follower]:
    """Parse the text whole, in pairs and in threes, and by character; the outcome must be the same each time."""
    results = [follow(pieces(text, size), **options) for size in (len(text), 3, 2, 1)]
    outcomes = [
        (
            [(keys, event.is_complete, repr(event.value)) for keys, event in follower.done.items()],
            repr(parser.value),
            [(problem.offset, problem.message) for problem in parser.problems],
        )
        for parser, follower in results
    ]
    assert outcomes[1:] == outcomes[:-1]
    return results[-1]
