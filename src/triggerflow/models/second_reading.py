"""Answers in which the parser finds no JSON, although they hold it whole: escaped once too often, or without brackets.

Nothing of such an answer was reported while it was written. When it has ended, it is put right as a whole and read a
second time. What comes of it has to be plain JSON: nothing is repaired twice.
"""

import html
import json
import re
from typing import Any

_UNESCAPED_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"')
_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|\\[nrt]')
_SPACE_OUTSIDE = re.compile(r"[{\[,]\s*\\[nrt]")
_FIRST_MEMBER = re.compile(r'"[^"\\\n]{1,256}"\s*:')
_BETWEEN_ITEMS = re.compile(r"[\s,]*")


def second_reading(text: str, root: str | None) -> tuple[str, str] | None:
    """The JSON that the answer holds, and what was wrong with the text; None if it holds none.

    `root`: "object" or "array" if the answer is known to be one.
    """
    body = text.strip()
    for plain, wrong in (_unescaped(body), _bracketed(body, root)):
        if plain and _is_json(plain):
            return plain, wrong
    return None


def _unescaped(body: str) -> tuple[str, str]:
    if body.startswith('"') and body.endswith('"'):
        return _string(body), "the whole answer is a JSON string that contains JSON"
    if '\\"' in body and not _UNESCAPED_QUOTE.search(body):
        return _string(f'"{body}"'), "every quote of the answer is escaped"
    if "&quot;" in body and '"' not in body:
        return html.unescape(body), "the answer is escaped for HTML"
    if _SPACE_OUTSIDE.search(body):
        return _STRING_OR_SPACE.sub(lambda found: found[1] or " ", body), r"line ends are written as \n"
    return "", ""


def _bracketed(body: str, root: str | None) -> tuple[str, str]:
    if root == "object" and body.endswith("}") and _FIRST_MEMBER.match(body):
        return "{" + body, "the first bracket is missing"
    if root == "array" and body.startswith("{"):
        items: list[str] = []
        at = 0
        while at < len(body):
            try:
                _, end = json.JSONDecoder().raw_decode(body, at)
            except (ValueError, RecursionError):
                return "", ""
            items.append(body[at:end])
            between = _BETWEEN_ITEMS.match(body, end)
            at = end if between is None else between.end()
        if len(items) > 1:
            return f"[{','.join(items)}]", "the brackets of the list are missing"
    return "", ""


def _string(literal: str) -> str:
    try:
        found: Any = json.loads(literal, strict=False)
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False
