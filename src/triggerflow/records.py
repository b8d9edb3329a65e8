"""The classes of records. An observer (`Execution.add_observer`) gets each record of an execution; `execution.records`
holds the newest ones.
"""

import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ._core.events import (
    AwaitedAgain,
    Cancelled,
    CancelRequested,
    CleanupTimedOut,
    CloseRequested,
    Completed,
    Confirmed,
    Created,
    Emitted,
    ErrorInfo,
    Event,
    ExternalWaitEnded,
    ExternalWaitStarted,
    Failed,
    FlowDataChanged,
    InterruptClosed,
    Isolated,
    ItemsGiven,
    ItemsStopped,
    ModelCall,
    Paused,
    PermitsGranted,
    PermitsRequested,
    PermitsReturned,
    Recovered,
    ResultChecked,
    ResultRejected,
    ResultSet,
    Resumed,
    Retracted,
    Retried,
    SourceFailed,
    SourceItems,
    Started,
    StateChanged,
    StreamPut,
    StreamStopped,
    Suspended,
    TimerFired,
    WaitGivenUp,
)

__all__ = [
    "AwaitedAgain",
    "CancelRequested",
    "Cancelled",
    "CleanupTimedOut",
    "CloseRequested",
    "Completed",
    "Confirmed",
    "Created",
    "Emitted",
    "ErrorInfo",
    "Event",
    "ExternalWaitEnded",
    "ExternalWaitStarted",
    "Failed",
    "FlowDataChanged",
    "InterruptClosed",
    "Isolated",
    "ItemsGiven",
    "ItemsStopped",
    "ModelCall",
    "Paused",
    "PermitsGranted",
    "PermitsRequested",
    "PermitsReturned",
    "Recovered",
    "ResultChecked",
    "ResultRejected",
    "ResultSet",
    "Resumed",
    "Retracted",
    "Retried",
    "SourceFailed",
    "SourceItems",
    "Started",
    "StateChanged",
    "StreamPut",
    "StreamStopped",
    "Suspended",
    "TimerFired",
    "WaitGivenUp",
]

#: Names that classes had in earlier versions, with the present name.
_FORMER: Mapping[str, str] = {
    "Abandoned": "CleanupTimedOut",
    "Parked": "ExternalWaitStarted",
    "PlacesGranted": "PermitsGranted",
    "PlacesReturned": "PermitsReturned",
    "PlacesWanted": "PermitsRequested",
    "PullFailed": "SourceFailed",
    "Pulled": "SourceItems",
    "Unparked": "ExternalWaitEnded",
    "Withdrawn": "InterruptClosed",
}

if not TYPE_CHECKING:

    def __getattr__(name):
        """Former names work for one release, with a `DeprecationWarning` that says the present name."""
        if name not in _FORMER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        new = _FORMER[name]
        warnings.warn(f"{__name__}.{name} is named {new} now: from {__name__} import {new}", DeprecationWarning, 2)
        return globals()[new]
