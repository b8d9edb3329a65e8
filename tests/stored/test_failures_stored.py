"""A saved execution of rules 3: collected failures, a missing branch, and a route at work go on as they were."""

import json
from pathlib import Path

from tests.stored.failures.flows import failing
from triggerflow import Failure

SAVED = Path(__file__).parent / "failures" / "saved.json"


async def test_failures_that_were_saved_go_on() -> None:
    saved = json.loads(SAVED.read_text(encoding="utf-8"))
    assert saved["state"]["rules"] == 3
    execution = failing().load_execution(saved)
    await execution.async_open()
    assert sorted(execution.get_pending_interrupts()) == ["2", "batch", "director"]
    for interrupt in ("2", "batch", "director"):
        await execution.async_continue_with(interrupt, f"answer {interrupt}")
    assert await execution.async_get_result() is None
    assert execution.state.get("items") == [Failure("work", "ValueError", "no 1", 1), "answer 2"]
    assert execution.state.get("undone") == ["breaks", "again"]
    assert execution.state.get("never") is None
