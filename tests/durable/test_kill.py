"""A process that works on durable executions is killed again and again. `make crash` is the long form of this."""

from pathlib import Path

import pytest

from tests import soak
from tests.crash.harness import World
from tests.crash.verify import verify
from tests.postgres import needs_postgres, running_cluster


@pytest.mark.real_time
@pytest.mark.timeout(300)
@pytest.mark.seeds(1, 2)
async def test_nothing_is_lost_doubled_or_wrong_however_often_the_process_is_killed(tmp_path: Path, seed: int) -> None:
    kills, executions, rounds = (100, 80, 8) if soak.is_soak() else (6, 12, 4)
    place = str(tmp_path / "runs.db")
    world = World(place, executions=executions, rounds=rounds, kills=kills, seed=seed, synchronous="FULL")
    await world.run()
    counts = await verify(world)
    assert world.wrong == []
    assert len(world.done) == executions
    assert counts["recoveries"] >= kills  # the kills have hit something
    assert world.acknowledged.count() > executions  # how many there are depends on the moments of the kills
    assert world.acknowledged.states
    assert world.acknowledged.items


@needs_postgres
@pytest.mark.real_time
@pytest.mark.timeout(300)
@pytest.mark.seeds(1, 2)
async def test_the_same_on_postgres_with_restarts_of_the_database(seed: int) -> None:
    kills, executions, rounds, restarts = (60, 40, 8, 6) if soak.is_soak() else (3, 6, 2, 1)
    with running_cluster() as cluster:
        world = World(
            cluster.conninfo,
            executions=executions,
            rounds=rounds,
            kills=kills,
            seed=seed,
            synchronous="FULL",
            restarts=restarts,
            restart=cluster.restart,
        )
        await world.run()
        await verify(world)
    assert world.wrong == []
    assert len(world.done) == executions
