"""Serve the other examples over HTTP and as a page, with a worker, on a file of SQLite.

    python -m examples.serving.main                   # at http://127.0.0.1:8099, in runs.db
    python -m examples.serving.main 9000 other.db

It prints an address that opens the page, signed in with the token of this run. In another terminal:

    export TRIGGERFLOW_TOKEN=...                      # as printed; set before the start, it is the token of the server
    curl -H "Authorization: Bearer $TRIGGERFLOW_TOKEN" localhost:8099/api/flows
"""

import hmac
import os
import secrets
import sys
from pathlib import Path

from examples.loop_and_join import flow as brochure
from examples.playbook import flow as playbook
from examples.saga.main import flow as saga
from triggerflow.server import Grant, Server, create_app
from triggerflow.stores import SQLiteStore


def main(port: str = "8099", file: str = "runs.db") -> None:
    """Serve until interrupted."""
    token = os.environ.get("TRIGGERFLOW_TOKEN") or secrets.token_urlsafe(24)

    def grant(given: str) -> Grant | None:
        right = hmac.compare_digest(given.encode(), token.encode())
        return Grant(name="page", scopes=frozenset({"act"})) if right else None

    def tell(url: str) -> None:
        print(f"serving {', '.join(flow.name for flow in flows)}, in {Path(file).resolve()}; Ctrl-C stops it")
        print(f"open this page: {url}/#token={token}")
        print(f"for curl: export TRIGGERFLOW_TOKEN={token}", flush=True)

    flows = [playbook, brochure, saga]
    app = create_app(flows, SQLiteStore(file), worker=True, auth=grant)
    Server(app, port=int(port), on_start=tell).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
