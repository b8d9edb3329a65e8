"""What a person sees who watches an execution: `watch`, on a terminal or as plain lines, over any `Backend`."""

import os
import shutil
import sys
from collections.abc import Iterable
from typing import TextIO

from .._core.state import StatusName
from ..backend import Backend, Frame
from ..drivers.asyncio import REAL
from ..run.environment import Environment
from . import safe
from .feed import Feed
from .model import Happened, Model
from .plain import COLUMNS, Plain, has_colours, is_screen

__all__ = ["watch"]


async def watch(
    backend: Backend,
    id: str,
    *,
    plain: bool | None = None,
    out: TextIO | None = None,
    width: int | None = None,
    environment: Environment = REAL,
) -> StatusName:
    """Show an execution until it has ended or the person leaves. Returns the status that was shown last.

    On a terminal it takes the whole screen: the graph with the axis of time, the runtime stream, open questions, which
    are answered there, and keys. With `plain`, or where `out` (default: standard output) is no terminal, it writes one
    line for each thing that happens, as wide as the screen, or `width` columns. A status other than "completed",
    "failed" and "cancelled" says that the person left: that changes nothing for the execution.

    Raises `UnknownExecution`, and what reading the backend raises; one that cannot be reached is asked again later.
    Raises `ImportError` if a screen is wanted and textual is not installed: ``pip install 'triggerflow-engine[cli]'``.
    """
    file: TextIO = sys.stdout if out is None else out
    if plain is None:
        # Textual paints on standard error
        plain = os.environ.get("TERM") == "dumb" or not all(map(is_screen, (file, sys.stdin, sys.stderr)))
    if plain:
        return await _watch_plain(backend, id, file, width)
    try:
        from .app import watch_screen  # imported late: textual takes a second
    except ModuleNotFoundError as error:
        raise ImportError(
            "a screen needs textual: pip install 'triggerflow-engine[cli]', or use plain lines"
        ) from error
    return await watch_screen(backend, id, file, environment, write)


async def _watch_plain(backend: Backend, id: str, out: TextIO, width: int | None) -> StatusName:
    screen = is_screen(out)
    if width is None:
        width = shutil.get_terminal_size((80, 24)).columns if screen else COLUMNS
    model = Model(id)
    plain = Plain(model, columns=width, colour=has_colours(out))

    def told(it: list[Happened], frame: Frame) -> None:
        write(out, plain.lines(it, frame.at))

    def notice(text: str) -> None:
        write(out, [safe.cut(safe.line(text), width)])

    await Feed(backend, model, told=told, notice=notice).run()
    return model.moment.status


def write(out: TextIO, lines: Iterable[str]) -> None:
    """Write lines, with escapes for what the encoding of the file does not have."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    text = "".join(f"{line}\n" for line in lines)
    if text:
        out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        out.flush()
