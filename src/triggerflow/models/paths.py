"""Paths: how the place of a value in an answer is written, `items[0].title` or `/items/[0]/title`."""

import re
from collections.abc import Sequence
from typing import Literal

PathStyle = Literal["dot", "slash"]
Step = str | int | None
"""A key, an index, or None for any index."""

SEPARATOR: dict[PathStyle, str] = {"dot": ".", "slash": "/"}

_STEP = {style: re.compile(rf"\[(\*|\d+)\]|([^{sign}\[\]]+)") for style, sign in SEPARATOR.items()}


def parse(path: str, style: PathStyle) -> tuple[Step, ...]:
    """The steps of a path from the root. A key that contains a separator of the style is read as several keys."""
    return tuple(key or (None if index == "*" else int(index)) for index, key in _STEP[style].findall(path))


def render(steps: Sequence[Step], style: PathStyle) -> str:
    """The path with these steps."""
    if style == "slash":
        return "".join(f"/{step}" if isinstance(step, str) else f"/{_bracketed(step)}" for step in steps) or "/"
    return "".join(f".{step}" if isinstance(step, str) else _bracketed(step) for step in steps).removeprefix(".")


def _bracketed(index: int | None) -> str:
    return "[*]" if index is None else f"[{index}]"
