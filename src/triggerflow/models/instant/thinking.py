"""The marks that models put around thinking in the text of an answer, as a table.

Servers should send thinking apart from the text. Where they do not, it stands in the text, and may contain drafts of
the answer. The parser looks for these marks only where it looks for the answer, never inside of a string of JSON.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Family(NamedTuple):
    """The marks of one way to write thinking. Upper and lower case are the same.

    A family without begin marks ends thinking that began without a mark: with the text, or in the prompt.
    """

    about: str
    begin: tuple[str, ...]
    end: tuple[str, ...]


def _tag(name: str, about: str) -> Family:
    return Family(about, (f"<{name}>",), (f"</{name}>",))


FAMILIES = (
    _tag("think", "DeepSeek, Qwen, GLM, MiniMax, OLMo, SmolLM and most others"),
    _tag("thinking", "prompts written for Claude, Reflection"),
    _tag("thought", "EXAONE, Marco-o1"),
    _tag("reasoning", "prompts, Reka"),
    _tag("reflection", "prompts, Reflection"),
    _tag("scratchpad", "prompts"),
    _tag("seed:think", "Seed-OSS"),
    _tag("longcat_think", "LongCat"),
    Family("Magistral", ("[THINK]",), ("[/THINK]",)),
    Family("Kimi", ("◁think▷",), ("◁/think▷",)),
    Family(
        "gpt-oss (harmony)",
        ("<|channel|>analysis", "<|channel|>commentary"),
        ("<|channel|>final", "<|end|>", "<|call|>"),
    ),
    Family("gpt-oss, if the server drops the marks", (), ("assistantfinal",)),
    Family("Gemma 4", ("<|channel>thought",), ("<channel|>",)),
    Family("Command", ("<|START_THINKING|>",), ("<|END_THINKING|>",)),
    Family("OpenThinker, Sky-T1", ("<|begin_of_thought|>",), ("<|end_of_thought|>",)),
    Family("Granite", ("Here is my thought process:", "Here's my thought process:"), ("Here is my response:",)),
    Family("Apriel", (), ("[BEGIN FINAL RESPONSE]",)),
)

_ENDS_NO_PROSE = {"<|end|>", "<|call|>"}
"""Marks that also end other things than thinking, such as the turn. They only end thinking that had a begin mark."""


class Mark(NamedTuple):
    """What a mark is: of which family, and whether thinking begins with it or ends."""

    family: int
    begins: bool


_MARKS = {
    text.lower(): Mark(number, begins)
    for number, family in enumerate(FAMILIES)
    for begins, texts in ((True, family.begin), (False, family.end))
    for text in texts
}
_BEGUN = {text[:length] for text in _MARKS for length in range(1, len(text))}
_LONGEST = max(map(len, _MARKS))


def _begins(texts: Iterable[str]) -> str:
    """A pattern of the first two characters of these texts in upper or lower case, or of the first at the very end."""
    seconds: dict[str, set[str]] = {}
    for text in texts:
        for first in {text[0].lower(), text[0].upper()}:
            seconds.setdefault(first, set()).update((text[1].lower(), text[1].upper()))
    return "|".join(
        f"{re.escape(first)}(?:[{re.escape(''.join(sorted(second)))}]|\\Z)" for first, second in sorted(seconds.items())
    )


_FIRST = re.compile(_begins(_MARKS))


def _any_of(texts: Iterable[str]) -> str:
    """A pattern of these texts in upper or lower case. It is grouped by the first character, of which `re` then makes
    one set, so that it skips prose fast."""
    rests: dict[str, list[str]] = {}
    for text in texts:
        for first in sorted({text[0].lower(), text[0].upper()}):
            rests.setdefault(first, []).append(re.escape(text[1:]))
    return "|".join(f"{re.escape(first)}(?i:{'|'.join(found)})" for first, found in rests.items())


_ANY = re.compile(_any_of(_MARKS))
_OUTSIDE = _any_of(text for text in _MARKS if text not in _ENDS_NO_PROSE)
_ENDS = [text for text, mark in _MARKS.items() if not mark.begins and text not in _ENDS_NO_PROSE]


def marks_or(pattern: str) -> re.Pattern[str]:
    """A pattern that finds marks outside of thinking, and what `pattern` finds."""
    return re.compile(f"{_OUTSIDE}|{pattern}")


def mark_of(text: str) -> Mark | None:
    """The mark that is this text; None if it is none."""
    return _MARKS.get(text.lower())


def may_begin_mark(text: str, pos: int) -> bool:
    """Whether the text from `pos` to its end is the beginning of a mark, which the next delta may complete."""
    return len(text) - pos < _LONGEST and text[pos:].lower() in _BEGUN


def before_mark(text: str, pos: int) -> int:
    """The end of the text, or the first place behind `pos` where a mark may have begun."""
    end = len(text)
    found = _FIRST.search(text, pos if pos + _LONGEST > end else end - _LONGEST)
    while found is not None:
        at = found.start()
        if text[at:].lower() in _BEGUN:
            return at
        found = _FIRST.search(text, at + 1)
    return end


def ends_thinking(text: str, pos: int, *, behind_bracket: bool = False) -> bool | None:
    """Whether an end mark stands at `pos`, inside of JSON that thinking has left open; None if more text is needed.

    `behind_bracket`: the character before `pos` was read as the beginning of an array, and may be that of the mark.
    """
    undecided = False
    for mark in _inside(behind_bracket):
        said = text[pos : pos + len(mark)].lower()
        if said == mark:
            return True
        undecided = undecided or (pos + len(said) == len(text) and mark.startswith(said))
    return None if undecided else False


def _inside(behind_bracket: bool) -> Iterator[str]:
    for mark in _ENDS:
        yield mark
        if behind_bracket and mark[0] == "[":
            yield mark[1:]


class Thought:
    """Skips thinking, from its begin mark on.

    It ends at the end mark of its family. Thinking of other families may be nested in it, if they end, too; an end mark
    that belongs to none of them ends it as well.
    """

    def __init__(self, mark: Mark) -> None:
        self.ended = False
        self._open = [mark.family]

    def skip(self, text: str, pos: int) -> int:
        """Skip the text from `pos` on; return the position behind the end mark, or up to which it is decided."""
        first = _FIRST.search(text, pos)
        if first is None:
            return len(text)
        pos = first.start()
        while (found := _ANY.search(text, pos)) is not None:
            mark = _MARKS[found[0].lower()]
            pos = found.end()
            if mark.begins:
                if mark.family not in self._open:
                    self._open.append(mark.family)
            elif mark.family in self._open[1:]:
                self._open.remove(mark.family)
            elif mark.family == self._open[0] or found[0].lower() not in _ENDS_NO_PROSE:
                self.ended = True
                return pos
        return before_mark(text, pos)
