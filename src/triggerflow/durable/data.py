"""What a chunk of a durable execution receives."""

from typing import Any

from .._core.state import RunChunk
from ..run.data import TriggerFlowRuntimeData
from .driver import Log


class DurableRuntimeData(TriggerFlowRuntimeData):
    """`TriggerFlowRuntimeData` whose stream does not run away from the disk."""

    __slots__ = ("_log",)

    def __init__(self, execution: Any, run: RunChunk, log: Log) -> None:
        super().__init__(execution, run)
        self._log = log

    async def async_put_into_stream(self, stream_item: Any) -> None:
        """Put an item into the runtime stream. It does not wait for the disk, unless very many records do."""
        await super().async_put_into_stream(stream_item)
        if self._log.crowded:
            await self._log.on_disk()
