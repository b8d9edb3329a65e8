"""What SQLite's errors mean for the user of a store: whose fault, in which file, and what to do next."""

import sqlite3
from pathlib import Path

from ..._core.errors import StoreConflict, StoreDamaged, StoreError, StoreUnavailable

#: By primary result code: what happened, and what to do next.
_UNAVAILABLE = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
    sqlite3.SQLITE_BUSY: "another process has kept the file locked for longer than `busy_timeout`; try again",
    sqlite3.SQLITE_LOCKED: "the file is locked; try again",
    sqlite3.SQLITE_PROTOCOL: "the file is locked; try again",
    sqlite3.SQLITE_READONLY: "the file or its directory is read-only; make both writable",
    sqlite3.SQLITE_PERM: "access to the file is denied; make it readable and writable",
    sqlite3.SQLITE_AUTH: "access to the file is denied; make it readable and writable",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; it and its directory must be writable",
    sqlite3.SQLITE_IOERR: "reading or writing failed; check the disk, its free space and its health",
    sqlite3.SQLITE_NOMEM: "there is not enough memory; try again",
    sqlite3.SQLITE_INTERRUPT: "it was interrupted; try again",
}
_DAMAGED = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore a copy, or save what `sqlite3 FILE .recover` still finds",
    sqlite3.SQLITE_NOTADB: "this is no SQLite file; choose another path, or restore a copy",
    sqlite3.SQLITE_ERROR: "its tables are not what they were when it was opened; restore a copy",
}


def fault(error: sqlite3.Error, path: Path) -> StoreError:
    """The error to raise for an error of SQLite's. The message holds SQLite's own words, too."""
    said = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code == sqlite3.SQLITE_CANTOPEN and not path.parent.is_dir():
        return StoreUnavailable(f"store {path}: there is no directory {path.parent}; make it first: {said}")
    if code == sqlite3.SQLITE_CONSTRAINT:
        return StoreConflict(f"store {path}: somebody else has written the same record or item before: {said}")
    if code in _DAMAGED:
        return StoreDamaged(f"store {path}: {_DAMAGED[code]}: {said}")
    if code == sqlite3.SQLITE_TOOBIG:
        return StoreError(f"store {path}: one value is larger than SQLite takes (1 GB); store it elsewhere: {said}")
    return StoreUnavailable(f"store {path}: {_UNAVAILABLE.get(code, 'SQLite cannot do it now')}: {said}")
