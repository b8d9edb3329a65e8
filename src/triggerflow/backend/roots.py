"""From a sub-flow to its outermost execution."""

from .protocol import Backend
from .shapes import ExecutionInfo


async def root_of(backend: Backend, info: ExecutionInfo) -> ExecutionInfo:
    """The outermost execution around a sub-flow; `info` itself if it is no sub-flow. Raises `UnknownExecution`."""
    while info.parent is not None:
        info = await backend.get(info.parent)
    return info
