"""The protocol between the HTTP server and its clients: the routes, the events of streams, and errors.

See `routes.ROUTES`, `events` and `problems`; docs/guide/serving.md is the description for users.
"""

from .agui import AgentInput, ResumeEntry
from .events import Event, EventDecoder, EventTooLarge, encode_comment, encode_event
from .problems import Busy, NotAllowed, Problem, error_of, problem_of
from .routes import (
    ACTION_ROUTES,
    API,
    ROUTES,
    AccessInfo,
    ForkBody,
    FramesPage,
    Health,
    ItemsPage,
    Query,
    Ready,
    Route,
    StartBody,
    body_of,
    find,
    path_to,
)

__all__ = [
    "ACTION_ROUTES",
    "API",
    "ROUTES",
    "AccessInfo",
    "AgentInput",
    "Busy",
    "Event",
    "EventDecoder",
    "EventTooLarge",
    "ForkBody",
    "FramesPage",
    "Health",
    "ItemsPage",
    "NotAllowed",
    "Problem",
    "Query",
    "Ready",
    "ResumeEntry",
    "Route",
    "StartBody",
    "body_of",
    "encode_comment",
    "encode_event",
    "error_of",
    "find",
    "path_to",
    "problem_of",
]
