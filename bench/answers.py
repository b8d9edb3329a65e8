"""Messy answers of models, read by ours and by other libraries: right, invalid, or silently wrong.

    python -m bench.answers               # totals, and the silently wrong ones by kind
    python -m bench.answers --ids jiter   # which answers a library reads wrongly, and as what

The answers are those of tests/models/corpus. Ours gets the chunks of a stream. The others get the whole text, and help
that a program around them would give:

- An answer of which the provider says that it reached the limit of tokens counts as invalid.
- An answer that does not begin with a bracket is cut after its last closing thinking mark, whatever the model's family.
- Libraries that do not search for JSON get the content of the last fence, if there is one, and of that the part between
  the first bracket of the expected kind and the last such closing bracket.
- Every value is checked against the description of the answer, as `Response` does. What does not fit is invalid.

Other libraries are skipped where they are not installed: `pip install --group bench`.
"""

import argparse
import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from tests.models.answers import Outcome, Sample, abouts, deliver, samples, verdict
from triggerflow.models.outputs import Output

Reader = Callable[[str], Any]
PEERS = {"jiter": "jiter", "partial_json_parser": "partial-json-parser", "json_repair": "json-repair"}
VERDICTS = ("right", "defensible", "invalid", "wrong")
FENCE = re.compile(r"(?:```|~~~)[a-z]*\s(.*?)(?:```|~~~|\Z)", re.DOTALL)
THOUGHT = re.compile(
    r"</(?:\w+:)?(?:think|thinking|thought|reasoning|reflection|scratchpad)>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>"
    r"|(?:<\|channel\|>|assistant)final(?:<\|message\|>)?",
    re.IGNORECASE,
)


def without_thoughts(text: str) -> str:
    return text if text.lstrip().startswith(("{", "[{", '["')) else THOUGHT.split(text)[-1]


def json_block(text: str, root: str | None) -> str:
    """What a careful program cuts out of an answer for a library that only parses."""
    opening, closing = "[]" if root == "array" else "{}"
    if not text.lstrip().startswith(opening) and (fenced := FENCE.findall(text)):
        text = fenced[-1]
    start, end = text.find(opening), text.rfind(closing)
    return text if start < 0 else text[start : end + 1] if end > start else text[start:]


def readers() -> dict[str, tuple[Reader, bool]]:
    """The other libraries: how each reads a text, and whether it searches for the JSON in it."""
    found: dict[str, tuple[Reader, bool]] = {"json": (json.loads, False)}
    if find_spec("jiter"):
        import jiter

        found["jiter"] = (lambda text: jiter.from_json(text.encode(), partial_mode="trailing-strings"), False)
    if find_spec("partial_json_parser"):
        import partial_json_parser

        found["partial-json-parser"] = (partial_json_parser.loads, False)
    if find_spec("json_repair"):
        import json_repair

        found["json_repair"] = (json_repair.loads, True)
        found["json_repair strict"] = (lambda text: json_repair.loads(text, strict=True), True)
    return found


def read(sample: Sample, reader: Reader, searches: bool) -> Outcome:
    if sample.finish == "length":
        return Outcome("the provider says that it was cut off")
    output = Output(sample.output)
    try:
        text = without_thoughts(sample.text)
        data = reader(text if searches else json_block(text, output.root))
        output.convert(data)
    except Exception as error:
        return Outcome(type(error).__name__)
    return Outcome(None, data)


async def outcomes() -> dict[str, list[tuple[Sample, Outcome]]]:
    corpus = samples()
    found = {"ours": [(sample, await deliver(sample, [sample.text])) for sample in corpus]}
    for name, (reader, searches) in readers().items():
        found[name] = [(sample, read(sample, reader, searches)) for sample in corpus]
    return found


def show(found: dict[str, list[tuple[Sample, Outcome]]]) -> None:
    corpus = [sample for sample, _ in found["ours"]]
    clear = sum(bool(sample.intended) for sample in corpus)
    print(f"{len(corpus)} answers, {clear} of them with one clear meaning\n")
    print(f"{'':<22}{'right':>8}{'other':>8}{'invalid':>9}{'silently wrong':>16}   clean ones right")
    counts: dict[str, Counter[tuple[str, str]]] = {}
    for name, read_ones in found.items():
        counts[name] = Counter((sample.kind, verdict(sample, outcome)) for sample, outcome in read_ones)
        right, other, invalid, wrong = (sum(counts[name][kind, it] for kind in abouts()) for it in VERDICTS)
        clean = counts[name]["clean", "right"]
        print(f"{name:<22}{right:>8}{other:>8}{invalid:>9}{wrong:>16}   {clean} of {clear_of(corpus, 'clean')}")
    print("\nright / silently wrong, by kind\n")
    print(f"{'':<14}{'answers':>8}{'clear':>7}" + "".join(f"{name:>21}" for name in found))
    for kind in abouts():
        row = f"{kind:<14}{sum(it.kind == kind for it in corpus):>8}{clear_of(corpus, kind):>7}"
        print(row + "".join(f"{counts[it][kind, 'right']:>14} /{counts[it][kind, 'wrong']:>5}" for it in found))
    print("\nother: a value that a reader could defend where there is doubt; see tests/models/corpus/README.md")
    for module, distribution in PEERS.items():
        known = version(distribution) if find_spec(module) else f"is not installed: pip install {distribution}"
        print(distribution, known)


def clear_of(corpus: list[Sample], kind: str) -> int:
    return sum(bool(sample.intended) for sample in corpus if sample.kind == kind)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    arguments.add_argument("--ids", metavar="LIBRARY", help="list the answers that this library reads wrongly")
    library = arguments.parse_args().ids
    found = asyncio.run(outcomes())
    if library is None:
        show(found)
        return
    if library not in found:
        arguments.error(f"no library {library!r}; there are: {', '.join(found)}")
    for sample, outcome in found[library]:
        if verdict(sample, outcome) == "wrong":
            print(f"{sample.kind}/{sample.id}\n    {sample.text!r}\n    {outcome}")


if __name__ == "__main__":
    main()
