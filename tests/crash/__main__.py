"""`python -m tests.crash`: kill a working process again and again, and look for anything lost, doubled or wrong."""

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.postgres import running_cluster

from .harness import World
from .verify import verify


def show(world: World) -> None:
    """A line for every tenth kill."""
    if world.killed % 10 == 0:
        print(
            f"  {world.killed}/{world.kills} kills, {len(world.done)}/{len(world.values)} executions done, "
            f"{world.acknowledged.count():,} acknowledgements, {len(world.wrong)} wrong",
            flush=True,
        )


def nothing() -> None:
    """A file needs no restart."""


def main() -> None:
    """Run it, print a summary, and exit with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--executions", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=8, help="how long an execution is")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the moments; the machine adds its own")
    parser.add_argument("--synchronous", choices=("FULL", "NORMAL"), default="FULL")
    parser.add_argument("--life", type=float, default=0.4, help="seconds; more on a busy machine, or nothing is done")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--restarts", type=int, default=10, help="of the database, with --store postgres")
    parser.add_argument("--workers", type=int, default=1, help="how many processes work on the store at the same time")
    parser.add_argument("--file", type=Path, help="where the store is kept; default: a temporary directory")
    options = parser.parse_args()
    begun = time.monotonic()
    print(f"{options.kills} kills over {options.executions} executions, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="crash-") as directory, ExitStack() as stack:
        place, restart = str(options.file or Path(directory) / "runs.db"), nothing
        if options.store == "postgres":
            cluster = stack.enter_context(running_cluster())
            place, restart = cluster.conninfo, cluster.restart
        world = World(
            place,
            executions=options.executions,
            rounds=options.rounds,
            kills=options.kills,
            seed=options.seed,
            synchronous=options.synchronous,
            restarts=options.restarts if options.store == "postgres" else 0,
            restart=restart,
            life=options.life,
            workers=options.workers,
        )
        asyncio.run(world.run(show))
        print("  the work is done; reading it again", flush=True)
        counts = asyncio.run(verify(world))
    for line in world.wrong[:50]:
        print(f"WRONG {line}")
    found = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    ready = sorted(world.ready_after)
    print(
        f"{'ok' if not world.wrong else 'FAILED'}: {world.killed} kills ({world.killed_early} during start-up), "
        f"{world.killed_beside} of processes beside, "
        f"{world.restarted} restarts of the database, "
        f"{len(world.done)} executions, {found}, {world.acknowledged.count():,} acknowledgements checked, "
        f"{len(world.wrong)} wrong; start and take-over {1000 * ready[len(ready) // 2]:.0f} ms (median); "
        f"{time.monotonic() - begun:.0f} s, seed {options.seed}"
    )
    sys.exit(bool(world.wrong))


if __name__ == "__main__":
    main()
