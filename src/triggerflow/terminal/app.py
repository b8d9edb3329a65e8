"""The screen."""

from typing import TextIO

from .._core.state import StatusName
from ..backend import Backend
from ..run.environment import Environment


async def watch_screen(backend: Backend, id: str, out: TextIO, environment: Environment) -> StatusName:
    """Show an execution on the whole screen."""
    from . import watch

    return await watch(backend, id, plain=True, out=out)
