"""Fuzzing the instant parser: random documents, spellings, cuts, truncations and damage, checked against its laws.

    python -m tests.models.fuzz_instant 1000000 [--seed 1]

runs that many cases on one core and prints the seed of the first one that fails; `check(seed)` repeats it alone.
"""

import argparse
import json
import random
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from tests.models.instant_support import Keys, follow, same

LETTERS = "abcXYZ019 .,:;-_/\\\"'`{}[]()<>=#\n\t\r\x00\x7fäß日本語😀\u2028"
BEFORE = (
    *("", "", "", "", "Sure!\n", "Sure!\n", "```json\n", "```json\n", "Using {x} and {y: z}: ", "{{", "<th", "[TH"),
    *(
        '<think>maybe {"n": 9}</think>',
        '[THINK]maybe {"n": 9}[/THINK]',
        '<|channel|>analysis {"n": 9}<|channel|>final ',
    ),
)
AFTER = ("", "", "\n```\nDone {x}.", " bye", "\n", ' {"n": 9}')
SECOND_BLOCK = ("", '</think>{"title": "b", "items": []}', '[/THINK]{"title": "b", "items": []}', '\n```\n{"items": 1}')
DAMAGING_PIECES = (
    *("</think>", "<think>", "```", '"""', '"quoted"', ' "q", ', "\\u", "\\ud83d"),
    *("[THINK]", "[/THINK]", "◁/think▷", "<|channel|>final", "assistantfinal", "[/THI", "◁"),
)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"root": "object"},
    {"root": "array"},
    {"expect_keys": ["title", "items"]},
    {"max_depth": 3},
    {"trust_quotes": True},
)
DAMAGE = "{}[]\",:'\\/*`<>=aé0- \n\t"
NUMBERS = [0, -1, 7, 12, 10**20, 0.5, -1.25e-7, 1e300, 3.0]


@dataclass
class Proof:
    """The character (its offset in the text) that proves a value complete; None where that depends on more."""

    closing: int
    proven: int | None


@dataclass
class Written:
    text: str = ""
    proofs: dict[Keys, Proof] = field(default_factory=dict[Keys, Proof])
    values: dict[Keys, Any] = field(default_factory=dict[Keys, Any])


def random_text(rng: random.Random) -> str:
    return "".join(rng.choices(LETTERS, k=rng.choice((0, 1, 2, 3, 5, 8, 20))))


