"""TriggerFlow: async chunks wired by signals, observed through a runtime stream.

Start at `TriggerFlow`; what a chunk receives is `TriggerFlowRuntimeData`; what a run is held by is `Execution`.
"""

from ._core.definition import Definition, Operator
from ._core.errors import (
    AlreadyStarted,
    BlockingCallError,
    DefinitionError,
    ExecutionCancelled,
    ExecutionClosed,
    NotAChunkError,
    PayloadError,
    ReaderDisconnected,
    SnapshotError,
    StreamError,
    StreamGapError,
    TriggerFlowError,
    UnknownChunkError,
    UsageError,
    WrongLoopError,
)
from .chunk import Chunk
from .data import TriggerFlowRuntimeData
from .execution import Execution
from .flow import TriggerFlow
from .process import Process
from .stream import StreamGap, StreamReader

__version__ = "0.1.0"

__all__ = [
    "AlreadyStarted",
    "BlockingCallError",
    "Chunk",
    "Definition",
    "DefinitionError",
    "Execution",
    "ExecutionCancelled",
    "ExecutionClosed",
    "NotAChunkError",
    "Operator",
    "PayloadError",
    "Process",
    "ReaderDisconnected",
    "SnapshotError",
    "StreamError",
    "StreamGap",
    "StreamGapError",
    "StreamReader",
    "TriggerFlow",
    "TriggerFlowError",
    "TriggerFlowRuntimeData",
    "UnknownChunkError",
    "UsageError",
    "WrongLoopError",
]
