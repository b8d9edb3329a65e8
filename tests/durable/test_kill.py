"""A process that works on durable executions is killed again and again. `make crash` is the long form of this."""

from pathlib import Path

import pytest

from tests import soak
from tests.crash.harness import World
from tests.crash.verify import verify


@pytest.mark.real_time
@pytest.mark.timeout(300)
@pytest.mark.seeds(1, 2)
async def test_nothing_is_lost_doubled_or_wrong_however_often_the_process_is_killed(tmp_path: Path, seed: int) -> None:
    kills, executions, rounds = (100, 80, 8) if soak.is_soak() else (6, 12, 4)
    path = tmp_path / "runs.db"
    world = World(path, executions=executions, rounds=rounds, kills=kills, seed=seed, synchronous="FULL")
    await world.run()
    counts = await verify(world)
    assert world.wrong == []
    assert len(world.done) == executions
    assert counts["recoveries"] >= kills  # the kills have hit something
    assert world.acknowledged.count() > executions  # how many there are depends on the moments of the kills
    assert world.acknowledged.states
    assert world.acknowledged.items