def random_value(rng: random.Random, depth: int) -> Any:
    roll = rng.random()
    if depth > 0 and roll < 0.3:
        return [random_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if depth > 0 and roll < 0.6:
        return {random_text(rng): random_value(rng, depth - 1) for _ in range(rng.randrange(4))}
    if roll < 0.8:
        return random_text(rng)
    return rng.choice([True, False, None, *NUMBERS])


class Writer:
    """Spells a value as JSON, or as what models write instead, and notes which character completes each part."""

    def __init__(self, rng: random.Random, lenient: bool, trusted: bool = False) -> None:
        self.rng = rng
        self.lenient = lenient
        self.trusted = trusted
        self.chars: list[str] = []
        self.length = 0
        self.out = Written()
        self.waiting: list[Proof] = []  # values that the next character, or the next visible one, proves
        self.digit = False
        """Whether the last value is a string that ends in a digit: what follows is needed to find its end."""
        self.separated = False
        """Whether the last value cannot be read together with what follows, so that a comma may be missing."""

    def put(self, text: str) -> None:
        if self.waiting and text.strip():
            for proof in self.waiting:
                proof.proven = self.length + len(text) - len(text.lstrip())
            self.waiting = []
        self.chars.append(text)
        self.length += len(text)

    def space(self) -> None:
        rng = self.rng
        if rng.random() < 0.3:
            self.put(rng.choice((" ", "\n", "  ", "\t", "\n  ")))
        if self.lenient and rng.random() < 0.1:
            self.waiting = []
            self.put(rng.choice(("// a } comment\n", "/* a ] comment * */", "/**/", "//\n")))

    def escaped(self, text: str, quote: str, raw: bool) -> str:
        rng = self.rng
        body = json.dumps(text, ensure_ascii=rng.random() < 0.5)[1:-1]
        if len(quote) == 3 and '""' not in text and self.rng.random() < 0.5:
            body = re.sub(r"\\(.)", lambda pair: '"' if pair[1] == '"' else pair[0], body)
        if quote == "'":
            body = body.replace("'", "\\'").replace('\\"', '"')
        if raw and rng.random() < 0.3:
            # A backslash that is itself escaped must not lose its partner.
            body = body.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\\\")
        return body

    def write_string(self, text: str, path: Keys) -> None:
        quote = self.rng.choice(('"', '"', "'", '"""')) if self.lenient else '"'
        self.put(quote + self.escaped(text, quote, self.lenient) + quote)
        proof = self.out.proofs[path] = Proof(self.length - 1, self.length - 1)
        if not self.trusted:
            proof.proven = None
            if not text[-1:].isdigit():  # after a digit, the comma is no proof
                self.waiting.append(proof)

    def write_key(self, key: str) -> None:
        if self.lenient and key.isidentifier() and self.rng.random() < 0.5:
            self.put(key)
            return
        quote = "'" if self.lenient and self.rng.random() < 0.3 else '"'
        self.put(quote + self.escaped(key, quote, False) + quote)

    def write(self, value: Any, path: Keys = ()) -> None:
        self.out.values[path] = value
        self.separated = False
        self.after_digit = self.digit
        self.digit = isinstance(value, str) and value[-1:].isdigit()
        if isinstance(value, str):
            self.write_string(value, path)
        elif isinstance(value, dict | list):
            self.write_container(value, path)
        else:
            word = json.dumps(value)
            if self.lenient and self.rng.random() < 0.5 and not isinstance(value, int | float):
                word = repr(value)
            self.put(word)
            # A short number may go on behind its comma (`1,000`): the character after the comma proves it.
            proof = self.out.proofs[path] = Proof(self.length, None if self.after_digit else self.length)
            if proof.proven and word.lstrip("-").isdigit() and len(word) < 5 and path and isinstance(path[-1], str):
                proof.proven = self.length + 1

    def write_container(self, value: Any, path: Keys) -> None:
        is_object = isinstance(value, dict)
        self.put("{" if is_object else "[")
        items: list[Any] = list(value.items()) if is_object else list(enumerate(value))
        for position, (key, item) in enumerate(items):
            self.space()
            if is_object:
                self.write_key(key)
                self.space()
                self.put(":")
                self.space()
            self.write(item, (*path, key))
            self.space()
            if is_object and self.lenient and self.rng.random() < 0.05:
                self.put(f",{json.dumps(key)}: {json.dumps(random_value(self.rng, 2))},")
            last = position == len(items) - 1
            if not last and self.lenient and self.separated and self.rng.random() < 0.1:
                self.put(" ")
            elif not last or (self.lenient and self.rng.random() < 0.1):
                self.put(",")
        self.space()
        self.put("}" if is_object else "]")
        self.out.proofs[path] = Proof(self.length - 1, self.length - 1)
        self.separated = True

    def finish(self) -> Written:
        self.out.text = "".join(self.chars)
        return self.out


def random_cuts(rng: random.Random, text: str) -> list[str]:
    longest = rng.choice((1, 3, 5, 20, len(text) + 1))
    deltas: list[str] = []
    position = 0
    while position < len(text):
        end = position + rng.randint(1, longest)
        deltas.append(text[position:end])
        position = end
    return deltas


def surrounded(rng: random.Random) -> tuple[str, str]:
    before = rng.choice(BEFORE)
    after = rng.choice(AFTER)
    return before, after


def check_document(rng: random.Random, lenient: bool) -> None:
    """Law: whatever the spelling and the cuts, the events are those of the document, each as soon as it is proven."""
    value = random_value(rng, 4)
    value = value if isinstance(value, dict | list) else {"value": value} if rng.random() < 0.5 else [value]
    trusted = not lenient and rng.random() < 0.2
    writer = Writer(rng, lenient, trusted)
    before, after = surrounded(rng) if value else ("", "")
    writer.put(before)
    writer.write(value)
    written = writer.finish()
    text = written.text + after
    if not lenient:
        assert same(json.loads(written.text[len(before) :]), value)
    deltas = random_cuts(rng, text)
    parser, follower = follow(deltas, trust_quotes=trusted)
    if lenient and parser.objection() is not None:
        return  # what was written can be read in two ways, and the parser says so
    assert parser.complete
    assert same(parser.value, value)
    if not lenient and value and after != ' {"n": 9}':
        assert parser.problems == []
    assert list(follower.done) == list(written.proofs), "the order of closing"
    feed_of_offset = [number for number, delta in enumerate(deltas) for _ in delta]
    feed_of_offset.append(len(deltas))
    for keys, proof in written.proofs.items():
        assert same(follower.done[keys].value, written.values[keys])
        assert follower.done[keys].is_complete
        came = follower.feed_of[keys]
        assert came >= feed_of_offset[proof.closing], f"{keys} came before it was closed"
        if proof.proven is not None and not lenient and value:
            assert came <= feed_of_offset[proof.proven], f"{keys} came late"


def check_truncation(rng: random.Random, lenient: bool) -> None:
    """Law: of a text that was cut, complete values are right, text is a prefix, and what was open says so."""
    value = {"value": random_value(rng, 4), "tail": random_value(rng, 3)}
    writer = Writer(rng, lenient)
    writer.write(value)
    written = writer.finish()
    length = rng.randrange(len(written.text))
    parser, follower = follow(random_cuts(rng, written.text[:length]))
    assert not parser.complete
    for keys, event in follower.done.items():
        if event.is_complete:
            assert same(event.value, written.values[keys])
            assert written.proofs[keys].closing < length
        else:
            assert event.truncated
            assert event.finish_reason == "stop"
            if event.kind == "string":
                assert written.values[keys].startswith(event.value)
    if follower.done:
        assert follower.done[()].truncated


def check_damage(rng: random.Random, lenient: bool) -> None:
    """Law: no text raises, the stream stays well-formed, and where the text is cut makes no difference."""
    writer = Writer(rng, lenient)
    before, after = surrounded(rng)
    writer.put(before)
    writer.write({"title": random_text(rng), "items": random_value(rng, 3)})
    chars = list(writer.finish().text + after + rng.choice(SECOND_BLOCK))
    for _ in range(rng.choice((1, 1, 2, 3, 10))):
        position = rng.randrange(len(chars) + 1)
        roll = rng.random()
        if roll < 0.5:
            chars.insert(position, rng.choice(DAMAGE))
        elif roll < 0.8:
            del chars[position : position + rng.choice((1, 1, 3))]
        else:
            chars[position:position] = rng.choice(DAMAGING_PIECES)
    text = "".join(chars)
    options = rng.choice(OPTIONS)
    outcomes: list[object] = []
    for deltas in ([text], list(text), random_cuts(rng, text)):
        parser, follower = follow([delta for delta in deltas if delta], **options)
        done = [
            (event.keys, event.kind, event.is_complete, follower.seen[event.keys]) for event in follower.done.values()
        ]
        outcomes.append((done, follower.attempt, parser.complete, repr(parser.value), parser.problems))
    assert outcomes[0] == outcomes[1], (text, options)
    assert outcomes[0] == outcomes[2], (text, options)


def check_slip(rng: random.Random, lenient: bool) -> None:
    """Law: of JSON in which one character of the notation is missing, a value that is called valid is the one that was
    written, or the one that the text has as JSON."""
    value = {"title": plain_value(rng, 2), "items": plain_value(rng, 3)}
    text = json.dumps(value, ensure_ascii=False, indent=rng.choice((None, None, 1)))
    slips = [at for at, char in enumerate(text) if char in '{}[]",:\\']
    at = rng.choice(slips)
    text = text[:at] + text[at + 1 :]
    parser, _ = follow(random_cuts(rng, text), root="object", expect_keys=["title", "items"])
    if not parser.complete or parser.objection() is not None or parser.value.keys() != value.keys():
        return  # invalid, as the description demands both keys
    try:
        value = json.loads(text)
    except ValueError:
        assert parser.problems, text
    assert same(parser.value, value), (text, parser.value)


def plain_value(rng: random.Random, depth: int) -> Any:
    """A value whose texts are words, some of them in quotation marks."""
    roll = rng.random()
    if depth > 0 and roll < 0.5:
        values = [plain_value(rng, depth - 1) for _ in range(rng.randrange(4))]
        return values if roll < 0.25 else dict(zip(("a", "b", "c d"), values, strict=False))
    if roll < 0.8:
        words = [rng.choice(("wind", "sail 12", "a,", "x: y", '"so"', "{ok}", "日本", "“on”")) for _ in range(4)]
        return " ".join(words[: rng.randrange(5)])
    return rng.choice([True, None, *NUMBERS])


CHECKS = (check_document, check_truncation, check_damage, check_slip)


def check(seed: int) -> None:
    """One case, entirely determined by its seed."""
    rng = random.Random(seed)
    rng.choice(CHECKS)(rng, lenient=rng.random() < 0.5)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    arguments.add_argument("cases", type=int, nargs="?", default=100_000)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    started = time.perf_counter()
    for number in range(options.cases):
        seed = options.seed * 1_000_000_000 + number
        try:
            check(seed)
        except BaseException:
            print(f"case {number} failed; repeat it with: check({seed})", file=sys.stderr)
            raise
        if number % 50_000 == 49_999:
            print(f"{number + 1:,} cases, {time.perf_counter() - started:.0f} s", flush=True)
    print(f"{options.cases:,} cases passed in {time.perf_counter() - started:.0f} s (seed {options.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
