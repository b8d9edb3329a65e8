"""Colours of words on a terminal, and which files have colours at all."""

import os
from contextlib import suppress
from typing import TextIO

#: The colour of each status, and of each other word for what has happened, as the number of an ANSI colour.
COLOURS = {
    "created": 36,
    "running": 36,
    "waiting": 33,
    "asked": 33,
    "retry": 33,
    "completed": 32,
    "done": 32,
    "failed": 31,
    "cancelled": 35,
    "lost": 35,
}


def is_screen(file: TextIO | None) -> bool:
    """Whether a file is a terminal."""
    with suppress(ValueError, OSError):
        return file is not None and file.isatty()
    return False


def has_colours(file: TextIO | None) -> bool:
    """Whether to print colours: on a terminal, unless NO_COLOR is set or TERM is "dumb"."""
    return is_screen(file) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: int) -> str:
    """The text between the escape sequences of a colour."""
    return f"\x1b[{colour}m{text}\x1b[0m"
