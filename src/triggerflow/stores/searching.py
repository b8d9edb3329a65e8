"""What a search for a text finds: see `Store.executions`. All stores search alike."""

import re
from collections.abc import Iterable

from .protocol import ExecutionRow

#: How many different words of an error can be found, and how many characters of each.
MOST_WORDS, WORD_LENGTH = 40, 40

#: How many characters of the value of a label can be found.
VALUE_LENGTH = 200

_WORD = re.compile(r"\w+")


def words(text: str | None) -> list[str]:
    """The different words of a text, the first ones only, in lower case and shortened."""
    found = (word[:WORD_LENGTH].casefold() for word in _WORD.findall(text or ""))
    return list(dict.fromkeys(found))[:MOST_WORDS]


def folded(value: str) -> str:
    """The value of a label, or the beginning of one, as it is compared: in lower case and shortened."""
    return value[:VALUE_LENGTH].casefold()


def matches(row: ExecutionRow, text: str) -> bool:
    """Whether a search for a text finds an execution."""
    if row.id.startswith(text) or any(folded(value).startswith(folded(text)) for value in row.labels.values()):
        return True
    wanted = words(text)
    return bool(wanted) and _begin(wanted, words(row.error))


def _begin(wanted: Iterable[str], found: list[str]) -> bool:
    return all(any(word.startswith(each) for word in found) for each in wanted)
