"""What a response keeps: in proportion to its output, free at once when dropped, little for the collector to walk."""

import gc
import itertools
import json
import tracemalloc
from collections.abc import Callable

import pytest

from tests import soak
from tests.models.instant_support import pieces
from triggerflow.models import Response
from triggerflow.models.instant import Event, InstantParser

ITEM = {"title": "a title", "tags": ["x", "y"], "n": 1}
TEXT = json.dumps({"items": [ITEM] * 20, "summary": "words " * 50})
TEXTS = {
    "whole": TEXT,
    "cut inside of a string": TEXT[:-40],
    "after braces in prose": f"Using {{x}}: {TEXT}",
    "wrapped": json.dumps({"result": {"answer": json.loads(TEXT)}}),
    "after a reset": f"{{'items': 1}}</think>{TEXT}",
}

RUNS = 200


def left_by(run: Callable[[], object]) -> float:
    """The bytes that a run leaves behind, without any help of the garbage collector; the interpreter's own included."""
    run()  # what is made once, like cached patterns
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(RUNS):
            run()
        return tracemalloc.get_traced_memory()[0] / RUNS
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize(
    ("text", "finish"),
    soak.cases(
        itertools.product(TEXTS, [True, False]),
        some=[("whole", True), ("cut inside of a string", False), ("wrapped", False), ("after a reset", True)],
    ),
)
def test_a_dropped_answer_is_free_at_once(text: str, finish: bool) -> None:
    text = TEXTS[text]

    def run() -> None:
        parser = InstantParser(expect_keys=["items", "summary"])
        events: list[Event] = []
        for piece in pieces(text, 7):
            events.extend(parser.feed(piece))
        if finish:
            events.extend(parser.finish())
        assert events[-1].full_data
        assert all(isinstance(event.path, str) for event in events)

    assert left_by(run) < 150


async def test_the_collector_has_as_little_to_walk_for_many_deltas_as_for_few() -> None:
    async def kept(size: int) -> int:
        response = Response(pieces(json.dumps({"text": "plain text " * 2_000}), size))
        await response.async_get_data()
        gc.collect()
        before = len(gc.get_objects())
        del response
        gc.collect()
        return before - len(gc.get_objects())

    await kept(4)
    assert await kept(4) <= await kept(4_000) + 5


async def test_memory_is_in_proportion_to_the_output() -> None:
    async def held(length: int) -> float:
        text = json.dumps({"items": [ITEM] * (length // 50)})
        gc.collect()
        tracemalloc.start()
        response = Response(pieces(text, 4))
        await response.async_get_data()
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert response.attempt == 1
        return size / len(text)

    await held(1_000)
    assert await held(100_000) < 1.2 * await held(10_000)
