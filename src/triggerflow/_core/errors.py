"""All exceptions of the engine. The class says what was wrong.

* `DefinitionError`: the flow is built wrong. Raised while the flow is built, or before the first chunk runs.
* `UsageError`: a call that is not legal now (execution closed, started twice, blocking call inside a running loop).
* `PayloadError`: a value cannot be recorded.
* `StreamError`: a reader asked for stream items that it cannot get.
* `StoreError`: a durable execution could not be read or written. What was stored before is unchanged.
* `ExecutionCancelled`: not an error; the execution was cancelled, and `reason` says why.
* `ProtocolError`, `InternalError`: a driver broke a rule of the core, or the core broke its own. Please report it.

An exception of a chunk is never wrapped: every waiting caller gets the object that was raised.
"""


class TriggerFlowError(Exception):
    """Base class of all exceptions of the engine."""


class DefinitionError(TriggerFlowError, ValueError):
    """The flow is built wrong. The message says where, and what to write instead."""


class UnknownChunkError(DefinitionError, LookupError):
    """No chunk of this flow has this name."""


class NotAChunkError(DefinitionError, TypeError):
    """An argument that has to be a chunk, a condition or a signal is none."""


class OptionError(DefinitionError, TypeError):
    """An unknown option, or an option value of the wrong type."""


class UsageError(TriggerFlowError, RuntimeError):
    """A call that is not legal now."""


class ExecutionClosed(UsageError):
    """The execution has ended, and takes no signals, answers or changes any more."""


class ExecutionSuspended(ExecutionClosed):
    """This process has released a durable execution. It can continue: open it again from its store."""


class AlreadyStarted(UsageError):
    """The execution was started before, with another value."""


class UnknownInterrupt(UsageError, LookupError):
    """There is no interrupt with this id."""


class AlreadyAnswered(UsageError, ValueError):
    """The interrupt was answered before by another request, or was retracted."""


class InterruptExpired(UsageError, ValueError):
    """The time for an answer has passed. A chunk whose interrupt was not answered in time fails with this error."""


class BlockingCallError(UsageError):
    """A blocking call was made inside a running event loop; the message names its async twin."""


class WrongLoopError(UsageError):
    """The execution belongs to another event loop than the one of the caller."""


class PayloadError(TriggerFlowError, TypeError):
    """A value cannot be recorded. The message says where the value is."""


class ContractError(TriggerFlowError, ValueError):
    """A start value, stream item, result, signal, state or answer does not have the type that the flow declares."""


class SnapshotError(TriggerFlowError, ValueError):
    """A snapshot or journal cannot be read: it is damaged, foreign, newer, or of another definition."""


class ExecutionCancelled(TriggerFlowError):
    """The execution was cancelled. `reason` is the text given to `async_cancel`."""

    def __init__(self, reason: str, execution_id: str = "") -> None:
        super().__init__(f"execution {execution_id} was cancelled: {reason}")
        self.reason = reason
        self.execution_id = execution_id


class ChunkCancelled(TriggerFlowError):
    """A chunk raised `CancelledError` and was not cancelled by the engine: something that it awaited was cancelled."""


class RemoteChunkError(TriggerFlowError):
    """A chunk failed in another process. The message has the type and the text of the original exception."""


class StreamError(TriggerFlowError):
    """A reader of the runtime stream asked for items that it cannot get."""


class StreamGapError(StreamError):
    """Items between the position of the reader and the oldest available item were dropped."""


class ReaderDisconnected(StreamError):
    """The reader is further behind than its policy allows."""


class StoreError(TriggerFlowError):
    """A store operation failed. Everything that the store has acknowledged is stored."""


class StoreUnavailable(StoreError, OSError):
    """The store cannot read or write now: disk full, read-only, locked or closed. A later call may succeed."""


class StoreDamaged(StoreError):
    """The store read other data than was written: the file is damaged, foreign or newer."""


class StoreConflict(StoreError):
    """Another process has written to this execution, or the caller does not own it any more."""


class ExecutionLeased(StoreConflict):
    """Another process runs this execution now."""


class UnknownExecution(StoreError, LookupError):
    """There is no execution with this id in the store."""


class RecordsTrimmed(StoreError, LookupError):
    """The records that are needed were trimmed. The message names the first record that the store has."""


class ProtocolError(TriggerFlowError):
    """A record that is not legal in the current state. The state is unchanged."""


class InternalError(TriggerFlowError):
    """The engine broke one of its own rules. This is a bug of the engine: please report it with the message."""
