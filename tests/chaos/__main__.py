"""`python -m tests.chaos`: worker processes that are killed, stopped and locked out; nothing may be lost or doubled."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from .harness import Chaos


def main() -> None:
    """Run it, print a summary, and exit with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long the harm lasts")
    parser.add_argument("--executions", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the harm; the machine adds its own")
    parser.add_argument("--store", help="a file or postgresql://...; default: a file in a temporary directory")
    options = parser.parse_args()
    print(f"{options.executions} executions, {options.minutes:g} minutes, seed {options.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        chaos = Chaos(
            options.store or str(Path(directory) / "runs.db"),
            executions=options.executions,
            workers=options.workers,
            seconds=options.minutes * 60,
            seed=options.seed,
        )
        asyncio.run(chaos.run())
    for line in chaos.wrong[:50]:
        print(f"WRONG {line}")
    harm = ", ".join(f"{count} {what}" for what, count in sorted(chaos.harm.items()))
    print(
        f"{'FAILED' if chaos.wrong else 'ok'}: {chaos.done}, {chaos.answered} answers; {harm}; "
        f"{len(chaos.wrong)} wrong; {time.monotonic() - begun:.0f} s, seed {options.seed}"
    )
    sys.exit(bool(chaos.wrong))


if __name__ == "__main__":
    main()
