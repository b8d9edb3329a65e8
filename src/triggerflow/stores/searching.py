"""What a search for a text finds: see `Store.executions`. All stores search alike."""

import re
from collections.abc import Iterable
from typing import Any

from .._core.errors import OptionError
from .._core.state import StatusName
from ..build.arguments import closest
from .protocol import STATUSES, ExecutionRow

#: How many different words of an error can be found, and how many characters of each.
MOST_WORDS, WORD_LENGTH = 40, 40

#: How many characters of the value of a label can be found.
VALUE_LENGTH = 200

_WORD = re.compile(r"\w+")


def checked_statuses(status: StatusName | Iterable[StatusName] | None) -> list[StatusName] | None:
    """The statuses that a list is limited to; one alone may be given as a string. Raises `OptionError` for an unknown
    one, which would find nothing."""
    if status is None:
        return None
    found: list[Any] = [status] if isinstance(status, str) else list(status)
    for it in found:
        if it not in STATUSES:
            near = closest(str(it), STATUSES, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise OptionError(f"executions(): there is no status {it!r}; {hint}known: {', '.join(STATUSES)}")
    return found


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
