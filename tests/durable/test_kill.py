"""A process that works on durable executions is killed again and again. `make crash` is the long form of this."""

from pathlib import Path

import pytest

from tests.crash.harness import World
from tests.crash.verify import verify


@pytest.mark.real_time
@pytest.mark.timeout(120)
async def test_nothing_is_lost_doubled_or_wrong_however_often_the_process_is_killed(tmp_path: Path) -> None:
    world = World(tmp_path / "runs.db", executions=16, rounds=4, kills=8, seed=3, synchronous="FULL")
    await world.run()
    counts = await verify(world)
    assert world.wrong == []
    assert len(world.done) == 16
    assert counts["recoveries"] >= 8  # the kills have hit something
    assert world.acknowledged.count() > 100
    assert world.acknowledged.states
    assert world.acknowledged.items
