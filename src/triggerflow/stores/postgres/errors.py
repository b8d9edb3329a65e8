"""Turns errors of the database into store errors, which say what happened, where, and what to do next.

Their messages never contain a password or a value: of an error of the server only its first line is quoted.
"""

from collections.abc import Mapping

import psycopg

from ..._core.errors import StoreConflict, StoreDamaged, StoreError, StoreUnavailable
from .functions import CONFLICT

#: By SQLSTATE, or the first two characters of one: what happened, and what to do next.
_UNAVAILABLE: Mapping[str, str] = {
    "08": "the connection to the database was lost; it is opened again with the next call",
    "25006": "this server is read-only; connect to the primary server",
    "28": "the database refuses the user or the password; check the conninfo and pg_hba.conf",
    "3D": "there is no such database; create it first",
    "42501": "the user may not do this; grant it CREATE on the database, or make the schema its own",
    "53100": "the disk of the database is full; free some space and try again",
    "53200": "the database has no memory left; try again",
    "53300": "the database takes no more connections; raise its max_connections, or use PgBouncer",
    "55P03": "a lock was not given in time; try again",
    "57014": "the statement was cancelled, perhaps by statement_timeout; try again",
    "57P": "the database is stopping or starting; try again",
}
#: A refused connection has no SQLSTATE: what the server or libpq says instead, in English, and the SQLSTATE of it.
_REFUSED: Mapping[str, str] = {
    "authentication failed": "28P01",
    "no password supplied": "28P01",
    "pg_hba.conf": "28000",
    'role "': "28000",
    "too many": "53300",
    "connection slots": "53300",
    'database "': "3D000",
    "permission denied": "42501",
}
_DAMAGED: Mapping[str, str] = {
    "42": "its tables or functions are not those of this release; restore a copy of the schema",
    "3F": "the schema is gone; restore a copy",
    "XX001": "a page of the database is damaged; restore a copy",
    "XX002": "an index of the database is damaged; REINDEX it, or restore a copy",
}
_TAKEN: Mapping[str, str] = {
    "executions_id": "one of the executions exists already",
    "records_number": "another owner has written the same record",
    "records_item": "one of the executions has the same stream item already",
}


def primary_message(error: BaseException) -> str:
    """The first line of an error, without the values that later lines may quote."""
    text = error.diag.message_primary if isinstance(error, psycopg.Error) and error.diag.message_primary else str(error)
    return text.strip().partition("\n")[0] or type(error).__name__


def is_restarting(error: BaseException) -> bool:
    """Whether a server has refused a connection because it is stopping or starting: it will answer in a moment."""
    found = primary_message(error)  # a refused connection has no SQLSTATE
    return any(words in found for words in ("is starting up", "is shutting down", "recovery mode"))


def store_error(error: BaseException, name: str) -> StoreError:
    """The store error for an error of psycopg or of the network."""
    state = getattr(error, "sqlstate", None) or ""
    if not state and isinstance(error, psycopg.OperationalError):
        said = str(error).rpartition("failed: ")[2]  # after the address, which may have any words
        state = next((found for words, found in _REFUSED.items() if words in said), "")
    message = f"{primary_message(error)} ({state or type(error).__name__})"
    if isinstance(error, psycopg.errors.UniqueViolation):
        what = _TAKEN.get(error.diag.constraint_name or "", "somebody else has written the same")
        return StoreConflict(f"{name}: {what}: {message}")
    if state == CONFLICT:
        return StoreConflict(f"{name}: {primary_message(error)}")
    for states, kind in ((_UNAVAILABLE, StoreUnavailable), (_DAMAGED, StoreDamaged)):
        for length in (5, 3, 2):
            if what := states.get(state[:length] if len(state) >= length else "-"):
                return kind(f"{name}: {what}: {message}")
    if state == "54000" or isinstance(error, psycopg.errors.DataError):
        return StoreError(f"{name}: a value is too large for the database, or not valid: {message}")
    if isinstance(error, (psycopg.OperationalError, OSError)):
        return StoreUnavailable(
            f"{name}: the database cannot be reached; check that it runs and its address: {message}"
        )
    return StoreUnavailable(f"{name}: the database failed; try again: {message}")
