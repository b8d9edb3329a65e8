"""What instant parsing costs: throughput, cost per delta from 2 KB to 2 MB, detection lag, memory, and peers.

    python -m bench.instant            # about 15 s
    python -m bench.instant --quick    # about 3 s: answers up to 200 KB

Figures are process CPU time, best of several runs. Peers are measured in the same run when they are installed
(`pip install jiter ijson`): jiter has no state, so it parses the whole prefix at every delta, which is sampled here.
"""

import argparse
import json
import random
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from triggerflow.models.instant import Event, InstantParser

TEXT = "a solar sail turns sunlight into thrust while instant parsers hand each finished field to the next chunk"
WORDS = TEXT.split()
ANSWER_LENGTH = 205_000
DELTA = 4
SAMPLE = 50


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def answer(length: int) -> str:
    """A structured answer: a list of objects with text of several lengths, numbers, literals and lists."""
    rng = random.Random(1)
    items: list[dict[str, Any]] = []
    size = 0
    while size < length:
        item = {
            "title": sentence(rng, 6),
            "body": sentence(rng, 40),
            "score": round(rng.random(), 4),
            "rank": rng.randrange(1000),
            "ok": rng.random() < 0.5,
            "tags": [rng.choice(WORDS) for _ in range(4)],
        }
        items.append(item)
        size += len(json.dumps(item)) + 2
    return json.dumps({"title": sentence(rng, 6), "items": items})


