"""Small flows with what they have to come to: one suite for any driver and any store.

    @pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
    async def test_my_driver(scenario):
        execution = scenario.make().create_execution()
        outside = asyncio.create_task(scenario.outside(Outside(execution)))
        ...

What a scenario expects does not depend on where it is interrupted and goes on: chunks run at least once, and what is
recorded is recorded once.
"""

from . import failures, operators, pauses, signals, subflows
from .scenario import SCENARIOS, Outside, Scenario, shown

__all__ = ["SCENARIOS", "Outside", "Scenario", "failures", "operators", "pauses", "shown", "signals", "subflows"]
