"""The change feed: which executions and requests have changed since a cursor.

The rows of the table `changes` become visible in another order than that of their numbers, so a number is no cursor. A
cursor is the *snapshot* of the database in which it was read: the transactions that it could not see. What has changed
since are the rows that are visible now and were not visible in it.
"""

import re
from typing import NamedTuple

from ..protocol import CHANGE_KINDS, Changes
from .connections import Database
from .text import read

#: How many rows of the table one call reads. A row has up to 500 executions, and usually a few.
MOST_ROWS = 200
#: From how many ids on a call returns what it has.
MOST_IDS = 1000

_SNAPSHOT = r"\d+:\d+:[\d,]*"
_CURSOR = re.compile(rf"([0-9a-f]+-[0-9A-F]+)/({_SNAPSHOT})(?:/({_SNAPSHOT})/(\d+))?")

# A standby that becomes the primary server begins a new timeline. It may have lost transactions and gives their numbers
# to others, so that cursors of the timeline before do not count any more.
_FEED = "f.id || '-' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"

_NOW = f"SELECT {_FEED}, pg_current_snapshot()::text FROM {{s}}.feed f"

# The name of the feed is computed once: the functions in it are volatile, and would be called for each row. LIMIT says
# that there is one row, which the server does not know of a table without statistics. It would count on 1,200, and
# compile the query to machine code (JIT) for a second of CPU each time.
_CHANGES = f"""
    WITH f AS MATERIALIZED (SELECT {_FEED} AS name, f.floor FROM {{s}}.feed f LIMIT 1)
    SELECT f.name, f.floor < pg_snapshot_xmin(%(old)s::pg_snapshot)
            AND pg_snapshot_xmax(%(old)s::pg_snapshot) <= pg_snapshot_xmax(pg_current_snapshot()),
        pg_current_snapshot()::text, c.key, c.ids, c.gone, c.requests, c.schedules, c.flows
    FROM f LEFT JOIN LATERAL (
        SELECT c.key, ARRAY(SELECT e.id FROM {{s}}.executions e WHERE e.key = ANY (c.executions)) AS ids, c.gone,
            c.requests, c.schedules, c.flows
        FROM {{s}}.changes c
        WHERE f.name = %(feed)s AND c.xid >= pg_snapshot_xmin(%(old)s::pg_snapshot)
            AND NOT pg_visible_in_snapshot(c.xid, %(old)s::pg_snapshot)
            AND (%(new)s::pg_snapshot IS NULL OR pg_visible_in_snapshot(c.xid, %(new)s::pg_snapshot))
            AND c.key > %(after)s
        ORDER BY c.key LIMIT %(limit)s
    ) c ON true"""


class _Cursor(NamedTuple):
    """A place in the feed: everything visible in `old` was reported; of what is visible in `new`, the rows up to number
    `after` were reported too."""

    feed: str
    old: str
    new: str | None = None
    after: int = 0

    def __str__(self) -> str:
        return f"{self.feed}/{self.old}" + ("" if self.new is None else f"/{self.new}/{self.after}")


def _parse(cursor: str) -> _Cursor | None:
    found = _CURSOR.fullmatch(cursor)
    return found and _Cursor(found[1], found[2], found[3], int(found[4] or 0))


async def changes(database: Database, cursor: str | None) -> Changes:
    """What has changed since a cursor, and the next cursor."""
    place = None if cursor is None else _parse(cursor)
    while True:
        if place is None:
            ((feed, now),) = await database.read(_NOW)
            return Changes(cursor=str(_Cursor(feed, now)), resync=cursor is not None)
        rows = await database.read(
            _CHANGES, {"feed": place.feed, "old": place.old, "new": place.new, "after": place.after, "limit": MOST_ROWS}
        )
        feed, valid, now = rows[0][:3]
        if not valid or place.feed != feed:
            return Changes(cursor=str(_Cursor(feed, now)), resync=True)
        rows = [row[3:] for row in rows if row[3] is not None]
        names: dict[str, dict[str, None]] = {kind: {} for kind in CHANGE_KINDS}
        last = 0
        for row in rows:
            last, ids, gone = row[:3]
            for kind, told in zip(CHANGE_KINDS, ((*ids, *gone), *row[3:]), strict=True):
                names[kind].update((read(name), None) for name in told)
            if sum(map(len, names.values())) >= MOST_IDS:
                break
        end = place.new or now
        has_more = bool(rows) and (last != rows[-1][0] or len(rows) == MOST_ROWS)
        after = _Cursor(feed, place.old, end, last) if has_more else _Cursor(feed, end)
        if rows or place.new is None:
            told = {kind: tuple(found) for kind, found in names.items()}
            return Changes(cursor=str(after), **told)  # type: ignore[arg-type]
        place = after  # the page before was the last one: what has changed since it was begun comes next
