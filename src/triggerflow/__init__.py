"""TriggerFlow: async chunks wired by signals, observed through a runtime stream.

Start at `TriggerFlow`; what a chunk receives is `TriggerFlowRuntimeData`; what a run is held by is `Execution`.
"""

from ._core.definition import Definition, Operator
from ._core.errors import (
    AlreadyAnswered,
    AlreadyStarted,
    BlockingCallError,
    ChunkCancelled,
    ContractError,
    DefinitionError,
    ExecutionCancelled,
    ExecutionClosed,
    ExecutionLeased,
    ExecutionSuspended,
    InterruptExpired,
    NotAChunkError,
    PayloadError,
    ReaderDisconnected,
    RecordsTrimmed,
    RemoteChunkError,
    SnapshotError,
    StoreConflict,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    StreamError,
    StreamGapError,
    TriggerFlowError,
    UnknownChunkError,
    UnknownExecution,
    UnknownInterrupt,
    UsageError,
    WrongLoopError,
)
from .chunk import Chunk
from .data import TriggerFlowRuntimeData
from .execution import Execution
from .flow import TriggerFlow
from .policies import Cache, Retry
from .process import Process
from .stream import StreamGap, StreamReader
from .typed import Signal, add, append, extend, maximum, merge, minimum

__version__ = "0.1.0"

__all__ = [
    "AlreadyAnswered",
    "AlreadyStarted",
    "BlockingCallError",
    "Cache",
    "Chunk",
    "ChunkCancelled",
    "ContractError",
    "Definition",
    "DefinitionError",
    "Execution",
    "ExecutionCancelled",
    "ExecutionClosed",
    "ExecutionLeased",
    "ExecutionSuspended",
    "InterruptExpired",
    "NotAChunkError",
    "Operator",
    "PayloadError",
    "Process",
    "ReaderDisconnected",
    "RecordsTrimmed",
    "RemoteChunkError",
    "Retry",
    "Signal",
    "SnapshotError",
    "StoreConflict",
    "StoreDamaged",
    "StoreError",
    "StoreUnavailable",
    "StreamError",
    "StreamGap",
    "StreamGapError",
    "StreamReader",
    "TriggerFlow",
    "TriggerFlowError",
    "TriggerFlowRuntimeData",
    "UnknownChunkError",
    "UnknownExecution",
    "UnknownInterrupt",
    "UsageError",
    "WrongLoopError",
    "add",
    "append",
    "extend",
    "maximum",
    "merge",
    "minimum",
]
