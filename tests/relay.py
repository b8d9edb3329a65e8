"""A relay on loopback between a client and a server, which can swallow what passes, or break a connection."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Self


class Relay:
    """Passes bytes on to a port of loopback until a test says otherwise."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        #: what is sent from now on arrives nowhere, and new connections are answered by nobody
        self.swallows = False
        #: called with what a client sends; if it returns True, the server gets it, and the client gets no answer any
        #: more: its connection is closed
        self.breaks: Callable[[bytes], bool] = lambda data: False
        #: called for each connection: after how many bytes from the server it is cut; None: it is not
        self.cuts: Callable[[], int | None] = lambda: None
        #: seconds that the relay takes for each 64 KB which a client sends
        self.slow = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer.transport):
            there, out = await asyncio.open_connection("127.0.0.1", self._target)
            with closing(out.transport):
                back = asyncio.create_task(self._pass_back(there, writer))
                try:
                    if await self._pass(reader, out, lambda data: self.breaks(data), slowed=True):
                        back.cancel()
                        writer.transport.abort()
                        await asyncio.sleep(0.3)  # the server goes on with what it was sent
                except OSError:
                    pass
                finally:
                    back.cancel()
                    await asyncio.wait([back])
                    if not back.cancelled():
                        back.exception()

    async def _pass_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self.cuts()
        if left is None:
            await self._pass(reader, writer, lambda data: False)
            return
        while left > 0 and (data := await reader.read(min(left, 65536))):
            left -= len(data)
            writer.write(data)
            await writer.drain()
        writer.transport.close()  # when what was written has been sent

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        breaks: Callable[[bytes], bool],
        *,
        slowed: bool = False,
    ) -> bool:
        while data := await reader.read(65536):
            if slowed and self.slow:
                await asyncio.sleep(self.slow * len(data) / 65536)
            if self.swallows:
                await asyncio.Event().wait()
            writer.write(data)
            await writer.drain()
            if breaks(data):
                return True
        return False
