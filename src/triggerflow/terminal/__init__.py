"""`watch` shows a person an execution of any `Backend`, on a terminal or as plain lines."""

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
from .colours import has_colours, is_screen
from .feed import Feed
from .model import Happened, Model
from .plain import COLUMNS, Plain

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

    On a terminal it takes the whole screen: the graph beside the axis of time, the runtime stream, open questions,
    which can be answered there, and a line of keys. With `plain`, or if `out` (default: standard output) is no
    terminal, it writes one line for each thing that happens, of `width` columns (default: those of the terminal). A
    status other than "completed", "failed" and "cancelled" means that the person left; the execution continues.

    Raises `UnknownExecution` and other errors of the backend; while the backend cannot be reached, it tries again.
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

    def show(it: list[Happened], frame: Frame) -> None:
        write(out, plain.lines(it, frame.at))

    def notice(text: str) -> None:
        write(out, [safe.cut(safe.line(text), width)])

    await Feed(backend, model, show=show, notice=notice).run()
    return model.moment.status


def write(out: TextIO, lines: Iterable[str]) -> None:
    """Write lines, with escapes for characters that the encoding of the file lacks."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    text = "".join(f"{line}\n" for line in lines)
    if text:
        out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        out.flush()
