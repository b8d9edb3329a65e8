"""Turns errors of SQLite into store errors, which say what happened, in which file, and what to do next."""

import sqlite3
from pathlib import Path

from ..._core.errors import StoreConflict, StoreDamaged, StoreError, StoreUnavailable

#: By primary result code of SQLite: what happened, and what to do next.
_UNAVAILABLE = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
    sqlite3.SQLITE_BUSY: "another process has held the lock of the file for longer than `busy_timeout`; try again",
    sqlite3.SQLITE_LOCKED: "the file is locked; try again",
    sqlite3.SQLITE_PROTOCOL: "the file is locked; try again",
    sqlite3.SQLITE_READONLY: "the file or its directory is read-only; make both writable",
    sqlite3.SQLITE_PERM: "access to the file is denied; make it readable and writable",
    sqlite3.SQLITE_AUTH: "access to the file is denied; make it readable and writable",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; it and its directory must be writable",
    sqlite3.SQLITE_IOERR: "reading or writing failed; check the disk, its free space and its health",
    sqlite3.SQLITE_NOMEM: "there is not enough memory; try again",
    sqlite3.SQLITE_INTERRUPT: "the operation was interrupted; try again",
}
_DAMAGED = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore a copy, or save what `sqlite3 FILE .recover` still finds",
    sqlite3.SQLITE_NOTADB: "this is no SQLite file; choose another path, or restore a copy",
    sqlite3.SQLITE_ERROR: "its tables have changed since it was opened; restore a copy",
}


def store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """The store error for an error of SQLite. Its message ends with the message of SQLite."""
    message = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code == sqlite3.SQLITE_CANTOPEN and not path.parent.is_dir():
        return StoreUnavailable(f"store {path}: there is no directory {path.parent}; make it first: {message}")
    if code == sqlite3.SQLITE_CONSTRAINT:
        return StoreConflict(f"store {path}: another owner has written the same record or stream item: {message}")
    if code in _DAMAGED:
        return StoreDamaged(f"store {path}: {_DAMAGED[code]}: {message}")
    if code == sqlite3.SQLITE_TOOBIG:
        return StoreError(
            f"store {path}: one value is larger than SQLite allows (1 GB); keep it in a file, and record the path: "
            f"{message}"
        )
    return StoreUnavailable(f"store {path}: {_UNAVAILABLE.get(code, 'SQLite failed; try again')}: {message}")
