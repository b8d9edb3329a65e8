"""Every exception of the engine. The class says whose fault it is.

* `DefinitionError`: the flow is built wrong; raised while building or before the first chunk runs.
* `UsageError`: a call that is not legal now (closed, started twice, blocking call inside a running loop).
* `PayloadError`: a value that cannot be recorded was about to be recorded.
* `StreamError`: a reader cannot be given what it asked for.
* `StoreError`: a durable execution could not be read or written; what is on disk stands.
* `ExecutionCancelled`: not a fault; the execution was cancelled, and `reason` says why.
* `ProtocolError`, `InternalError`: a driver broke the core's rules, or the core broke its own; please report it.

A chunk's own exception is never wrapped: it reaches every waiter as the object that was raised.
"""


class TriggerFlowError(Exception):
    """Base class of everything that the engine itself raises."""


class DefinitionError(TriggerFlowError, ValueError):
    """The flow is built wrong. The message names the place and what to write instead."""


class UnknownChunkError(DefinitionError, LookupError):
    """A chunk name that no chunk of this flow has."""


class NotAChunkError(DefinitionError, TypeError):
    """Something that cannot be a chunk, a condition or a signal was given as one."""


class OptionError(DefinitionError, TypeError):
    """An option that does not exist, or a value of a kind that the option cannot have."""


class UsageError(TriggerFlowError, RuntimeError):
    """A call that is not legal at this moment."""


class ExecutionClosed(UsageError):
    """The execution has ended; it takes no signal, no answer and no change any more."""


class ExecutionSuspended(ExecutionClosed):
    """This process has let go of a durable execution. In its store it stands, and can go on: open it again."""


class AlreadyStarted(UsageError):
    """The execution was started before, with another value."""


class UnknownInterrupt(UsageError, LookupError):
    """There is no interrupt of that id."""


class AlreadyAnswered(UsageError, ValueError):
    """The interrupt was answered before, by another request."""


class InterruptExpired(UsageError, ValueError):
    """The time for an answer has passed. Also how a chunk fails whose question nobody answered in time."""


class BlockingCallError(UsageError):
    """A blocking call was made inside a running event loop; the message names its async twin."""


class WrongLoopError(UsageError):
    """The execution lives on another event loop than the one it is used from."""


class PayloadError(TriggerFlowError, TypeError):
    """A value that cannot be recorded. The message names the place of the value."""


class ContractError(TriggerFlowError, ValueError):
    """A value breaks what the flow has declared about it: start value, stream item, result, signal, state or answer."""


class SnapshotError(TriggerFlowError, ValueError):
    """A snapshot or journal that cannot be read: damaged, foreign, newer, or of another definition."""


class ExecutionCancelled(TriggerFlowError):
    """The execution was cancelled. `reason` is the text given to `async_cancel`."""

    def __init__(self, reason: str, execution_id: str = "") -> None:
        super().__init__(f"execution {execution_id} was cancelled: {reason}")
        self.reason = reason
        self.execution_id = execution_id


class ChunkCancelled(TriggerFlowError):
    """A chunk ended with a `CancelledError` that was its own: what it awaited was cancelled by somebody else."""


class RemoteChunkError(TriggerFlowError):
    """A chunk failed in another process; only its record is left. The message holds type and text of the original."""


class StreamError(TriggerFlowError):
    """A reader of the runtime stream cannot be given what it asked for."""


class StreamGapError(StreamError):
    """Items between the reader's position and the oldest item still held are gone."""


class ReaderDisconnected(StreamError):
    """The reader fell behind further than its declared policy allows."""


class StoreError(TriggerFlowError):
    """A store could not do what was asked. Nothing was acknowledged that is not on disk."""


class StoreUnavailable(StoreError, OSError):
    """The store cannot read or write now: disk full, read-only, locked, closed. It may succeed when that is over."""


class StoreDamaged(StoreError):
    """What the store has read is not what was written: a damaged, foreign or newer file."""


class StoreConflict(StoreError):
    """Somebody else has written to this execution, or it is not the caller's any more."""


class ExecutionLeased(StoreConflict):
    """Another process runs this execution now."""


class UnknownExecution(StoreError, LookupError):
    """There is no execution of that id in the store."""


class RecordsTrimmed(StoreError, LookupError):
    """The records that would be needed were trimmed; the message says from which on the store has them."""


class ProtocolError(TriggerFlowError):
    """An event that is not legal in this state. Nothing has changed."""


class InternalError(TriggerFlowError):
    """A rule of the engine itself does not hold. This is our bug: please report it with the message."""
