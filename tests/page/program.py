"""A process that serves the page and works, for the tests: `python -m tests.page.program STORE PORT [OPTIONS]`.

OPTIONS is JSON: `worker` (default: true), `tokens` (token to its scopes; default: everybody may do everything), and
`code`: whether it has the code of the flows.
"""

import asyncio
import json
import logging
import sys
from typing import Any

from tests.page.flows import everything
from triggerflow.server import Grant, Server, create_app
from triggerflow.stores import SQLiteStore


async def main(place: str, port: str, options: str = "{}") -> None:
    """Serve until it is told to stop."""
    given: dict[str, Any] = json.loads(options)
    tokens = {token: Grant(name=token, scopes=frozenset(scopes)) for token, scopes in given.get("tokens", {}).items()}
    app = create_app(
        everything() if given.get("code", True) else [],
        SQLiteStore(place, synchronous="NORMAL", lease=3),
        worker=given.get("worker", True),
        auth=tokens.get if tokens else None,
    )
    await Server(app, port=int(port)).serve()


if __name__ == "__main__":
    logging.disable()  # nobody reads the pipe that this would go to, and what the flows fail with is long
    asyncio.run(main(*sys.argv[1:]))
