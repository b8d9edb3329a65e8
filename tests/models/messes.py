"""Values that are written down messily, in several ways at once, as models do: what was meant is known."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

from tests.models.answers import Sample

WORDS = [
    "the",
    "harbour",
    "was",
    "quiet",
    "when",
    "late",
    "trains",
    "brought",
    "salt,",
    "wind",
    "and",
    "27",
    "crates",
    "of",
    "moss",
    "to",
    "its",
    "old",
    "gates",
]
CHINESE = ["所谓", "太阳帆", "是", "一种", "航天器，", "航天器", "他说", "然后"]  # noqa: RUF001
ODD = [
    "{x}",
    "[1]",
    "(see below)",
    "https://example.org//a?b=c#d",
    "it's",
    "drivers'",
    "50%",
    "C:",
    "a/b",
    "<b>",
    "//",
    "...",
]
#: How an answer is messy, and how often each of these is in use.
HABITS = (
    "raw quotes",
    "raw quotes",
    "raw quotes",
    "python",
    "single quotes",
    "curly quotes",
    "bare keys",
    "trailing commas",
    "comments",
    "raw newlines",
    "odd numbers",
    "fence",
    "prose",
    "draft in thinking",
    "one bracket too many",
    "no commas between lines",
)


def value(rng: random.Random, depth: int = 2) -> dict[str, Any]:
    keys = rng.sample(["title", "text", "n", "tags", "done", "note", "price", "step"], rng.randrange(2, 5))
    return {key: _part(rng, depth) for key in keys}


def _part(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(10)
    if kind < 5 or depth == 0:
        return _sentence(rng)
    if kind == 5:
        return rng.choice([0, 7, -3, 1000, 45_200, 1_234_567, 0.5, -2.25])
    if kind == 6:
        return rng.choice([True, False, None])
    if kind == 7:
        return [_sentence(rng) for _ in range(rng.randrange(4))]
    if kind == 8:
        return [value(rng, depth - 1) for _ in range(rng.randrange(3))]
    return value(rng, depth - 1)


def _sentence(rng: random.Random) -> str:
    if rng.random() < 0.25:
        words = rng.choices(CHINESE, k=rng.randrange(2, 7))
        joint = ""
    else:
        words = rng.choices([*WORDS, rng.choice(ODD)], k=rng.randrange(1, 8))
        joint = " "
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(words))
        if '"' not in words[at]:
            words[at] = rng.choice(['"{}"', '"{}"', '"{}",', '"{},"', '("{}")', '{}"', '"{}":', "'{}'"]).format(
                words[at]
            )
    if rng.random() < 0.1:
        words.insert(rng.randrange(len(words)), "\n")
    return joint.join(words)


@dataclass
class Writer:
    rng: random.Random
    habits: set[str] = field(default_factory=set)

    def answer(self, meant: Any) -> str:
        text = self.write(meant, 0)
        if "one bracket too many" in self.habits:
            text += "}"
        if "fence" in self.habits:
            text = f"```json\n{text}\n```"
        if "prose" in self.habits:
            text = f'Here is {{the}} "answer", as JSON [1]:\n{text}\nI hope that\'s what you "meant".'
        if "draft in thinking" in self.habits:
            text = f"<think>Perhaps {json.dumps(dict.fromkeys(meant, 'draft'))}?</think>{text}"
        return text

    def write(self, part: Any, level: int) -> str:
        if isinstance(part, dict):
            return self.inside(
                "{}", [f"{self.key(key)}: {self.write(it, level + 1)}" for key, it in part.items()], level
            )
        if isinstance(part, list):
            return self.inside("[]", [self.write(it, level + 1) for it in part], level)
        if isinstance(part, str):
            return self.string(part)
        if isinstance(part, int | float) and not isinstance(part, bool) and "odd numbers" in self.habits and level > 1:
            return self.rng.choice([f"+{part}" if part >= 0 else str(part), str(part).replace("0.", "."), f"{part:_}"])
        return repr(part) if "python" in self.habits else json.dumps(part)

    def inside(self, brackets: str, parts: list[str], level: int) -> str:
        if not parts:
            return brackets
        lines = "no commas between lines" in self.habits or "comments" in self.habits or self.rng.random() < 0.3
        comma = "" if "no commas between lines" in self.habits else ","
        joint = f"{comma}\n{'  ' * level}" if lines else self.rng.choice([", ", ", ", ","])
        if "comments" in self.habits:
            joint = f'{comma} // as "asked", {{see}} above\n'
        last = "," if "trailing commas" in self.habits else ""
        ends = "\n" if lines else ""
        return brackets[0] + ends + joint.join(parts) + last + ends + brackets[1]

    def key(self, key: str) -> str:
        return key if "bare keys" in self.habits else self.string(key)

    def string(self, text: str) -> str:
        written = json.dumps(text, ensure_ascii=False)[1:-1]
        if "raw quotes" in self.habits:
            written = written.replace('\\"', '"')
        if "raw newlines" in self.habits:
            written = written.replace("\\n", "\n")
        if "single quotes" in self.habits:
            raw = "raw quotes" in self.habits
            return "'" + written.replace('\\"', '"').replace("'", "'" if raw else "\\'") + "'"
        if "curly quotes" in self.habits:
            return f"“{written}”"
        return f'"{written}"'


def messy(seed: int) -> Sample:
    """An answer with one to three messy habits."""
    rng = random.Random(seed)
    meant = value(rng)
    writer = Writer(rng, set(rng.sample(HABITS, rng.randrange(1, 4))))
    text = writer.answer(meant)
    try:
        clean = json.loads(text) == meant
    except ValueError:
        clean = False
    described = dict.fromkeys(meant, Any)
    return Sample(", ".join(sorted(writer.habits)), str(seed), text, described, "stop", clean, [meant], [])
