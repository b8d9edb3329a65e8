"""A process of a service, for the tests: `python -m tests.server.program STORE PORT [OPTIONS]`.

STORE is a file, or a JSON list of the address of a database and a schema. PORT "-" serves nothing and works; OPTIONS is
JSON: `limits` of the server, and `worker`, whether it works as well.
"""

import asyncio
import json
import sys
from typing import Any

from tests.server.flows import counter, echo, report
from triggerflow.durable import Worker
from triggerflow.server import Limits, Server, create_app
from triggerflow.stores import PostgresStore, SQLiteStore


def store_of(place: str) -> Any:
    """The store at a place."""
    if place.startswith("["):
        conninfo, schema = json.loads(place)
        return PostgresStore(conninfo, schema=schema, lease=3)
    return SQLiteStore(place, synchronous="NORMAL", lease=3)


async def main(place: str, port: str, options: str = "{}") -> None:
    """Serve, or work."""
    flows, store, given = [report(), echo(), counter(0.02)], store_of(place), json.loads(options)
    if port == "-":
        async with store, Worker(store, *flows):
            await asyncio.Event().wait()
    app = create_app(flows, store, worker=given.get("worker", False), limits=Limits(**given.get("limits", {})))
    await Server(app, port=int(port)).serve()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
