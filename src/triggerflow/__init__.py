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
from .build.chain import Process
from .build.chunk import Chunk
from .build.policies import Cache, Retry
from .build.typed import Signal, add, append, extend, maximum, merge, minimum
from .flow import TriggerFlow
from .run.data import TriggerFlowRuntimeData
from .run.execution import Execution
from .run.stream import StreamGap, StreamReader

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
