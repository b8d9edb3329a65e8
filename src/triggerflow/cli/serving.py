"""The verbs `serve`, `open` (as a page) and `token`."""

import hmac
import os
import secrets
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ..wire.hosts import is_loopback
from .looking import replacing
from .places import opened
from .printing import note, say
from .troubles import DONE, NOT_NOW, USAGE, Trouble
from .values import near_file

if TYPE_CHECKING:
    from ..flow import TriggerFlow


async def serve(
    flows: "Sequence[TriggerFlow[Any, Any]]",
    where: str | None,
    *,
    host: str,
    port: int,
    tokens: str | None,
    names: Sequence[str],
    works: bool,
) -> int:
    """Serve a store until SIGTERM or SIGINT. `names`: further host names of this machine; `works`: with a worker."""
    try:
        from ..server import Server, create_app
    except ImportError as error:
        raise Trouble(USAGE, str(error)) from None
    if tokens is not None and not Path(tokens).is_file():  # noqa: ASYNC240 - nothing runs yet
        raise Trouble(USAGE, f"there is no file of tokens {tokens!r}{near_file(tokens)}; `triggerflow token` makes one")
    if tokens is None and not is_loopback(host):
        raise Trouble(
            USAGE,
            f"on {host!r} other machines can start and change executions: add --tokens FILE, or listen on 127.0.0.1",
        )
    async with opened(where, "create", flows=flows) as place:
        store = place.own_store("serve")
        app = create_app(flows, store, auth=tokens, hosts=names, worker=works)
        work = f"working on {', '.join(it.name for it in flows)}" if works else "without a worker"

        def listens(url: str) -> None:
            note(f"serving {place.name} at {url}, {work}; Ctrl-C or SIGTERM stops it")

        with _listening(host, port) as listener:
            await Server(app, host=host, port=port, on_start=listens).serve(sockets=[listener])
        note("stopped")
    return DONE


def can_serve() -> bool:
    """Whether what a server needs is installed."""
    return find_spec("starlette") is not None and find_spec("uvicorn") is not None


async def show_page(where: str, port: int) -> int:
    """Serve a page that shows a store and changes nothing, to whoever has the address that is printed."""
    try:
        from ..server import Grant, Server, create_app
    except ImportError as error:
        raise Trouble(USAGE, str(error)) from None
    token = secrets.token_urlsafe(24)

    def grant(given: str) -> Grant | None:
        right = hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode())
        return Grant(name="open", scopes=frozenset(("read",))) if right else None

    async with opened(where, "read", follows=True) as place:

        def listens(url: str) -> None:
            note(f"{place.name}, opened to be read; Ctrl-C ends it. To print it here: add --no-page")
            say(f"{url}/#token={token}")

        app = create_app(backend=place.backend, auth=grant)
        with _listening("127.0.0.1", port) as listener:
            await Server(app, on_start=listens).serve(sockets=[listener])
    return DONE


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise Trouble(
            NOT_NOW,
            f"{host}, port {port} is not free ({getattr(error, 'strerror', None) or error}); take another --port",
        ) from None
    return listener


def make_token(name: str, file: str, *, act: bool, flows: Sequence[str]) -> int:
    """Make a token, print it, and add its hash to a file. An older token of the same name is replaced."""
    from ..server import token_hash

    path = Path(file).expanduser()
    try:
        lines: Any = msgspec.json.decode(path.read_bytes()) if path.exists() else []
    except (OSError, msgspec.DecodeError) as error:
        raise Trouble(USAGE, f"{file!r} is no file of tokens: {error}") from None
    if not isinstance(lines, list) or not all(isinstance(it, dict) for it in cast("list[Any]", lines)):
        raise Trouble(USAGE, f"{file!r} is no file of tokens: it is no list of objects")
    made = secrets.token_urlsafe(32)
    line: dict[str, Any] = {"name": name, "sha256": token_hash(made), "scopes": ["read", "act"] if act else ["read"]}
    if flows:
        line["flows"] = list(flows)
    known = cast("list[dict[str, Any]]", lines)
    kept = [it for it in known if it.get("name") != name]
    with replacing(file) as target:
        target.write(msgspec.json.format(msgspec.json.encode([*kept, line])) + b"\n")
    if len(kept) < len(known):
        note(f"the token {name!r} that was there does not count any more")
    say(made)
    return DONE
