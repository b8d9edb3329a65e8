"""`Server`: serves an application with uvicorn, and ends open streams when it stops."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterable, MutableMapping
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import uvicorn

from ..errors import UsageError
from ..wire.hosts import is_loopback
from .app import App

#: How many seconds a client has to send the head of a request.
HEAD_SECONDS = 30.0


class Server(uvicorn.Server):
    """Serves an application over HTTP until SIGTERM or SIGINT: `Server(app).run()`, or `await Server(app).serve()`.

    When it stops, it accepts no more connections, ends all streams with an event after which readers connect to another
    server, waits up to `grace` seconds for calls to end, and closes the remaining connections. `app` may be an
    application of your own, in which the `apps` of `create_app` are mounted. `on_start` is called with the URL once the
    server listens; with `port` 0 the system chooses a port. `options` are those of `uvicorn.Config`.

    Raises `UsageError` if other machines can reach `host` and one of the applications has no `auth`, unless
    `open_to_all`.
    """

    def __init__(
        self,
        app: Any,
        *,
        apps: Iterable[App] = (),
        host: str = "127.0.0.1",
        port: int = 8099,
        grace: float = 1.0,
        open_to_all: bool = False,
        on_start: Callable[[str], object] | None = None,
        **options: Any,
    ) -> None:
        self._apps = [*apps, *([app] if isinstance(app, App) else [])]
        if not self._apps:
            raise UsageError("Server needs an application of create_app: Server(own, apps=[mounted])")
        if not open_to_all and not is_loopback(host) and any(it.gate.is_open for it in self._apps):
            raise UsageError(
                f"on {host!r} other machines can reach the server, and everybody may start and change executions; "
                "give create_app(auth=...) tokens, or listen on 127.0.0.1"
            )
        self._grace = grace
        self._on_start = on_start
        #: since when each connection waits for a whole request (loop time)
        self._idle: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        defaults: dict[str, Any] = {
            "access_log": False, "log_level": "warning", "timeout_graceful_shutdown": 10, "ws": "none",
            "server_header": False, "proxy_headers": False, "lifespan": "on", "loop": "asyncio",
        }  # fmt: skip
        super().__init__(uvicorn.Config(app, host=host, port=port, **{**defaults, **options}))
        for it in self._apps:
            it.streams.abort = self._abort

    @property
    def url(self) -> str:
        """The URL of the server, once it has started."""
        host, port = self._listeners()[0].getsockname()[:2]
        scheme = "https" if self.config.is_ssl else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def _listeners(self) -> list[socket.socket]:
        return [it for server in self.servers for it in server.sockets]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop after a signal; after a second SIGINT without waiting. Unlike in uvicorn the signal is not raised again
        afterwards, since that would end the process before the caller of `serve` has closed the store."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the sockets; called by `serve`."""
        await super().startup(sockets)
        if self.started and self._on_start is not None:
            self._on_start(self.url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, end streams and calls, and close the connections; called by `serve`."""
        for server in self.servers:
            server.close()
        await asyncio.gather(*(it.stop(self._grace) for it in self._apps))
        closing = asyncio.get_running_loop().call_later(0.5, self._close_all)
        try:
            await super().shutdown(sockets)
        finally:
            closing.cancel()

    async def on_tick(self, counter: int) -> bool:
        """Close connections that have waited too long for a whole request; called by `serve`, ten times a second."""
        if counter % 50 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if not _waits(connection):
                    self._idle.pop(connection, None)
                elif now - self._idle.setdefault(connection, now) > HEAD_SECONDS:
                    connection.transport.abort()
        return await super().on_tick(counter)

    def _close_all(self) -> None:
        """Close connections whose clients accept no data, so that the shutdown does not wait for them."""
        for connection in list(self.server_state.connections):
            if _waits(connection) or connection.transport.is_closing():
                connection.transport.abort()

    def _abort(self, scope: MutableMapping[str, Any]) -> None:
        for connection in self.server_state.connections:
            if getattr(connection, "client", None) == scope.get("client") is not None:
                connection.transport.abort()


def _waits(connection: Any) -> bool:
    """Whether a connection waits for a request, or for the rest of its head."""
    cycle = getattr(connection, "cycle", None)
    return cycle is None or cycle.response_complete
