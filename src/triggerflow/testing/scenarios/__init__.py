"""Small flows with their expected results: one test suite for every driver and every store.

    @pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
    async def test_my_driver(scenario):
        execution = scenario.make().create_execution()
        outside = asyncio.create_task(scenario.outside(Outside(execution)))
        ...

The expected result does not depend on where an execution is interrupted and continued: a chunk may run several times,
but each of its effects is recorded once.
"""

from . import failures, operators, pauses, signals, subflows
from .scenario import SCENARIOS, Outside, Scenario, shown

__all__ = ["SCENARIOS", "Outside", "Scenario", "failures", "operators", "pauses", "shown", "signals", "subflows"]
