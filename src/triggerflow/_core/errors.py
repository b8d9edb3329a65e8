"""Every exception of the engine. The class says whose fault it is.

* `DefinitionError`: the flow is built wrong; raised while building or before the first chunk runs.
* `UsageError`: a call that is not legal now (closed, started twice, blocking call inside a running loop).
* `PayloadError`: a value that cannot be recorded was about to be recorded.
* `StreamError`: the runtime stream cannot give a reader the items that it asked for.
* `StoreError`: a store could not read or write a durable execution; what it stored before is unchanged.
* `ExecutionCancelled`: not a fault; the execution was cancelled, and `reason` says why.
* `ProtocolError`, `InternalError`: a driver broke the core's rules, or the core broke its own; please report it.

An exception that a chunk raises is never wrapped: callers and readers get the object that the chunk raised.
"""

from typing import Any


class TriggerFlowError(Exception):
    """Base class of all exceptions that TriggerFlow defines. They can be pickled and copied, with their attributes."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with `args`, which are not the arguments of an `__init__` of its own.
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(kind: type[TriggerFlowError], args: tuple[Any, ...]) -> TriggerFlowError:
    """Make an exception of this class without calling the `__init__` that its class may define."""
    error = kind.__new__(kind, *args)
    builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    builtin.__init__(error, *args)  # an OSError and an ImportError keep their text outside of `args`
    return error


def without_values(error: BaseException) -> str:
    """What a message or a log may say of an error that was raised while a recorded value was handled.

    The text of an error of the user's code, or of the standard library, may contain the value. So it is left out, and
    the place is named instead. Raise the new error `from None`: else a traceback shows the text.
    """
    if isinstance(error, TriggerFlowError):
        return str(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__qualname__
    code = trace.tb_frame.f_code
    return f"{type(error).__qualname__} in {code.co_qualname} ({code.co_filename}, line {trace.tb_lineno})"


class DefinitionError(TriggerFlowError, ValueError):
    """The flow is built wrong. The message names the flow and the call, and says what to write instead."""


class UnknownChunkError(DefinitionError, LookupError):
    """The flow has no chunk of this name. The message suggests the nearest names."""


class NotAChunkError(DefinitionError, TypeError):
    """An object was given as a chunk, condition or signal, and cannot be one."""


class OptionError(DefinitionError, TypeError):
    """The option does not exist, or its value has a type that the option does not take."""


class UsageError(TriggerFlowError, RuntimeError):
    """The call is not allowed in the present state of the object."""


class ExecutionClosed(UsageError):
    """The execution has ended. It accepts no more signals, answers or changes."""


class ExecutionSuspended(ExecutionClosed):
    """The execution is suspended: this process has stopped running it. The store still has all of it.

    To continue it, call `flow.async_resume(id)`.
    """


class AlreadyStarted(UsageError):
    """The execution was already started, with another start value."""


class ExecutionExists(UsageError):
    """The store has an execution with this id, and the call was to make a new one (`reuse="reject"`)."""


class UnknownInterrupt(UsageError, LookupError):
    """The execution has no interrupt with this id."""


class AlreadyAnswered(UsageError, ValueError):
    """The interrupt already has an answer, from another request."""


class InterruptExpired(UsageError, ValueError):
    """The interrupt expired before an answer came. The chunk that opened the interrupt fails with this error too."""


class BlockingCallError(UsageError):
    """A sync method was called inside a running event loop. The message names the async method to await."""


class WrongLoopError(UsageError):
    """The execution belongs to another event loop than the one that called it."""


class PayloadError(TriggerFlowError, TypeError):
    """The value cannot be recorded. The message says which value it is and how to record it."""


class ContractError(TriggerFlowError, ValueError):
    """A value does not have the type that the flow declares for it.

    Checked are start values, stream items, results, signals, state and answers.
    """


class SnapshotError(TriggerFlowError, ValueError):
    """The snapshot or journal cannot be read: it is damaged, newer than this version, or made by another definition."""


class ExecutionCancelled(TriggerFlowError):
    """The execution was cancelled. `reason` is the text that the caller of `async_cancel` gave."""

    def __init__(self, reason: str, execution_id: str = "") -> None:
        super().__init__(f"execution {execution_id} was cancelled: {reason}")
        self.reason = reason
        self.execution_id = execution_id


class ExecutionTimedOut(TriggerFlowError, TimeoutError):
    """The execution has failed, because it had not ended within its `execution_timeout`.

    A wait that has timed out (`timeout=`) raises a plain `TimeoutError`, and the execution goes on.
    """


class ChunkCancelled(TriggerFlowError):
    """A chunk ended with a `CancelledError` that the engine did not cause: a task that it awaited was cancelled."""


class RunLost(TriggerFlowError):
    """The process ended each time while this chunk ran, or while this source of a `for_each` was asked for items
    (`max_losses` times), so that it is not started again.

    It may be the chunk that ends the process: it takes all memory, or a library in it crashes.
    """


class MissingResource(TriggerFlowError, KeyError):
    """A chunk needs a resource that neither the execution nor its flow has in this process."""

    __str__ = Exception.__str__  # that of `KeyError` shows a text in quotes


class RemoteChunkError(TriggerFlowError):
    """A chunk failed in another process, so that its exception object is gone.

    The message holds the type and text of that exception, from the record.
    """


class StreamError(TriggerFlowError):
    """The runtime stream cannot give a reader the items that it asked for."""


class StreamGapError(StreamError):
    """The stream no longer holds the items at the reader's position; they were dropped for newer ones."""


class ReaderDisconnected(StreamError):
    """The reader fell further behind than its policy allows, and was disconnected."""


class StoreError(TriggerFlowError):
    """A store could not read or write. Every change that was reported as committed is in the store."""


class StoreUnavailable(StoreError, OSError):
    """The store cannot read or write now: disk full, read-only, locked or closed. A later try may succeed."""


class StoreDamaged(StoreError):
    """The data in the store cannot be used: the file is damaged, of another program, or of a newer version."""


class StoreConflict(StoreError):
    """Another owner has written to this execution, or the caller has lost its lease."""


class ExecutionLeased(StoreConflict):
    """Another process holds the lease of this execution and runs it now."""


class UnknownExecution(StoreError, LookupError):
    """The store has no execution with this id."""


class UnknownSchedule(StoreError, LookupError):
    """The store has no schedule with this id."""


class RecordsTrimmed(StoreError, LookupError):
    """The call needs records that were trimmed. The message names the first record that the store still has."""


class ProtocolError(TriggerFlowError):
    """The machine received a record that is not allowed in this state. The state is unchanged."""


class InternalError(TriggerFlowError):
    """An invariant of the engine does not hold. This is a bug in TriggerFlow: please report it with the message."""
