"""`Client`: flows and executions that other processes run, with the method names that they have in process."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from ..backend import Backend
from ..run.portal import run_sync
from .execution import RemoteExecution
from .flow import RemoteFlow
from .http import HTTPBackend
from .sync import SyncBackend


class Client:
    """Starts, finds and reads executions over a backend. `server`: the address of a server, several addresses of
    servers over the same store, or any `Backend`.

        async with Client("https://flows.example.com", token=token) as client:
            execution = await client.flow("report").async_submit("sails", id="report-1")
            async for item in execution.get_async_runtime_stream():
                print(item)
            print(await execution.async_get_result())

    In a script write `with`, and the names without `async_`. `token` and `options` are those of `HTTPBackend`; with a
    backend there are none, and closing the client does not close it.
    """

    def __init__(self, server: str | Sequence[str] | Backend, **options: Any) -> None:
        addresses = isinstance(server, str | list | tuple)
        if not addresses and options:
            raise TypeError(f"Client(backend) takes no options, got {sorted(options)}; the backend has its own")
        self._own = HTTPBackend(server, **options) if addresses else None
        #: the backend behind this client: lists, frames, questions, and more
        self.backend: Backend = server if self._own is None else self._own  # pyright: ignore[reportAttributeAccessIssue]

    def __repr__(self) -> str:
        return f"<Client of {self.backend!r}>"

    @property
    def sync(self) -> SyncBackend:
        """The methods of the backend for scripts."""
        return SyncBackend(self.backend)

    def flow(self, name: str) -> RemoteFlow:
        """A flow by its name. No request is sent before one of its methods is called."""
        return RemoteFlow(self.backend, name)

    async def async_attach(self, id: str) -> RemoteExecution:
        """A handle of an execution of any flow. Raises `UnknownExecution`."""
        info = await self.backend.get(id)
        return RemoteExecution(self.backend, info.id, flow=info.flow)

    def attach(self, id: str) -> RemoteExecution:
        """The sync twin of `async_attach`."""
        return run_sync(lambda: self.async_attach(id), "client.async_attach")

    async def async_close(self) -> None:
        """Close the connections that the running event loop has. A backend that was passed in stays open."""
        if self._own is not None:
            await self._own.aclose()

    def close(self) -> None:
        """The sync twin of `async_close`."""
        run_sync(self.async_close, "client.async_close")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.async_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
