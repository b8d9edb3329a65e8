"""The shared data of flows, and schedules."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from ..protocol import ScheduleRow, SharedChange, SharedLog
from .connections import Committed, Database, Row
from .text import base64, read, write

# One statement, so that values and changes fit each other.
_LOG = """
    WITH f AS (
        SELECT newest, %(after)s < floor OR %(after)s > newest AS whole FROM {s}.shared_flows WHERE flow = %(flow)s
    ), start AS (SELECT CASE WHEN whole THEN 0 ELSE %(after)s END AS after FROM f)
    SELECT f.newest, f.whole, x.* FROM f LEFT JOIN (
        SELECT NULL AS op, number, key, data, NULL::boolean AS emit, NULL AS execution FROM {s}.shared_values
            WHERE flow = %(flow)s AND number > (SELECT after FROM start)
        UNION ALL (
            SELECT op, number, key, data, emit, execution FROM {s}.shared_changes
            WHERE flow = %(flow)s AND number > (SELECT after FROM start) ORDER BY number LIMIT %(limit)s
        )
    ) x ON true ORDER BY x.number"""

_SCHEDULE = "SELECT id, flow, data, due, version FROM {s}.schedules "


def changes(them: Sequence[SharedChange]) -> list[dict[str, Any]]:
    """Changes as the functions of the database take them."""
    return [{"key": write(one.key), "op": one.op, "data": base64(one.data), "emit": one.emit} for one in them]


async def newest(database: Database, flows: Collection[str]) -> dict[str, int]:
    """The number of the newest change of each of these flows that has shared data. Their names are as stored."""
    rows = await database.read("SELECT flow, newest FROM {s}.shared_flows WHERE flow = ANY (%s)", (list(flows),))
    return {read(flow): number for flow, number in rows}


async def change(database: Database, flow: str, them: Sequence[SharedChange]) -> int:
    """See `Store.change_shared`."""
    token, data = secrets.token_hex(8), msgspec.json.encode(changes(them)).decode()
    try:
        (number,) = await database.write("change_shared", lambda: (token, write(flow), data), token=token)
    except Committed:
        number = (await newest(database, [write(flow)])).get(flow, 0)
    return number


async def log(database: Database, flow: str, after: int, limit: int) -> SharedLog:
    """See `Store.shared`."""
    rows = await database.read(_LOG, {"flow": write(flow), "after": after, "limit": limit})
    if not rows:
        return SharedLog(newest=0, whole=after > 0)
    values: dict[str, tuple[int, bytes]] = {}
    found: list[SharedChange] = []
    for _, _, op, number, key, data, emit, by in rows:
        if op is not None:
            name = None if by is None else read(by)
            found.append(SharedChange(key=read(key), op=op, data=data, emit=emit, number=number, by=name))
        elif key is not None:
            values[read(key)] = (number, data)
    return SharedLog(newest=rows[0][0], whole=rows[0][1], values=values, changes=found)


async def fold(database: Database, flow: str, values: Mapping[str, tuple[int, bytes | None]]) -> list[str]:
    """See `Store.fold_shared`."""
    done: list[str] = []
    for key, (number, value) in values.items():
        arguments = write(flow), write(key), number, value
        (folded,) = await database.write("fold_shared", lambda them=arguments: them, announces=False)
        done += [key] if folded else []
    return done


def _schedule(row: Row) -> ScheduleRow:
    id, flow, data, due, version = row
    return ScheduleRow(id=read(id), flow=read(flow), data=data, due=due, version=read(version))


async def delete_schedule(database: Database, schedule: str) -> bool:
    """See `Store.delete_schedule`."""
    token = secrets.token_hex(8)
    try:
        (deleted,) = await database.write("delete_schedule", lambda: (token, write(schedule)), token=token)
    except Committed:
        return True
    return deleted


async def find_schedule(database: Database, schedule: str) -> ScheduleRow | None:
    """See `Store.schedule`."""
    rows = await database.read(_SCHEDULE + "WHERE id = %s", (write(schedule),))
    return _schedule(rows[0]) if rows else None


async def schedules(database: Database, flow: str | None, after: str | None, limit: int) -> list[ScheduleRow]:
    """See `Store.schedules`."""
    rows = await database.read(
        _SCHEDULE
        + """WHERE (%(flow)s::text IS NULL OR flow = %(flow)s) AND id > coalesce(%(after)s, '')
        ORDER BY id LIMIT %(limit)s""",
        {
            "flow": None if flow is None else write(flow),
            "after": None if after is None else write(after),
            "limit": limit,
        },
    )
    return [_schedule(row) for row in rows]


async def next_schedules(
    database: Database, flows: Collection[str], after: tuple[float, str] | None, limit: int
) -> list[ScheduleRow]:
    """See `Store.next_schedules`."""
    due, id = after or (float("-inf"), "")
    rows = await database.read(
        _SCHEDULE + "WHERE due IS NOT NULL AND flow = ANY (%s) AND (due, id) > (%s, %s) ORDER BY due, id LIMIT %s",
        ([write(flow) for flow in flows], due, write(id), limit),
    )
    return [_schedule(row) for row in rows]
