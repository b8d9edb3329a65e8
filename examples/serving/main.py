"""Serve the other examples over HTTP, with a worker, on a file of SQLite.

    python -m examples.serving.main                   # at http://127.0.0.1:8099, in runs.db
    python -m examples.serving.main 9000 other.db

Then, in another terminal:

    curl localhost:8099/api/flows
    curl -H 'Content-Type: application/json' -d '{"value": "solar sails"}' localhost:8099/api/flows/playbook/run
    curl localhost:8099/api/questions
"""

import sys
from pathlib import Path

from examples.loop_and_join import flow as brochure
from examples.playbook import flow as playbook
from examples.saga.main import flow as saga
from triggerflow.server import Server, create_app
from triggerflow.stores import SQLiteStore


def main(port: str = "8099", file: str = "runs.db") -> None:
    """Serve until interrupted."""

    def tell(url: str) -> None:
        print(f"serving {', '.join(flow.name for flow in flows)} at {url}, in {Path(file).resolve()}")
        value = """-H 'Content-Type: application/json' -d '{"value": "solar sails"}'"""
        print(f"try: curl -N {value} {url}/api/flows/playbook/run", flush=True)

    flows = [playbook, brochure, saga]
    app = create_app(flows, SQLiteStore(file), worker=True)
    Server(app, port=int(port), on_start=tell).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
