"""The outermost execution: a sub-flow belongs to the execution whose step has started it."""

from .protocol import Backend
from .shapes import ExecutionInfo


async def root_of(backend: Backend, info: ExecutionInfo) -> ExecutionInfo:
    """The outermost execution around one; itself if it is no sub-flow. Raises `UnknownExecution`."""
    while info.parent is not None:
        info = await backend.get(info.parent)
    return info
