"""Instant parsing: structured events from a model's answer while it is still being written.

`InstantParser` reads one response; an `EventLog` lets any number of consumers follow what it found, from the beginning.
"""

from .errors import ParserFinishedError, Problem
from .events import DeltaEvent, DoneEvent, Event, EventType, Kind, ResetEvent, TruncatedEvent
from .log import EventLog
from .parser import InstantParser

__all__ = [
    "DeltaEvent",
    "DoneEvent",
    "Event",
    "EventLog",
    "EventType",
    "InstantParser",
    "Kind",
    "ParserFinishedError",
    "Problem",
    "ResetEvent",
    "TruncatedEvent",
]
