"""The methods of a backend for scripts without asyncio."""

from ..backend import Backend
from ..run.portal import sync_iterator, sync_method


class SyncBackend:
    """A `Backend` for scripts without asyncio: `client.sync`. Its methods are those of `Backend`, without `await`.

    Raises `BlockingCallError` inside a running event loop.
    """

    def __init__(self, backend: Backend) -> None:
        #: the async methods that this object calls
        self.backend = backend

    flows = sync_method(Backend.flows, "backend")
    contract = sync_method(Backend.contract, "backend")
    drawing = sync_method(Backend.drawing, "backend")
    executions = sync_method(Backend.executions, "backend")
    counts = sync_method(Backend.counts, "backend")
    questions = sync_method(Backend.questions, "backend")
    changes = sync_method(Backend.changes, "backend")
    get = sync_method(Backend.get, "backend")
    frames = sync_iterator(Backend.frames, "backend")
    stream = sync_iterator(Backend.stream, "backend")
    state_at = sync_method(Backend.state_at, "backend")
    result = sync_method(Backend.result, "backend")
    diff = sync_method(Backend.diff, "backend")
    export = sync_iterator(Backend.export, "backend")
    start = sync_method(Backend.start, "backend")
    act = sync_method(Backend.act, "backend")
    fork = sync_method(Backend.fork, "backend")
