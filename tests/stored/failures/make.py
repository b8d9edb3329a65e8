"""Writes `saved.json`: `PYTHONPATH=src:. python tests/stored/failures/make.py`. It was run once, with rules 3."""

import asyncio
import json
from pathlib import Path

from tests.stored.failures.flows import at_rest, failing


async def main() -> None:
    execution = failing().create_execution(id="failing")
    await at_rest(execution)
    path = Path(__file__).parent / "saved.json"
    path.write_text(json.dumps(execution.save(), indent=1) + "\n", encoding="utf-8")
    await execution.async_cancel()


asyncio.run(main())
