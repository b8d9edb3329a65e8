"""The corpus of model answers (see `tests/models/corpus/README.md`), read, and delivered to `Response` in pieces.

`python -m tests.models.answers` writes docs/model-answers.md, and lists the samples that go wrong in corpus/open.txt.
"""

import asyncio
import json
import pathlib
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from triggerflow.models import InvalidResponseError, Response, TruncatedResponseError

CORPUS = pathlib.Path(__file__).parent / "corpus"
OPEN = CORPUS / "open.txt"
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "model-answers.md"
SIZES = (1, 3, 7, 16)
_TYPES = {"str": str, "int": int, "float": float, "bool": bool, "dict": dict, "list": list, "any": Any}
_TYPES |= {f"{name}|null": kind | None for name, kind in _TYPES.items() if name != "any"}


@dataclass(frozen=True)
class Sample:
    kind: str
    id: str
    text: str
    output: Any
    finish: str
    clean: bool
    intended: list[Any]
    """The value that the answer means, as the one item; empty if there is doubt."""
    acceptable: list[Any]
    """Further values that are not wrong."""

    def deliveries(self) -> Iterator[list[str]]:
        """The text whole, in pieces of several sizes, and in every cut in two."""
        yield [self.text]
        yield from self.in_sizes()
        for at in range(1, len(self.text)):
            yield [self.text[:at], self.text[at:]]

    def in_sizes(self) -> Iterator[list[str]]:
        for size in SIZES:
            yield [self.text[at : at + size] for at in range(0, len(self.text), size)]


@dataclass(frozen=True)
class Outcome:
    """What became of an answer: its value, or the class of its error; and an event that the value contradicts."""

    error: str | None
    data: Any = None
    contradicted: str | None = None

    def __str__(self) -> str:
        if self.error:
            return self.error
        return (
            f"valid: {json.dumps(self.data, ensure_ascii=False)}{f' but {self.contradicted}' * bool(self.contradicted)}"
        )


def samples() -> list[Sample]:
    found: list[Sample] = []
    for file in sorted(CORPUS.glob("*.toml")):
        with file.open("rb") as opened:
            content = tomllib.load(opened)
        clean = content.get("clean", False)
        for row in content["sample"]:
            row = {"output": content["output"], "finish": content.get("finish", "stop"), **row}
            said = row.get("intended", row["text"] if clean else None)
            found.append(
                Sample(
                    kind=file.stem,
                    id=row["id"],
                    text=row["text"],
                    output=_described(json.loads(row["output"])),
                    finish=row["finish"],
                    clean=clean,
                    intended=[] if said is None else [json.loads(said)],
                    acceptable=[json.loads(value) for value in row.get("acceptable", ())],
                )
            )
    return found


def abouts() -> dict[str, str]:
    return {file.stem: tomllib.loads(file.read_text("utf-8"))["about"] for file in sorted(CORPUS.glob("*.toml"))}


def _described(notation: Any) -> Any:
    if isinstance(notation, dict):
        return {key: _described(part) for key, part in notation.items()}
    return [_described(part) for part in notation] if isinstance(notation, list) else _TYPES[notation]


