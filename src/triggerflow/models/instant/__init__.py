"""Instant parsing: structured events from a model's answer while it is still being written.

`InstantParser` reads one response. What it cannot read with certainty is a `Problem`.
"""

from .errors import ParserFinishedError, Problem
from .events import DeltaEvent, DoneEvent, Event, EventType, Kind, ResetEvent, TruncatedEvent
from .parser import InstantParser

__all__ = [
    "DeltaEvent",
    "DoneEvent",
    "Event",
    "EventType",
    "InstantParser",
    "Kind",
    "ParserFinishedError",
    "Problem",
    "ResetEvent",
    "TruncatedEvent",
]
