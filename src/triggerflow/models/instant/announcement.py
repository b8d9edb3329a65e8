"""Whether the text before a JSON says that it is the answer, and what came before it was a draft."""

import re

ANNOUNCEMENT = 80
"""The longest text before a JSON that is looked at."""

_ANNOUNCED = re.compile(
    r"(?:\b(?:final|corrected|revised)(?: \w+)?|\b(?:the|my) answer|(?:^|[\n.!?]) *answer)(?: is)?"
    r"\W{0,12}(?:json)?\s*\Z",
    re.IGNORECASE,
)
_OTHER = re.compile(r"\b(?:not|no|another|other|alternative|wrong|possible|example|option)\b|n't\b", re.IGNORECASE)


def announces_answer(text: str) -> bool:
    """Whether this text says that the final answer follows ("Final answer:", "Corrected:", "Answer:")."""
    text = text[-ANNOUNCEMENT:]
    found = _ANNOUNCED.search(text)
    if found is None:
        return False
    sentence = max(text.rfind(mark, 0, found.start()) for mark in ".!?\n")
    return _OTHER.search(text, max(0, sentence, found.start() - 20)) is None
