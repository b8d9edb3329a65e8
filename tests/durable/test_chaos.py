"""`make chaos` in short: two workers, a few seconds of harm."""

import asyncio
from pathlib import Path

import pytest

from tests import soak
from tests.chaos.harness import Chaos


@pytest.mark.real_time
@pytest.mark.parametrize("seconds", soak.cases([4.0, 60.0], some=[4.0]))
def test_harm_loses_and_doubles_nothing(seconds: float, tmp_path: Path) -> None:
    chaos = Chaos(
        str(tmp_path / "runs.db"),
        executions=int(seconds * 8),
        workers=2,
        seconds=seconds,
        seed=soak.seed() + 1,
        lease=1.0,
    )
    asyncio.run(chaos.run())
    assert chaos.wrong == []
    assert chaos.done == {"completed": chaos.executions}
