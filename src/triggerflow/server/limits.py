"""What strangers can ask of a server at most."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what a server takes and keeps. Sizes are bytes, times are seconds.

    What exceeds a size is answered with 413 or 414, what exceeds a number with 503.
    """

    #: the body of a request, and its path with the query
    body: int = 4 * 1024 * 1024
    target: int = 32 * 1024
    #: in how long a body has to arrive
    body_time: float = 30.0
    #: calls that are answered at the same time, without streams; and open streams and files
    calls: int = 2000
    streams: int = 5000
    #: a reader that takes nothing for so long is cut off; and how long a stream lives before its reader has to connect
    #: again (with the id of its last event), so that no connection is older than its access
    send_time: float = 30.0
    stream_time: float = 3600.0
    #: a call that waits for the end of an execution is answered after so long, whatever it has asked for
    wait: float = 300.0
    #: after so long without an event a comment is sent
    heartbeat: float = 15.0
    #: how much is sent at a time, or is on a page of frames or items: at least one of them, and no more once there is
    #: as much
    piece: int = 256 * 1024
    page: int = 8 * 1024 * 1024
    #: how much of the newest events of one execution is kept for its readers
    kept: int = 4 * 1024 * 1024
