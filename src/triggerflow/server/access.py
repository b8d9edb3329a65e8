"""Access control: bearer tokens, each with scopes and a list of flows."""

import hashlib
import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection
from os import PathLike, stat
from pathlib import Path
from typing import Literal

import msgspec

from ..errors import UsageError

logger = logging.getLogger("triggerflow.server")

#: read: see all of the granted flows and their executions; act: also start and change executions.
Scope = Literal["read", "act"]


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What the holder of a token may do. `flows` None: all flows.

    `name` names the holder; keep it when the token changes, since idempotency keys count by name. An execution of a
    sub-flow counts for the flow of its outermost execution.
    """

    name: str
    scopes: frozenset[Scope] = frozenset(("read",))
    flows: frozenset[str] | None = None

    def allows(self, scope: str) -> bool:
        """Whether the grant includes a scope."""
        return scope in self.scopes or (scope == "read" and "act" in self.scopes)


#: The grant of every request to a server without `auth`.
EVERYBODY = Grant(name="", scopes=frozenset(("read", "act")))

#: A function, also an async one, from a token to its grant, None for an unknown token; or the path of a `TokenFile`.
Auth = Callable[[str], Grant | Awaitable[Grant | None] | None] | str | PathLike[str]


def token_hash(token: str) -> str:
    """The SHA-256 of a token in hexadecimal, as a file of tokens has it. Use tokens of 32 or more random characters."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    sha256: str
    scopes: tuple[Scope, ...] = ("read",)
    flows: list[str] | None = None


class TokenFile:
    """The tokens in a file: a JSON list of `{"name", "sha256", "scopes", "flows"}`; `sha256` is `token_hash(token)`.

    The file is read again when it has changed: write the new one beside it and rename it. If the new one cannot be
    read, the tokens stay as they were, and the error is logged once. Raises `UsageError` if the first one cannot be
    read.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        self._seen: object = None
        #: the last error that was logged, so that not every request logs it
        self._logged = ""
        self._grants: list[tuple[bytes, Grant]] = []
        self._load()

    def __call__(self, token: str) -> Grant | None:
        """The grant of a token, None for an unknown one."""
        try:
            self._load()
        except UsageError as error:
            if str(error) != self._logged:
                self._logged = str(error)
                logger.error("%s; the tokens stay as they were", error)
        return match(self._grants, token)

    def _load(self) -> None:
        try:
            found = stat(self._path)
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return
            self._seen = seen
            lines = msgspec.json.decode(self._path.read_bytes(), type=list[_Line])
            self._grants = [(_digest(line), _grant(line)) for line in lines]
            self._logged = ""
        except (OSError, msgspec.DecodeError, ValueError) as error:
            raise UsageError(f"the file of tokens {str(self._path)!r} cannot be used: {error}") from None


def _digest(line: _Line) -> bytes:
    digest = bytes.fromhex(line.sha256)
    if len(digest) != 32:
        raise ValueError(f"the sha256 of token {line.name!r} has not 64 hexadecimal digits")
    return digest


def _grant(line: _Line) -> Grant:
    return Grant(
        name=line.name, scopes=frozenset(line.scopes), flows=None if line.flows is None else frozenset(line.flows)
    )


def match(grants: Collection[tuple[bytes, Grant]], token: str) -> Grant | None:
    """The grant of a token. Compares with all hashes in constant time, so that the duration reveals nothing."""
    digest, found = bytes.fromhex(token_hash(token)), None
    for known, grant in grants:
        if hmac.compare_digest(known, digest):
            found = grant
    return found


class Gate:
    """Finds the grant of a request. `auth` None: every request has the grant `EVERYBODY`."""

    def __init__(self, auth: Auth | None) -> None:
        self.is_open = auth is None
        self._check = auth if callable(auth) or auth is None else TokenFile(auth)

    async def grant(self, token: str | None) -> Grant | None:
        """The grant of a token; None if it is missing or unknown."""
        if self._check is None:
            return EVERYBODY
        if token is None:
            return None
        found = self._check(token)
        return await found if inspect.isawaitable(found) else found
