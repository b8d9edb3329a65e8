"""Agently's module `agently.types.data`: run contexts, events, and types for annotations."""

from collections.abc import Callable
from typing import Any, Literal

from ..events import ErrorInfo as ErrorInfo
from ..events import RunContext as RunContext
from ..events import RuntimeEvent as RuntimeEvent

EventHook = Callable[[RuntimeEvent], Any]
RuntimeEventLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
SerializableValue = Any
SerializableMapping = dict[str, Any]
