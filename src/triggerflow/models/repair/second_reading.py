"""A second reading of an answer that the parser could not read, or not with certainty, when it is there as a whole.

The parser reads while the model writes, and cannot wait for what comes later. When an answer has ended and would be
invalid, it is looked at as a whole. If that gives one value that fits the description, what was reported is void, and
the events of that value follow. If there is a doubt, the answer stays invalid.
"""

import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

from ..instant.thinking import mark_of, marks_or
from .mend import mend

Fits = Callable[[Any], bool]

MAX_LENGTH = 20_000
"""In characters. Longer answers are not read a second time: that would hold up the event loop."""
_MARK = marks_or(r"(?!)")
_HALF = re.compile("[\ud800-\udfff]")
"""Half of a character: no text with it can be stored or sent."""
_UNESCAPED_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"')
_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|\\[nrt]')
_SPACE_OUTSIDE = re.compile(r"[{\[,]\s*\\[nrt]")
_DOUBLED_KEY = re.compile(r'[{,]\s*""\w[^"\n]{0,100}""\s*:')
_FIRST_MEMBER = re.compile(r'"[^"\\\n]{1,256}"\s*:')
_BETWEEN_ITEMS = re.compile(r"[\s,]*")
_BRACKET = re.compile(r"[{\[]")
_BEGINNING = re.compile(r"[{\uff5b]\s*[^\s\d})\uff5d,.]|[\[\uff3b]\s*[^\s\w)\uff09,.]")
_MORE = re.compile('["\u201c{\\[]')
"""After the answer: what may be more of it, or another one."""
_FINAL = re.compile(
    # Not a key of JSON, which a quote would end.
    r"\b(?:(?:final|corrected|correct|right|actual|real|revised|fixed|updated|answer|result|output)\b[^\n\"{}\[\]]{0,40}"
    r"|again\b[^\n\"{}\[\]]{0,20}):[*_]*\s*(?:(?:```|~~~)\w*\s*)?(?=[{\[])",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?]\s|\n")
_NOT_FINAL = re.compile(
    r"\b(?:another|alternative\w*|option|or|other|example|second|previous|wrong|not)\b", re.IGNORECASE
)
"""Words before what is called the answer that make it one of several."""


def second_reading(text: str, root: str | None, keys: frozenset[str], fits: Fits) -> tuple[Any, str] | None:
    """The value that the answer has without doubt, and what was wrong with its text; None if there is doubt.

    `root`: "object" or "array" if the answer is known to be one. `keys`: those of the objects in it. `fits`: whether a
    value is what was asked for.
    """
    body = _without_thinking(text)
    if body is None or len(body) > MAX_LENGTH:
        return None
    for read in (_unescaped, _bracketed, _among_others, _mended):
        found = read(body.strip(), root, keys, fits)
        if found is not None:
            return None if _HALF.search(json.dumps(found[0], ensure_ascii=False)) else found
    return None


def _without_thinking(text: str) -> str | None:
    end = 0
    for found in _MARK.finditer(text):
        mark = mark_of(found[0])
        if mark is None or mark.begins:
            end = -1
        else:
            end = found.end()
    return None if end < 0 else text[end:]


def _plain(text: str, fits: Fits) -> list[Any]:
    """The value of a text that is JSON, in a list; an empty list if it is none, or does not fit."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [value] if isinstance(value, dict | list) and fits(value) else []


def _unescaped(body: str, root: str | None, keys: frozenset[str], fits: Fits) -> tuple[Any, str] | None:
    """Read an answer that was escaped once too often."""
    plain = wrong = ""
    if body.startswith('"') and body.endswith('"'):
        plain, wrong = _string(body), "the whole answer is a JSON string that contains JSON"
    elif '\\"' in body and not _UNESCAPED_QUOTE.search(body):
        plain, wrong = _string(f'"{body}"'), "every quote of the answer is escaped"
    elif "&quot;" in body and '"' not in body:
        plain, wrong = html.unescape(body), "the answer is escaped for HTML"
    elif _DOUBLED_KEY.search(body):
        plain, wrong = body.replace('""', '"'), "every quote of the answer is doubled"
    elif _SPACE_OUTSIDE.search(body):
        plain = _STRING_OR_SPACE.sub(lambda found: found[1] or " ", body)
        wrong = r"line ends between the values are written as \n"
    value = _plain(plain, fits) if plain else []
    return (value[0], wrong) if value else None


def _string(literal: str) -> str:
    try:
        found: Any = json.loads(literal, strict=False)
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""


def _bracketed(body: str, root: str | None, keys: frozenset[str], fits: Fits) -> tuple[Any, str] | None:
    """Read an answer without its outermost brackets: `"title": "x"}`, or lines of JSON for a list."""
    if root == "object" and body.endswith("}") and _FIRST_MEMBER.match(body):
        value = _plain("{" + body, fits)
        return (value[0], "the first bracket is missing") if value else None
    if root != "array" or not body.startswith("{"):
        return None
    items: list[Any] = []
    at = 0
    while at < len(body):
        try:
            item, end = json.JSONDecoder().raw_decode(body, at)
        except (ValueError, RecursionError):
            return None
        items.append(item)
        between = _BETWEEN_ITEMS.match(body, end)
        at = end if between is None else between.end()
    return (items, "the brackets of the list are missing") if len(items) > 1 and fits(items) else None


def _among_others(body: str, root: str | None, keys: frozenset[str], fits: Fits) -> tuple[Any, str] | None:
    """Read the one JSON of several that fits, or the last one if it is called the answer."""
    blocks = list(_blocks(body, 0))
    fitting = [value for _, value in blocks if fits(value)]
    if (
        len(fitting) == 1
        and len(blocks) > 1
        and not any(_related(it, keys) for _, it in blocks if it is not fitting[0])
    ):
        return fitting[0], "only one of several values in the answer is of the form that was asked for"
    finals = [found.end() for found in _FINAL.finditer(body) if not _NOT_FINAL.search(_sentence(body, found))]
    last = list(_blocks(body, finals[-1])) if finals else []
    if last and last[0][0] == finals[-1] and fits(last[0][1]) and not any(_related(it, keys) for _, it in last[1:]):
        return last[0][1], "the answer has drafts before the value that it calls final"
    return None


def _sentence(body: str, found: re.Match[str]) -> str:
    """The sentence in which a match begins, to the end of the match."""
    before = _SENTENCE_END.split(body[max(0, found.start() - 200) : found.start()])[-1]
    return before + found[0]


def _blocks(body: str, at: int) -> Iterator[tuple[int, Any]]:
    """Each JSON in the text, from an offset on: where it begins, and its value. Ends at a bracket that begins none."""
    while (found := _BRACKET.search(body, at)) is not None:
        try:
            value, at = json.JSONDecoder().raw_decode(body, found.start())
        except (ValueError, RecursionError):
            return
        yield found.start(), value


def _related(value: Any, keys: frozenset[str]) -> bool:
    """Whether a value could be a draft of the answer."""
    if isinstance(value, list):
        return any(_related(item, keys) for item in cast("list[Any]", value))
    return isinstance(value, dict) and bool(keys & value.keys())


def _mended(body: str, root: str | None, keys: frozenset[str], fits: Fits) -> tuple[Any, str] | None:
    """Read an answer in other quotes, with other punctuation or with wrong brackets."""
    start = _BEGINNING.search(body)
    if start is None:
        return None
    found = mend(body[start.start() :], fits, keys)
    if found is None or _MORE.search(body, start.start() + found[1]):
        return None
    return found[0], "the answer has other quotes or punctuation than JSON, or wrong brackets"
