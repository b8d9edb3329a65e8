"""Numbers and literals: what an unquoted word means, and how sure that is.

Words that JSON does not know have a value only if there is one reading of them: `+5`, `.5`, `1_000`, `0x1F`, `True`.
`007` (octal, or a label), `50%` and `$5` (which unit?) have none.
"""

import re
from typing import Any, NamedTuple

from .events import Kind

MAX_WORD = 4300
"""The longest number, literal or bare key; Python by default refuses to convert integers that are longer."""


class Scalar(NamedTuple):
    """A value that is neither a string nor a container. `guess` says how it was read if it is no JSON; `toleration`
    that it is a literal of another language."""

    kind: Kind
    value: Any
    guess: str = ""
    toleration: str = ""


_JSON = {
    "true": Scalar("boolean", True),
    "false": Scalar("boolean", False),
    "null": Scalar("null", None),
}
_OTHERS: dict[str, tuple[Kind, Any]] = {
    "True": ("boolean", True),
    "TRUE": ("boolean", True),
    "False": ("boolean", False),
    "FALSE": ("boolean", False),
    "None": ("null", None),
    "NULL": ("null", None),
    "NaN": ("number", float("nan")),
    "Infinity": ("number", float("inf")),
    "-Infinity": ("number", float("-inf")),
}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_UNUSUAL = re.compile(
    r"[+-]?(?:(?:0|[1-9][0-9]*(?:_[0-9]+)*)?\.[0-9]+|(?:0|[1-9][0-9]*(?:_[0-9]+)*)\.?)(?:[eE][+-]?[0-9]+)?"
)
_ASCII = {0x2212: "-", 0xFF0D: "-", 0xFF0B: "+", 0xFF0E: ".", **{0xFF10 + digit: str(digit) for digit in range(10)}}
"""Full-width digits and signs, and the minus sign of typography."""
_HEXADECIMAL = re.compile(r"([+-]?)0[xX]([0-9a-fA-F]+)")

# A number with commas between its thousands, in an object: there a comma is followed by a key or by nothing, so that
# the parts cannot be numbers of their own.
SHORT_NUMBER = re.compile(r"[+-]?[0-9]{1,3}")
"""What may come before the first comma."""
GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?(?![\w.+%-])")
GROUPED_BEGUN = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]*)+(?:\.[0-9]*)?\Z")
AFTER_GROUPED = re.compile(r"\s*(?:\}|,\s*(?:[\"'}]|[^\W\d]))")
AFTER_GROUPED_BEGUN = re.compile(r"\s*(?:,\s*)?\Z")


def read_word(word: str) -> Scalar | None:
    """What an unquoted word means; None if it is no value, or none that is certain."""
    known = _JSON.get(word)
    if known is not None:
        return known
    number = _NUMBER.fullmatch(word)
    if number is not None:
        return _integer(word) if number.lastindex is None else _float(word)
    other = _OTHERS.get(word)
    if other is not None:
        return Scalar(*other, toleration=f"{word} is not a literal of JSON")
    return _unusual(word)


def read_grouped(text: str) -> Scalar:
    """The number in a text that `GROUPED` matches, such as `1,234.5`."""
    plain = text.replace(",", "")
    number = float(plain) if "." in plain else int(plain)
    return Scalar("number", number, f"{text} was read as the number {plain.lstrip('+')}")


def _integer(word: str) -> Scalar | None:
    try:
        return Scalar("number", int(word))
    except ValueError:  # more digits than the interpreter converts
        return None


def _float(word: str) -> Scalar | None:
    number = float(word)
    if number in (float("inf"), float("-inf")):
        return None  # infinity is not what the model wrote
    return Scalar("number", number)


def _unusual(word: str) -> Scalar | None:
    plain = word.translate(_ASCII)
    sign = _HEXADECIMAL.fullmatch(plain)
    number: int | float | None = None
    if sign is not None:
        number = int(plain, 16)
    elif _NUMBER.fullmatch(plain) or _UNUSUAL.fullmatch(plain):
        plain = plain.replace("_", "")
        scalar = _float(plain) if re.search("[.eE]", plain) else _integer(plain)
        number = None if scalar is None else scalar.value
    return None if number is None else Scalar("number", number, f"{word:.60} was read as the number {number!r:.60}")
