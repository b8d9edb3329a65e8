"""Places of executions: an SQLite file, a PostgreSQL database, or a server. Each is opened as a `Backend`."""

import os
import re
import shlex
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from .printing import note
from .troubles import NOT_NOW, UNREACHABLE, USAGE, Trouble
from .values import near_file

if TYPE_CHECKING:
    from ..backend import Backend
    from ..flow import TriggerFlow
    from ..stores import Store

Kind = Literal["file", "postgres", "server"]
#: read: nothing is changed; write: the store must exist, and is changed; create: it is made if it is missing
Use = Literal["read", "write", "create"]
#: The environment variables for the token, which must not be visible in a list of processes.
TOKEN, TOKEN_FILE = "TRIGGERFLOW_TOKEN", "TRIGGERFLOW_TOKEN_FILE"
#: For how many seconds requests to a server that does not answer are repeated: by most verbs, and by those that follow.
PATIENCE, PATIENT = 3.0, 60.0
#: The password in an address: behind the user, or as a parameter.
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^@]*(?=@)|([?&]password=)[^&#]*")


@dataclass
class Place:
    """An open place. `store` is None for a server."""

    backend: "Backend"
    kind: Kind
    #: its name for messages and commands, without a password
    name: str
    store: "Store | None" = None
    #: the flows whose code this process has
    flows: "list[TriggerFlow[Any, Any]]" = field(default_factory=list["TriggerFlow[Any, Any]"])

    def own_store(self, verb: str) -> "Store":
        """The store, for a verb that a server does not offer. Raises `Trouble` if the place is a server."""
        if self.store is None:
            raise Trouble(
                NOT_NOW, f"a server does not offer `{verb}`: run it where the store is, with --store FILE or an address"
            )
        return self.store

    def option(self) -> str:
        """The option --store for the commands in hints; "" if TRIGGERFLOW_STORE has the same value."""
        return "" if os.environ.get("TRIGGERFLOW_STORE") == self.name else f" --store {quoted(self.name)}"


def quoted(text: str) -> str:
    """A text as one word of a shell command."""
    return shlex.quote(text)


def without_password(where: str) -> str:
    """An address as it may be shown."""
    return _PASSWORD.sub(r"\1\2", where)


def kind_of(where: str) -> Kind:
    """The kind of place that an address names. Raises `Trouble` for an unknown scheme."""
    scheme = where.partition("://")[0].lower() if "://" in where else ""
    if scheme in ("postgresql", "postgres"):
        return "postgres"
    if scheme in ("http", "https"):
        return "server"
    if scheme:
        raise Trouble(USAGE, f"--store takes an SQLite file, postgresql://... or http(s)://..., not {scheme}://")
    return "file"


@asynccontextmanager
async def opened(
    where: str | None,
    use: Use,
    *,
    flows: "Sequence[TriggerFlow[Any, Any]]" = (),
    token_file: str | None = None,
    follows: bool = False,
) -> AsyncGenerator[Place]:
    """Open a place until the end of the block. With `follows`, requests to a server that is away are repeated for
    longer (`PATIENT`). Raises `Trouble`."""
    if not where:
        raise Trouble(USAGE, "no store is given: add --store FILE, or set TRIGGERFLOW_STORE")
    kind = kind_of(where)
    if kind == "server":
        async with _server(where, token_file, PATIENT if follows else PATIENCE) as place:
            yield place
        return
    if kind == "file" and use == "read" and (version := _older(where)):
        note(f"{where} has version {version}, of an earlier release: this reads a copy, and leaves the file as it is")
        with TemporaryDirectory(prefix="triggerflow-") as folder:
            async with _place(_copied(where, folder), kind, where, flows) as place:
                yield place
        return
    store = _file(where, use) if kind == "file" else _database(where, use)
    async with _place(store, kind, without_password(where), flows) as place:
        yield place


@asynccontextmanager
async def _place(
    store: "Store", kind: Kind, name: str, flows: "Sequence[TriggerFlow[Any, Any]]"
) -> AsyncGenerator[Place]:
    async with store:
        from ..backend import StoreBackend

        yield Place(StoreBackend(store, *flows), kind, name, store, list(flows))


def _file(where: str, use: Use) -> "Store":
    if where == ":memory:":
        raise Trouble(USAGE, "a store in memory ends with this command: leave --store out, or name a file")
    path = Path(where).expanduser()
    if path.is_dir():
        raise Trouble(USAGE, f"{where!r} is a folder: --store takes a file in it, such as {path / 'runs.db'}")
    if use != "create" and not path.exists():
        raise Trouble(UNREACHABLE, f"there is no file {where!r}{near_file(str(path))}")
    if _is_export(path):
        raise Trouble(
            USAGE,
            f"{where} is one execution that `export` has written; put it into a store with the code of its flow: "
            f"triggerflow load {shlex.quote(where)} TARGET --store other.db",
        )
    if use == "create" and not path.absolute().parent.is_dir():
        raise Trouble(
            UNREACHABLE, f"there is no folder {str(path.parent)!r} for the store {path.name!r}: make it first"
        )
    from ..stores import SQLiteStore

    return SQLiteStore(path, read_only=use == "read")


def _is_export(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(40).startswith(b'{"line":"triggerflow-execution"')
    except OSError:
        return False


def _older(where: str) -> int:
    """The version of a store file of an earlier release, from the file's header; 0 for any other file."""
    from ..stores.sqlite.schema import APPLICATION_ID, STEPS

    try:
        with Path(where).expanduser().open("rb") as file:
            header = file.read(72)
    except OSError:
        return 0
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        return 0
    version = int.from_bytes(header[60:64], "big")
    return version if version < len(STEPS) else 0


def _copied(where: str, folder: str) -> "Store":
    """A store over a copy of a file, in another folder. Opening it migrates the copy to the version of this release."""
    import sqlite3
    from contextlib import closing

    from ..stores import SQLiteStore
    from ..stores.sqlite.connection import connect

    copy = Path(folder) / "copy.db"
    path = Path(where).expanduser().absolute()
    with closing(connect(path, busy_timeout=5.0, read_only=True)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return SQLiteStore(copy)


def _database(where: str, use: Use) -> "Store":
    address, _, schema = where.partition("#")
    try:
        from ..stores import PostgresStore
    except ImportError as error:
        raise Trouble(USAGE, str(error)) from None
    try:
        store: Any = PostgresStore(address, schema=schema or "triggerflow", create=use == "create")
        return store
    except ValueError as error:
        raise Trouble(USAGE, f"--store: {error}") from None


@asynccontextmanager
async def _server(where: str, token_file: str | None, patience: float) -> AsyncGenerator[Place]:
    if "@" in where.partition("://")[2].partition("/")[0]:
        raise Trouble(USAGE, f"the address of a server has no user or password in it: put its token into {TOKEN}")
    from ..errors import StoreUnavailable

    try:
        from ..client import HTTPBackend

        made = HTTPBackend(where, token=token_of(token_file), patience=patience)
    except ImportError as error:
        raise Trouble(USAGE, str(error)) from None
    async with made as backend:
        try:
            yield Place(backend, "server", where)
        except StoreUnavailable as error:
            if ": no answer for" not in str(error):
                raise
            hint = "check the address, or start one there with `triggerflow serve`"
            raise Trouble(UNREACHABLE, f"no server answers at {where}: {hint} ({error})") from None


def token_of(token_file: str | None) -> str | None:
    """The token for a server: from this file, else from the one in TRIGGERFLOW_TOKEN_FILE, else TRIGGERFLOW_TOKEN."""
    name = token_file or os.environ.get(TOKEN_FILE)
    if not name:
        return os.environ.get(TOKEN) or None
    try:
        return Path(name).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(USAGE, f"the token cannot be read from {name!r}: {error}") from None
