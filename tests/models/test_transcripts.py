"""What a real small model wrote, recorded as the deltas that it came in: SmolLM2-135M-Instruct, asked for JSON.

Each answer was asked for as `{"title", "tags": [...], "summary"}`, with the schema enforced only for `list_at_limit`.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.instant_support import Follower
from triggerflow.models import Delta, InvalidResponseError, Response, TruncatedResponseError

FOLDER = Path(__file__).parent / "transcripts"
OUTPUT = {"title": str, "tags": [str], "summary": str}


def response(name: str) -> Response:
    recorded = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return Response([*recorded["deltas"], Delta(finish_reason=recorded["finish_reason"])], output=OUTPUT)


@pytest.mark.parametrize(
    ("name", "error", "paths"),
    [
        ("echoed_task", InvalidResponseError, set()),
        ("prose", InvalidResponseError, set()),
        ("prose_at_limit", TruncatedResponseError, None),
        ("list_at_limit", TruncatedResponseError, {"title", "tags[0]", "tags[1]"}),
        ("complete_then_limit", None, {"title", "tags[0]", "tags", "summary", ""}),
    ],
)
async def test_a_real_answer(name: str, error: Any, paths: set[str] | None) -> None:
    answer = response(name)
    follower = Follower()

    async def read() -> None:
        async for event in answer.get_async_generator("instant"):
            follower.take([event])

    if error is None:
        await read()
        assert set(await answer.async_get_data()) == set(OUTPUT)
    else:
        with pytest.raises(error):
            await read()
    if paths is not None:
        complete = {event.path for event in follower.done.values() if event.is_complete}
        assert paths <= complete
        assert bool(paths) == bool(complete)
