"""Limits for the requests to a server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a server. Sizes are bytes, times are seconds.

    A request over a size gets 413 or 414, one over a number of calls or streams 503.
    """

    #: the largest body of a request, and the largest path with its query
    body: int = 4 * 1024 * 1024
    target: int = 32 * 1024
    #: in which time a body has to arrive
    body_time: float = 30.0
    #: the most calls at the same time, without streams; and the most open streams and files
    calls: int = 2000
    streams: int = 5000
    #: a reader that accepts no data for so long is disconnected; and a stream is ended after so long: its reader has to
    #: reconnect (with the id of its last event), which checks its token again
    send_time: float = 30.0
    stream_time: float = 3600.0
    #: the longest time that a call waits for the end of an execution, also if it asks for more
    wait: float = 300.0
    #: after so long without an event, a stream gets a comment
    heartbeat: float = 15.0
    #: the size from which events are sent as one piece, and from which a page of frames or items is full; the last
    #: entry may exceed it
    piece: int = 256 * 1024
    page: int = 8 * 1024 * 1024
    #: the size of the newest events of one execution that are kept for its readers
    kept: int = 4 * 1024 * 1024