def one_string(length: int) -> str:
    return json.dumps({"text": "plain text " * (length // 11)})


def escaped_string(length: int) -> str:
    return json.dumps({"text": "line\n\u65e5 " * (length // 13)})


def numbers(length: int) -> str:
    return json.dumps(list(range(100_000, 100_000 + length // 8)))


def thinking(length: int) -> str:
    return "<think>" + "perhaps {x} " * (length // 12) + '</think>{"a": 1}'


SHAPES: dict[str, Callable[[int], str]] = {
    "objects": answer,
    "one string": one_string,
    "escaped string": escaped_string,
    "numbers": numbers,
    "thinking": thinking,
}


def deltas_of(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def ours(deltas: list[str]) -> int:
    parser = InstantParser()
    feed = parser.feed
    events = 0
    for delta in deltas:
        events += len(feed(delta))
    return events + len(parser.finish())


def cpu_seconds(run: Callable[[], object], rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        run()
        best = min(best, time.process_time() - started)
    return best


def throughput(text: str) -> float:
    """Print the table of delta sizes; return the seconds for deltas of 4 characters."""
    print(f"Throughput, {len(text):,} characters\n")
    print(f"{'delta':>10} {'deltas':>8} {'events':>8} {'total s':>9} {'us/delta':>9} {'MB/s':>7}")
    seconds_at_4 = 0.0
    for size in (1, DELTA, 16, 64, 1024, len(text)):
        deltas = deltas_of(text, size)
        seconds = cpu_seconds(lambda deltas=deltas: ours(deltas), 5)
        if size == DELTA:
            seconds_at_4 = seconds
        print(
            f"{size if size < len(text) else 'all':>10} {len(deltas):>8,} {ours(deltas):>8,} {seconds:>9.4f}"
            f" {seconds / len(deltas) * 1e6:>9.2f} {len(text) / seconds / 1e6:>7.2f}"
        )
    return seconds_at_4


def peers(text: str, seconds: float) -> None:
    print(f"\nPeers, the same text in deltas of {DELTA} characters\n")
    deltas = deltas_of(text, DELTA)
    if find_spec("ijson") is None:
        print("  ijson is not installed: pip install ijson")
    else:
        import ijson

        def run_ijson() -> None:
            found = ijson.sendable_list()
            target = ijson.basic_parse_coro(found)
            for delta in deltas:
                target.send(delta.encode())
            target.close()

        show("ijson " + ijson.backend, cpu_seconds(run_ijson, 5), seconds, "no partial text, no paths, strict JSON")
    if find_spec("jiter") is None:
        print("  jiter is not installed: pip install jiter")
    else:
        import jiter

        encoded = text.encode()
        ends = range(DELTA, len(encoded), DELTA * SAMPLE)

        def run_jiter() -> None:
            for end in ends:
                jiter.from_json(encoded[:end], partial_mode="trailing-strings")

        sampled = cpu_seconds(run_jiter, 2) * SAMPLE
        show(f"jiter re-parse (1 of {SAMPLE})", sampled, seconds, "snapshots to compare, strict JSON")


def show(name: str, theirs: float, seconds: float, remark: str) -> None:
    print(f"  {name:<26} {theirs:>8.3f} s   ours / theirs {seconds / theirs:>6.3f}   ({remark})")


def flatness(lengths: list[int]) -> None:
    print(f"\nCost of a delta of {DELTA} characters (us) as the answer grows\n")
    print(f"{'':>16}" + "".join(f"{length // 1000:>8,} KB" for length in lengths) + "   last/first")
    for name, make in SHAPES.items():
        costs: list[float] = []
        for length in lengths:
            deltas = deltas_of(make(length), DELTA)
            rounds = max(1, min(50, 100_000 // length)) + 1
            costs.append(cpu_seconds(lambda deltas=deltas: ours(deltas), rounds) / len(deltas) * 1e6)
        print(f"{name:>16}" + "".join(f"{cost:>11.2f}" for cost in costs) + f"{costs[-1] / costs[0]:>13.2f}")


def closings(text: str) -> Iterator[tuple[str, int]]:
    """Each path of `answer()` and the offset of the character that proves it: an independent walk over strict JSON."""
    decoder = json.JSONDecoder()

    def walk(at: int, path: str) -> Iterator[tuple[str, int]]:
        if text[at] not in "{[":
            end = decoder.raw_decode(text, at)[1]
            yield path, end - 1 if text[at] == '"' else end
            return
        closing, at, index = ("}" if text[at] == "{" else "]"), at + 1, 0
        opened_object = closing == "}"
        while text[at] != closing:
            if text[at] in ", ":
                at += 1
                continue
            if opened_object:
                key, at = decoder.raw_decode(text, at)
                at += 2  # ": "
                inner = f"{path}.{key}" if path else key
            else:
                inner = f"{path}[{index}]"
                index += 1
            yield from walk(at, inner)
            at = decoder.raw_decode(text, at)[1]
        yield path, at

    return walk(0, "")


def lag(text: str) -> None:
    print(f"\nDetection lag in deltas of {DELTA} characters (0: done in the delta whose characters prove it)\n")
    proof = dict(closings(text))
    lags: dict[str, list[int]] = defaultdict(list)
    parser = InstantParser()
    for number, delta in enumerate(deltas_of(text, DELTA)):
        for event in parser.feed(delta):
            if event.is_complete:
                lags[event.kind].append(number - proof.pop(event.path) // DELTA)
    assert not proof, "a value was never reported"
    for kind, found in lags.items():
        print(f"  {kind:<8} {len(found):>6,} values   lag {min(found)} to {max(found)}")


def memory(text: str) -> None:
    print("\nMemory, traced, per character of the answer\n")
    deltas = deltas_of(text, DELTA)
    tracemalloc.start()
    parser = InstantParser()
    for delta in deltas:
        parser.feed(delta)
    alone = tracemalloc.get_traced_memory()[0]
    kept: list[Event] = []
    parser = InstantParser()
    for delta in deltas:
        kept.extend(parser.feed(delta))
    logged = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(
        f"  {alone / len(text):.1f} bytes for the parser and its value, {logged / len(text):.1f} with every event kept"
    )


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    arguments.add_argument("--quick", action="store_true", help="answers up to 200 KB only")
    quick = arguments.parse_args().quick
    text = answer(ANSWER_LENGTH)
    seconds = throughput(text)
    peers(text, seconds)
    flatness([2_000, 20_000, 200_000] if quick else [2_000, 20_000, 200_000, 2_000_000])
    lag(text)
    memory(text)
    rate = len(text) / seconds / 1e6
    print(f"\n{rate:.2f} MB/s in deltas of {DELTA} characters (the floor is 1.5)")
    return 0 if rate >= 1.5 else 1


if __name__ == "__main__":
    sys.exit(main())
