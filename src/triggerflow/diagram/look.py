"""Colours, dashes and labels, shared by both kinds of diagram."""

from collections.abc import Callable

#: (fill, stroke, text) colours. The key is the status of a run or, without a run, the shape of the node. The text
#: colour is set explicitly, so that it is readable on dark pages.
COLOURS: dict[str, tuple[str, str, str]] = {
    "idle": ("#f5f5f5", "#bdbdbd", "#757575"),
    "running": ("#bbdefb", "#1565c0", "#212121"),
    "waiting": ("#ffecb3", "#ff8f00", "#212121"),
    "done": ("#c8e6c9", "#2e7d32", "#212121"),
    "failed": ("#ffcdd2", "#c62828", "#212121"),
    "start": ("#eceff1", "#455a64", "#212121"),
    "result": ("#eceff1", "#455a64", "#212121"),
    "chunk": ("#ffffff", "#455a64", "#212121"),
    "flow": ("#ffffff", "#455a64", "#212121"),
    "gate": ("#fff3e0", "#b26a00", "#212121"),
    "collect": ("#fff3e0", "#b26a00", "#212121"),
    "choice": ("#fff3e0", "#b26a00", "#212121"),
    "case": ("#fff8e1", "#b26a00", "#212121"),
    "signal": ("#ede7f6", "#5e35b1", "#212121"),
    "data": ("#e0f2f1", "#00695c", "#212121"),
    "error": ("#efebe9", "#6d4c41", "#212121"),
    "timer": ("#ede7f6", "#5e35b1", "#212121"),
    "opener": ("#eceff1", "#455a64", "#212121"),
    "point": ("#455a64", "#455a64", "#455a64"),
    "block": ("#fafafa", "#b0bec5", "#455a64"),
}

#: The dash patterns of lines that are not solid, as lengths of stroke and gap.
DASHES = {"emit": "6 4", "side": "2 4"}

#: The longest line of a label, in characters.
WIDTH = 48


def label(text: str, escape: Callable[[str], str]) -> str:
    """One line of a label: shortened, without line breaks and control characters, each character escaped."""
    plain = " ".join("".join(it if it.isprintable() else " " for it in text).split())
    if len(plain) > WIDTH:
        plain = plain[: WIDTH - 1] + "…"
    return "".join(map(escape, plain)) or " "
