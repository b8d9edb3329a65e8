"""Flows that other processes run: `Client` with handles as in process, and `HTTPBackend`, a `Backend` over HTTP.

It needs `pip install 'triggerflow-engine[client]'`, which brings httpx2. See docs/guide/client.md.
"""

from .client import Client
from .execution import RemoteExecution
from .flow import RemoteFlow
from .http import HTTPBackend
from .reader import RemoteStreamReader
from .state import RemoteState
from .sync import SyncBackend

__all__ = [
    "Client",
    "HTTPBackend",
    "RemoteExecution",
    "RemoteFlow",
    "RemoteState",
    "RemoteStreamReader",
    "SyncBackend",
]