def equal(a: Any, b: Any, *, strictly: bool = False) -> bool:
    """Whether two JSON values say the same. `strictly`: 1 and 1.0 do not."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key], strictly=strictly) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(equal(*pair, strictly=strictly) for pair in zip(a, b, strict=True))
    numbers = {type(a), type(b)} <= {int, float} and not strictly
    return (numbers and a == b) or (type(a) is type(b) and repr(a) == repr(b))


async def deliver(sample: Sample, pieces: Iterable[str]) -> Outcome:
    """Read the answer as a provider would send it: chunks of text, and why it ended."""

    async def chunks() -> AsyncIterator[dict[str, Any]]:
        for piece in pieces:
            yield {"choices": [{"delta": {"content": piece}}]}
        if sample.finish != "cut":
            yield {"choices": [{"delta": {}, "finish_reason": sample.finish}]}

    response = Response(chunks(), output=sample.output, max_retries=0, originals=False)
    done: dict[tuple[str | int, ...], Any] = {}
    texts: dict[tuple[str | int, ...], str] = {}
    try:
        async for event in response.get_async_generator("instant"):
            if event.event_type == "reset":
                done.clear()
                texts.clear()
            elif event.event_type == "delta":
                texts[event.keys] = texts.get(event.keys, "") + event.delta
            else:
                done[event.keys] = json.dumps(event.value)
        data = await response.async_get_data()
    except (InvalidResponseError, TruncatedResponseError) as error:
        return Outcome(type(error).__name__)
    for keys, reported in (*done.items(), *((keys, json.dumps(text)) for keys, text in texts.items())):
        part = data
        try:
            for key in keys:
                part = part[key]
        except (LookupError, TypeError):
            part = "(nothing)"
        if reported != json.dumps(part):
            return Outcome(None, data, f"an event said {reported} at {keys}")
    return Outcome(None, data)


def verdict(sample: Sample, outcome: Outcome) -> str:
    """ "right", "defensible" (another acceptable value), "invalid", or "wrong"."""
    if outcome.error:
        return "invalid"
    if outcome.contradicted:
        return "wrong"
    if any(equal(outcome.data, value, strictly=sample.clean) for value in sample.intended):
        return "right"
    return "defensible" if any(equal(outcome.data, value) for value in sample.acceptable) else "wrong"


async def faults(sample: Sample, deliveries: Iterable[list[str]]) -> list[str]:
    """What is wrong with how this sample is read; empty if nothing is."""
    whole = await deliver(sample, [sample.text])
    found: list[str] = []
    for pieces in ([sample.text], *deliveries):
        outcome = await deliver(sample, pieces)
        how = f"in {[len(piece) for piece in pieces][:4]} of {len(sample.text)} characters"
        if verdict(sample, outcome) == "wrong":
            found.append(f"{how}: {outcome}")
        elif sample.clean and verdict(sample, outcome) != "right":
            found.append(f"{how}: a clean answer is {outcome}")
        elif str(outcome) != str(whole):
            found.append(f"{how}: {outcome}, whole: {whole}")
        elif outcome.error and (outcome.error == "TruncatedResponseError") != (sample.finish != "stop"):
            found.append(f"{how}: {outcome} after {sample.finish!r}")
    return found


async def table() -> dict[str, Counter[str]]:
    """How many samples of each kind have which verdict, and how many of them are clear."""
    rows: dict[str, Counter[str]] = {kind: Counter() for kind in abouts()}
    for sample in samples():
        outcome = await deliver(sample, [sample.text])
        rows[sample.kind] += Counter({"all": 1, "clear": len(sample.intended), verdict(sample, outcome): 1})
    return rows


async def clear_ones() -> tuple[int, int]:
    """How many messy answers with one clear meaning are read right, and how many there are."""
    rows = [row for kind, row in (await table()).items() if kind != "clean"]
    return sum(row["right"] for row in rows), sum(row["clear"] for row in rows)


async def page() -> str:
    """The text of docs/model-answers.md."""
    rows, about = await table(), abouts()
    right, clear = await clear_ones()
    lines = [
        f"| {about[kind]} | {row['all']} | {row['clear']} | {row['right']} | {row['defensible']} | {row['invalid']} |"
        f" {row['wrong']} |"
        for kind, row in rows.items()
    ]
    total = sum(rows.values(), Counter[str]())
    names = ("all", "clear", "right", "defensible", "invalid", "wrong")
    lines.append("| **all** | " + " | ".join(f"**{total[name]}**" for name in names) + " |")
    return HEAD.format(messy=total["all"] - rows["clean"]["all"], part=100 * right // clear) + "\n".join(lines) + "\n"


HEAD = """\
# What becomes of messy answers

Language models that are asked for JSON write quotes that they forget to escape, numbers like `1,000`, comments, drafts,
half an answer. `Response` reads such an answer in the only sensible way, or calls it invalid: then the model is asked
again, and what was reported is retracted. It does not return another value as if it were the answer.

The corpus in `tests/models/corpus` has {messy} messy answers of many kinds, and valid ones that look messy. What
would be right was written down before a parser saw them. Each answer is delivered whole, in every cut in two, and in
pieces of 1, 3, 7 and 16 characters, with the same outcome each time.

- *clear*: a careful reader has no doubt what the answer means. {part} of 100 of the messy ones are read right.
- *other*: there is doubt, and the value is one that a reader could defend.
- *invalid*: `InvalidResponseError`, or `TruncatedResponseError` where the answer was cut off.
- *wrong*: another value that is called valid.

Of answers that are messy in several ways at once (`tests/models/messes.py` makes them at random), about one in 1,500 is
read wrong: unescaped quotations with quotes of both kinds, commas and comment marks close to each other.
Where that is too often, `Response(..., repair=False)` makes every guess invalid.

A test makes this table (`python -m tests.models.answers`); `python -m bench.answers` reads the same answers with other
libraries.

| kind | answers | clear | right | other | invalid | wrong |
|---|---|---|---|---|---|---|
"""


async def _write() -> None:
    PAGE.write_text(await page(), "utf-8")
    found = {sample.id: await faults(sample, sample.deliveries()) for sample in samples()}
    right, clear = await clear_ones()
    open_ones = [name for name, wrong in found.items() if wrong] + ["nine-of-ten"] * (right < 0.9 * clear)
    OPEN.write_text("".join(f"{name}\n" for name in open_ones), "utf-8")
    for name in open_ones:
        print(name, *found.get(name, [])[:1], sep="\n    ")
    print(f"{len(open_ones)} open; {right} of {clear} clear messy answers are right")


if __name__ == "__main__":
    asyncio.run(_write())
