"""Run contexts and events."""

from ..events import ErrorInfo as ErrorInfo
from ..events import RunContext as RunContext
from ..events import RuntimeEvent as RuntimeEvent
